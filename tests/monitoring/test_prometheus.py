"""A real Prometheus watches a real server: what it records is what callers saw, and alerts fire and end."""

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest

from tests.e2e.load import calling
from tests.e2e.servers import Server, serving
from tests.monitoring.programs import program
from tests.monitoring.prometheus_server import Prometheus, watching
from tests.monitoring.test_dashboard import expressions, filled_in

pytestmark = pytest.mark.slow

# The shipped rules wait for minutes; expressions, windows and thresholds are as shipped.
PATIENCE = {"BrainMRIRefusals": "1s", "BrainMRINoReadyReplica": "10s"}
CALLERS = 8
ANSWERED = 100

EMPTY_PANELS = {
    # The tiny bundle has no detector, this machine may set no limit on memory, and no gRPC call failed.
    "Novelty",
    "Memory of each replica",
    "Errors by route",
}


@dataclass(frozen=True)
class Watched:
    """A server, the Prometheus that scrapes it, and how its callers' requests ended, by status."""

    server: Server
    end_server: Callable[[], None]
    prometheus: Prometheus
    statuses: Counter[object]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, png: Callable[..., bytes]) -> Iterator[Watched]:
    """A server with a queue for one image, after too many callers at once."""
    folder = tmp_path_factory.mktemp("watched")
    with ExitStack() as stack:
        server = stack.enter_context(serving(folder, max_queue_images=1))
        end_server = stack.pop_all().close
        try:
            target = f"127.0.0.1:{server.environ['BRAINMRI_HTTP_PORT']}"
            with watching(folder, target, PATIENCE) as prometheus:
                yield Watched(server, end_server, prometheus, overload(server, prometheus, png((255, 0, 0))))
        finally:
            end_server()


def overload(server: Server, prometheus: Prometheus, image: bytes) -> Counter[object]:
    """Sends until the alert on refusals fires and enough is answered; returns how the requests ended."""
    prometheus.until(lambda: prometheus.value("namespace_job:brainmri_ready:sum") == 1, "the replica is seen ready")
    # Before the first scrape there was no replica.
    prometheus.until(lambda: prometheus.alerts() == {}, "no alert")
    url = str(server.client.base_url.join("/predict"))

    def call() -> object:
        return httpx.post(url, files={"image": image}, trust_env=False, timeout=30).status_code

    with calling(call, CALLERS) as record:
        prometheus.until(lambda: prometheus.alerts().get("BrainMRIRefusals") == "firing", "the alert fires")
        prometheus.until(lambda: record.results().count(200) > ANSWERED, "enough is answered")
    return Counter(record.results())


def test_prometheus_has_counted_what_callers_saw(watched: Watched) -> None:
    assert watched.statuses.keys() == {200, 429}
    answered = 'sum(brainmri_requests_total{route="/predict", status="2xx"})'
    refused = 'sum(brainmri_refused_total{reason="queue_full"})'
    watched.prometheus.until(lambda: watched.prometheus.value(answered) == watched.statuses[200], "all answers")
    watched.prometheus.until(lambda: watched.prometheus.value(refused) == watched.statuses[429], "all refusals")


def test_the_recorded_share_is_that_of_the_refused_requests(watched: Watched) -> None:
    share = watched.statuses[429] / watched.statuses.total()
    for window in ("5m", "1h", "3d"):
        # Counters that are born above 0 lose what was counted before the first scrape.
        recorded = watched.prometheus.value(f"namespace_job:brainmri_unanswered:ratio_rate{window}")
        assert recorded == pytest.approx(share, abs=0.1)


def test_refusals_burn_the_error_budget(watched: Watched) -> None:
    # As shipped, it waits for two minutes before it fires: on a slow machine they may be over.
    assert watched.prometheus.alerts()["BrainMRIAvailabilityBudgetBurnsFast"] in ("pending", "firing")


def test_every_panel_of_the_dashboard_shows_something(watched: Watched) -> None:
    empty = {title for title, expr in expressions() if not watched.prometheus.query(filled_in(expr))}
    assert empty <= EMPTY_PANELS


def test_the_exposition_is_as_prometheus_wants_it(watched: Watched) -> None:
    command = [program("promtool"), "check", "metrics"]
    text = watched.server.client.get("/metrics").text
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_an_alert_fires_when_the_last_replica_is_gone(watched: Watched) -> None:
    assert watched.prometheus.alerts().get("BrainMRINoReadyReplica") != "firing"
    watched.end_server()
    watched.prometheus.until(
        lambda: watched.prometheus.alerts().get("BrainMRINoReadyReplica") == "firing", "the alert fires"
    )
