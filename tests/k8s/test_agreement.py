"""What the manifests say of the code is so: routes, ports, images, metrics, versions."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.routing import Route

from brainmri.batching.engine import Engine
from brainmri.batching.schedule import Batching
from brainmri.http.app import create_app
from brainmri.http.documentation import swagger_routes
from brainmri.observe.metric_specs import SPECS
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.open_inference.grpc_server import HEALTH_SERVICE_NAME
from brainmri.open_inference.grpc_service import SERVICE_NAME
from brainmri.page.routes import page_routes
from brainmri.settings import Settings
from brainmri.web.middleware import is_probe
from k8s.checks.builds import FOLDER
from k8s.checks.environment import environment, settings_of
from k8s.checks.manifest import Manifest
from k8s.checks.prometheus_rule import TARGET, document
from tests.k8s.conftest import Builder

ROOT = FOLDER.parent

NOT_OFFERED = {"/jobs", "/feedback"}
"""Jobs and feedback live on the disk of one server, and the next request may reach another; k8s/jobs/score takes the
place of jobs."""


def served_paths() -> set[str]:
    """Returns the path of every route of the HTTP interface, without parameters, and BentoML's one."""
    metrics = Metrics()
    settings = Settings(jobs_dir=None)
    pages = [*swagger_routes(ROOT), *page_routes(settings)]
    app = create_app(DataPlane(Engine(1, Batching(), 1, metrics), settings, metrics), metrics, pages)
    paths = [route.path for route in app.routes if isinstance(route, Route)]
    return {re.split(r"/?\{", path)[0] or "/" for path in paths if path != "/{path:path}"} | {"/probabilities"}


def covers(routed: set[tuple[str, str]], path: str) -> bool:
    return any(
        path == value or (kind.endswith("Prefix") and path.startswith(value.rstrip("/") + "/"))
        for kind, value in routed
    )


def check_routes(routed: set[tuple[str, str]]) -> None:
    paths = served_paths()
    assert {"/predict", "/metrics", "/v2/models"} <= paths
    inside = {path for path in paths if is_probe(path) and not path.startswith("/v2/")} | NOT_OFFERED
    assert {path for path in paths - inside if not covers(routed, path)} == set()
    assert {path for path in inside | {"/livez", "/readyz"} if covers(routed, path)} == set()


def test_the_http_route_leads_to_everything_but_probes_and_metrics(built: Builder) -> None:
    (route,) = built("gateway").of_kind("HTTPRoute")
    check_routes({(m["path"]["type"], m["path"]["value"]) for rule in route.spec["rules"] for m in rule["matches"]})


def test_the_ingress_leads_to_everything_but_probes_and_metrics(built: Builder) -> None:
    over_http = [one for one in built("ingress").of_kind("Ingress") if one.name != "brainmri-grpc"]
    check_routes({(path["pathType"], path["path"]) for one in over_http for path in paths_of(one)})
    # Two objects for one host, with one certificate.
    assert len({json.dumps([one.spec["tls"], one.spec["rules"][0]["host"]]) for one in over_http}) == 1


def paths_of(ingress: Manifest) -> list[dict[str, Any]]:
    paths: list[dict[str, Any]] = ingress.spec["rules"][0]["http"]["paths"]
    return paths


def test_the_ingress_lets_bodies_through_that_we_take_and_no_longer_ones(built: Builder) -> None:
    build = built("ingress")
    (server,) = (pod for pod in build.pods() if pod.serves)
    settings = settings_of(build, server)
    limits = {
        path["path"]: ingress.body["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
        for ingress in build.of_kind("Ingress")
        for path in paths_of(ingress)
    }
    assert {"/score", "/predict", f"/{SERVICE_NAME}"} <= limits.keys()
    assert settings.max_archive_bytes > settings.max_request_bytes
    # Where routes to jobs are added, archives go there too.
    for path, limit in limits.items():
        most = settings.max_archive_bytes if path in ("/score", "/jobs") else settings.max_request_bytes
        assert limit == f"{most // 2**20}m", path


def test_grpc_routes_name_the_services_that_there_are(built: Builder) -> None:
    names = {SERVICE_NAME, HEALTH_SERVICE_NAME}
    (route,) = built("gateway").of_kind("GRPCRoute")
    assert {match["method"]["service"] for rule in route.spec["rules"] for match in rule["matches"]} == names
    (ingress,) = (one for one in built("ingress").of_kind("Ingress") if one.name == "brainmri-grpc")
    assert {path["path"] for path in ingress.spec["rules"][0]["http"]["paths"]} == {f"/{name}" for name in names}


def test_what_stands_in_front_waits_longer_than_we_do(built: Builder) -> None:
    build = built("gateway")
    (server,) = (pod for pod in build.pods() if pod.serves)
    settings = settings_of(build, server)
    (route,) = build.of_kind("HTTPRoute")
    waits = {
        match["path"]["value"]: float(rule["timeouts"]["request"].removesuffix("s"))
        for rule in route.spec["rules"]
        for match in rule["matches"]
    }
    assert waits["/predict"] > settings.request_timeout_s
    assert waits["/score"] > settings.bulk_timeout_s
    for ingress in built("ingress").of_kind("Ingress"):
        notes = ingress.body["metadata"]["annotations"]
        for name in ("read", "send"):
            assert float(notes[f"nginx.ingress.kubernetes.io/proxy-{name}-timeout"]) > settings.bulk_timeout_s


def test_pods_run_as_the_user_of_the_image(built: Builder) -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Containerfile").read_text(), re.MULTILINE)
    for name in ("overlays/production", "jobs/score", "jobs/score-merge"):
        for pod in built(name).pods():
            context = pod.spec["securityContext"]
            assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user


def test_no_replica_keeps_jobs_that_others_do_not_know(built: Builder) -> None:
    build = built("overlays/production")
    (server,) = (pod for pod in build.pods() if pod.serves)
    assert settings_of(build, server).jobs_dir is None


def test_home_is_where_the_image_has_it(built: Builder) -> None:
    (home,) = re.findall(r"BENTOML_HOME=(\S+)", (ROOT / "Containerfile").read_text())
    (server,) = (pod for pod in built("overlays/local").pods() if pod.serves)
    assert {v["name"]: v.get("value") for v in server.main[0]["env"]}["BENTOML_HOME"] == home


def test_images_have_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    tags = [
        image["newTag"]
        for file in FOLDER.rglob("kustomization.yaml")
        for image in yaml.safe_load(file.read_text()).get("images", ())
        if "newTag" in image
    ]
    assert tags
    assert set(tags) == {version}


def test_the_ray_of_the_cluster_is_the_one_that_was_tested(built: Builder) -> None:
    locked = {p["name"]: p.get("version") for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    (job,) = built("jobs/ray").of_kind("RayJob")
    assert job.spec["rayClusterSpec"]["rayVersion"] == locked["ray"]
    assert f"rayproject/ray:{locked['ray']}-" in (FOLDER / "jobs" / "ray" / "Containerfile").read_text()


def test_each_actor_of_ray_has_the_threads_and_cpus_of_its_worker(built: Builder) -> None:
    build = built("jobs/ray")
    head, *workers = build.pods()
    told = environment(build, head.main[0])
    for worker in workers:
        cpus = str(worker.main[0]["resources"]["limits"]["cpu"])
        assert (told["BRAINMRI_THREADS"], told["BRAINMRI_DECODE_WORKERS"]) == (cpus, cpus)


def test_the_model_of_the_volume_is_the_version_that_is_served(built: Builder) -> None:
    build = built("model-volume")
    (server,) = (pod for pod in build.pods() if pod.serves)
    tag = settings_of(build, server).models[0]
    fetch = server.containers[0]
    assert environment(build, fetch)["MODEL_SOURCE"] == f"/models/{tag.replace(':', '-')}.bentomodel"


def test_the_image_has_the_certificates_that_a_model_is_fetched_with() -> None:
    assert re.search(r"^certifi==", (ROOT / "container" / "requirements.txt").read_text(), re.MULTILINE)


def test_scaling_asks_for_series_that_there_are(built: Builder) -> None:
    series = {name for spec in SPECS for name in (spec.name, f"{spec.name}_bucket", f"{spec.name}_total")}
    (scaled,) = built("monitoring, keda").of_kind("ScaledObject")
    for trigger in scaled.spec["triggers"]:
        named = set(re.findall(r"brainmri_\w+", trigger["metadata"]["query"]))
        assert named
        assert named <= series


def test_rules_are_those_of_the_rule_files() -> None:
    assert TARGET.read_text() == document(), "Write it again: python -m k8s.checks.prometheus_rule"


def test_series_get_the_job_that_the_rules_expect(built: Builder) -> None:
    build = built("monitoring")
    (monitor,) = build.of_kind("ServiceMonitor")
    chosen = monitor.spec["selector"]["matchLabels"].items()
    services = [service for service in build.of_kind("Service") if chosen <= service.labels.items()]
    assert {service.labels[monitor.spec["jobLabel"]] for service in services} == {"brainmri"}
    rules = (ROOT / "monitoring" / "prometheus" / "rules" / "alerts-serving.yaml").read_text()
    assert set(re.findall(r'up\{job="(\w+)"', rules)) == {"brainmri"}


def test_the_dashboard_reaches_the_sidecar_of_grafana(built: Builder) -> None:
    (dashboard,) = (m for m in built("monitoring").of_kind("ConfigMap") if "grafana_dashboard" in m.labels)
    written = ROOT / "monitoring" / "grafana" / "dashboards" / "brainmri.json"
    assert dashboard.body["data"] == {"brainmri.json": written.read_text()}


def test_every_file_of_the_manifests_is_used() -> None:
    unused = []
    for file in FOLDER.glob("[!c]*/**/*.yaml"):
        kustomization = file.parent / "kustomization.yaml"
        if file != kustomization and file.name not in kustomization.read_text():
            unused.append(file)
    for file in Path(FOLDER / "components").rglob("*.yaml"):
        kustomization = file.parent / "kustomization.yaml"
        if file != kustomization and file.name not in kustomization.read_text():
            unused.append(file)
    assert unused == []


@pytest.mark.parametrize("build", ["overlays/staging", "overlays/production"])
def test_no_host_has_routes_of_both_kinds(build: str, built: Builder) -> None:
    """A gateway takes one of two routes of different kinds for the same host, and refuses the other."""
    hosts = [
        set(route.spec["hostnames"]) for kind in ("HTTPRoute", "GRPCRoute") for route in built(build).of_kind(kind)
    ]
    assert len(hosts) == 2
    assert not hosts[0] & hosts[1]
