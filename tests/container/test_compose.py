"""compose.yaml as podman-compose reads it."""

import os
import shutil
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.e2e.servers import ROOT

COMPOSE = [sys.executable, "-m", "podman_compose", "--file", "compose.yaml"]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services with every default filled in."""
    if shutil.which("podman") is None:
        pytest.skip("podman-compose asks podman for its version, and there is no podman on this machine")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BRAINMRI_")}
    done = subprocess.run([*COMPOSE, "config"], cwd=ROOT, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(yaml.safe_load(done.stdout)["services"])


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


def test_the_service_is_read_only_but_for_its_two_folders_and_has_time_to_end(services: dict[str, Any]) -> None:
    service = services["brainmri"]
    assert service["read_only"] is True
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/var/lib/brainmri", "/tmp"]  # noqa: S108
    grace_s = float(service["environment"]["BRAINMRI_SHUTDOWN_GRACE_S"])
    assert float(service["stop_grace_period"].removesuffix("s")) > grace_s
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}


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
