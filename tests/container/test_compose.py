"""compose.yaml: what it sets, and that podman-compose reads it as we do."""

import os
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest
import yaml

from brainmri.settings import Settings
from brainmri.web.spool import _SPARE_BYTES
from tests.e2e.servers import ROOT

MIB = 2**20
WORST_RSS = 1279 * MIB
"""Of all processes, measured with the same limits on pixels and held bytes: docs/decisions/0013."""

COMPOSE = [sys.executable, "-m", "podman_compose", "--file", "compose.yaml"]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services with every default filled in."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "compose.yaml").read_text())
    return dict(yaml.safe_load(text)["services"])


@pytest.fixture(scope="module")
def settings(services: dict[str, Any]) -> Settings:
    """What the service starts with."""
    chosen = {name.removeprefix("BRAINMRI_").lower(): v for name, v in services["brainmri"]["environment"].items()}
    assert set(chosen) <= set(Settings.model_fields)
    return Settings.model_validate(chosen)


def amount(text: str) -> int:
    """Returns bytes of `512m` or `2g`."""
    return int(text[:-1]) * {"m": MIB, "g": 1024 * MIB}[text[-1]]


def test_podman_compose_reads_the_same(services: dict[str, Any]) -> None:
    if shutil.which("podman") is None:
        pytest.skip("podman-compose asks podman for its version, and there is no podman on this machine")
    clean = {name: value for name, value in os.environ.items() if not re.match("BRAINMRI|PROMETHEUS|GRAFANA", name)}
    done = subprocess.run([*COMPOSE, "config"], cwd=ROOT, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)["services"]
    assert set(read) == set(services)
    for name, service in services.items():
        for key in ("image", "ports", "environment", "tmpfs", "volumes", "stop_grace_period", "deploy"):
            assert read[name].get(key) == service.get(key)


def test_it_is_the_service_prometheus_and_grafana(services: dict[str, Any]) -> None:
    assert set(services) == {"brainmri", "prometheus", "grafana"}


def test_every_port_is_of_this_machine_only(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service["ports"]]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports), ports


def test_nothing_has_capabilities_or_may_get_them(services: dict[str, Any]) -> None:
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_service_is_read_only_but_for_its_two_folders(services: dict[str, Any]) -> None:
    service = services["brainmri"]
    assert service["read_only"] is True
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/var/lib/brainmri", "/tmp"]  # noqa: S108
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}


def test_what_is_accepted_is_answered_before_the_end(services: dict[str, Any], settings: Settings) -> None:
    longest_s = max(settings.request_timeout_s, settings.bulk_timeout_s)
    assert settings.shutdown_grace_s > settings.shutdown_delay_s + longest_s
    assert float(services["brainmri"]["stop_grace_period"].removesuffix("s")) >= settings.shutdown_grace_s + 5


def test_the_bodies_of_score_fit_into_its_folder_and_all_into_memory(
    services: dict[str, Any], settings: Settings
) -> None:
    service = services["brainmri"]
    sizes = {path: amount(size) for path, size in (mount.split(":size=") for mount in service["tmpfs"])}
    bodies = settings.max_archive_bytes * settings.max_bulk_requests
    # The last of them is taken only if so much is still free after it.
    assert sizes["/tmp"] >= bodies + _SPARE_BYTES  # noqa: S108 -- in the container
    model = sum(path.stat().st_size for path in (ROOT / "models").rglob("*") if path.is_file())
    assert sizes["/var/lib/brainmri"] >= model
    limit = amount(service["deploy"]["resources"]["limits"]["memory"])
    assert limit >= WORST_RSS + model + bodies


def test_what_is_mounted_exists(services: dict[str, Any]) -> None:
    mounts = [mount for service in services.values() for mount in service.get("volumes", ())]
    sources = [source for source, _, _ in (mount.partition(":") for mount in mounts) if source.startswith(".")]
    assert len(sources) == 3
    assert [source for source in sources if not (ROOT / source).is_dir()] == []


def test_prometheus_and_grafana_find_each_other_and_the_service(services: dict[str, Any]) -> None:
    folder = ROOT / "monitoring"
    scraped = yaml.safe_load((folder / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]
    targets = [target for job in scraped for group in job["static_configs"] for target in group["targets"]]
    assert targets == ["brainmri:3000"]
    sources = yaml.safe_load((folder / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    assert [source["url"] for source in sources["datasources"]] == ["http://prometheus:9090"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (folder / "grafana" / "dashboards" / home.rpartition("/")[2]).is_file()
