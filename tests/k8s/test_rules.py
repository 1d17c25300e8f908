"""Each rule is met by what we ship, and not by a manifest with the fault that it is there for."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import yaml

from k8s.checks.builds import FOLDER, VARIANTS
from k8s.checks.manifest import Manifest
from k8s.checks.rules import RULES
from tests.k8s.broken import Body, broken, config, container, pod_spec, without
from tests.k8s.conftest import Builder

SERVER = "deployment/brainmri"
SCORE = "job/brainmri-score"


@dataclass(frozen=True)
class Fault:
    """One fault: planted in an object of a build, found by a rule that says so."""

    rule: str
    build: str
    which: str
    plant: Callable[[Body], object]
    said: str


def probe(name: str, **changes: object) -> Callable[[Body], object]:
    def plant(body: Body) -> None:
        asked = container(body)[name]
        asked["httpGet"] |= {key: value for key, value in changes.items() if key in ("path", "port")}
        asked |= {key: value for key, value in changes.items() if key not in ("path", "port")}

    return plant


def strategy_at_the_wrong_level(body: Body) -> None:
    body["spec"]["template"]["strategy"] = body["spec"].pop("strategy")


def head_of_ray(body: Body) -> Body:
    head: Body = body["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    return head


def unmount(of: Body, path: str) -> None:
    (mount,) = (mount for mount in of["volumeMounts"] if mount["mountPath"] == path)
    of["volumeMounts"].remove(mount)


def another_secret(body: Body) -> None:
    next(volume["secret"] for volume in pod_spec(body)["volumes"] if "secret" in volume)["secretName"] = "keys"


FAULTS = [
    Fault(
        "numeric-user",
        "overlays/local",
        SERVER,
        lambda b: pod_spec(b)["securityContext"].update(runAsUser="brainmri"),
        "must run as a numeric user",
    ),
    Fault(
        "numeric-user",
        "overlays/local",
        SERVER,
        lambda b: pod_spec(b)["securityContext"].update(runAsUser=0),
        "runs as root",
    ),
    Fault("restricted", "overlays/local", SERVER, lambda b: pod_spec(b).update(hostNetwork=True), "hostNetwork"),
    Fault(
        "restricted",
        "overlays/local",
        SERVER,
        lambda b: pod_spec(b)["volumes"].append({"name": "disk", "hostPath": {"path": "/"}}),
        "volume disk",
    ),
    Fault(
        "restricted", "overlays/local", SERVER, lambda b: container(b).pop("securityContext"), "drop all capabilities"
    ),
    Fault(
        "restricted",
        "overlays/local",
        SERVER,
        lambda b: pod_spec(b)["securityContext"].pop("seccompProfile"),
        "seccomp profile",
    ),
    Fault(
        "read-only-root",
        "jobs/score",
        SCORE,
        lambda b: container(b)["securityContext"].update(readOnlyRootFilesystem=False),
        "read-only root",
    ),
    Fault(
        "bounded-folders",
        "overlays/local",
        SERVER,
        lambda b: pod_spec(b)["volumes"][0].update(emptyDir={}),
        "must have a sizeLimit",
    ),
    Fault(
        "bounded-folders",
        "overlays/local",
        SERVER,
        lambda b: container(b)["volumeMounts"].pop(0),
        "must be able to write to /var/lib/brainmri",
    ),
    Fault(
        "no-token",
        "overlays/local",
        "serviceaccount/brainmri",
        lambda b: b.pop("automountServiceAccountToken"),
        "must have no token",
    ),
    Fault(
        "no-token", "overlays/local", SERVER, lambda b: pod_spec(b).pop("serviceAccountName"), "an account of its own"
    ),
    Fault("no-service-links", "overlays/local", SERVER, lambda b: pod_spec(b).pop("enableServiceLinks"), "enableServ"),
    Fault(
        "bounded-resources",
        "overlays/local",
        SERVER,
        lambda b: container(b)["resources"]["limits"].pop("memory"),
        "must have a limit on memory",
    ),
    Fault(
        "bounded-resources",
        "overlays/local",
        SERVER,
        lambda b: container(b)["resources"]["limits"].update(cpu="2"),
        "throttling",
    ),
    Fault(
        "bounded-resources",
        "jobs/score",
        SCORE,
        lambda b: container(b)["resources"]["requests"].update(memory="4Gi"),
        "requests more memory than its limit",
    ),
    Fault(
        "pinned-images",
        "overlays/staging",
        SERVER,
        lambda b: container(b).update(image="registry.example.com:5000/brainmri"),
        "must name a version",
    ),
    Fault(
        "pinned-images",
        "overlays/production",
        SERVER,
        lambda b: container(b).update(image="registry.example.com/brainmri:0.1.0"),
        "by digest",
    ),
    Fault("probes", "overlays/local", SERVER, probe("livenessProbe", path="/readyz"), "must ask for /livez"),
    Fault("probes", "overlays/local", SERVER, probe("readinessProbe", path="/livez"), "must ask for /readyz"),
    Fault("probes", "overlays/local", SERVER, probe("startupProbe", failureThreshold=15), "gives 30 s"),
    Fault(
        "probes",
        "overlays/local",
        SERVER,
        probe("livenessProbe", terminationGracePeriodSeconds=90),
        "must have a grace of its own of at most 20 s",
    ),
    Fault(
        "written-defaults",
        "overlays/local",
        SERVER,
        lambda b: container(b)["ports"][0].pop("protocol"),
        "A port of a container of deployment/brainmri must say protocol",
    ),
    Fault(
        "written-defaults",
        "overlays/local",
        "service/brainmri",
        lambda b: b["spec"]["ports"][1].pop("protocol"),
        "A port of service/brainmri must say protocol",
    ),
    Fault(
        "written-defaults",
        "overlays/local",
        "networkpolicy/brainmri-clients",
        lambda b: b["spec"]["ingress"][0]["ports"][0].pop("protocol"),
        "A port of ingress of networkpolicy/brainmri-clients must say protocol",
    ),
    Fault(
        "written-defaults",
        "overlays/staging",
        "httproute/brainmri",
        lambda b: b["spec"]["rules"][0]["backendRefs"][0].pop("kind"),
        "A backend of httproute/brainmri must say kind",
    ),
    Fault(
        "written-defaults",
        "overlays/staging",
        "grpcroute/brainmri",
        lambda b: b["spec"]["parentRefs"][0].pop("group"),
        "A parent of grpcroute/brainmri must say group",
    ),
    Fault("graceful-end", "overlays/local", SERVER, lambda b: container(b).pop("lifecycle"), "must sleep in preStop"),
    Fault(
        "graceful-end",
        "overlays/local",
        SERVER,
        lambda b: pod_spec(b).pop("terminationGracePeriodSeconds"),
        "must be at least 85",
    ),
    Fault(
        "graceful-end",
        "overlays/local",
        "configmap/brainmri",
        lambda b: config(b).update(BRAINMRI_BULK_TIMEOUT_S="3600"),
        "the longest request of 3600 s do not fit",
    ),
    Fault("surging-rollout", "overlays/local", SERVER, strategy_at_the_wrong_level, "maxUnavailable 0"),
    Fault(
        "threads-follow-request",
        "overlays/local",
        SERVER,
        lambda b: container(b)["env"][0].update(valueFrom={"resourceFieldRef": {"resource": "limits.cpu"}}),
        "BRAINMRI_THREADS of deployment/brainmri must come from requests.cpu",
    ),
    Fault("one-autoscaler", "overlays/staging", SERVER, lambda b: b["spec"].update(replicas=2), "set in 2 places"),
    Fault("one-autoscaler", "overlays/local", SERVER, lambda b: b["spec"].pop("replicas"), "set in 0 places"),
    Fault(
        "disruption-budget",
        "overlays/local",
        "poddisruptionbudget/brainmri",
        lambda b: b["spec"].update(maxUnavailable=0),
        "maxUnavailable 1",
    ),
    Fault(
        "disruption-budget",
        "overlays/local",
        "poddisruptionbudget/brainmri",
        lambda b: b["spec"]["selector"]["matchLabels"].update({"app.kubernetes.io/name": "other"}),
        "and has 0",
    ),
    Fault(
        "spread-in-production",
        "overlays/production",
        SERVER,
        lambda b: pod_spec(b)["topologySpreadConstraints"][0].update(whenUnsatisfiable="ScheduleAnyway"),
        "spread over zones",
    ),
    Fault(
        "spread-in-production",
        "overlays/production",
        "horizontalpodautoscaler/brainmri",
        lambda b: b["spec"].update(minReplicas=2),
        "three replicas",
    ),
    Fault(
        "room-on-disk",
        "overlays/local",
        "configmap/brainmri",
        lambda b: config(b).update(BRAINMRI_MAX_BULK_REQUESTS="64"),
        "must hold 34359738368 bytes of bulk requests",
    ),
    Fault(
        "room-on-disk",
        "overlays/local",
        SERVER,
        lambda b: container(b)["resources"]["limits"].update({"ephemeral-storage": "2Gi"}),
        "less than its volumes may hold",
    ),
    Fault(
        "recommended-labels",
        "overlays/local",
        "service/brainmri",
        lambda b: b["metadata"].pop("labels"),
        "app.kubernetes.io/name",
    ),
    Fault(
        "one-namespace",
        "overlays/local",
        "namespace/brainmri",
        lambda b: b["metadata"]["labels"].update({"pod-security.kubernetes.io/enforce": "baseline"}),
        "must enforce the level restricted",
    ),
    Fault(
        "one-namespace",
        "overlays/local",
        "service/brainmri",
        lambda b: b["metadata"].update(namespace="default"),
        "is in the namespace default",
    ),
    Fault(
        "known-settings",
        "overlays/local",
        "configmap/brainmri",
        lambda b: config(b).update(BRAINMRI_HTTPPORT="3000"),
        "BRAINMRI_HTTPPORT, which brainmri/settings.py does not have",
    ),
    Fault(
        "known-settings",
        "overlays/local",
        "configmap/brainmri",
        lambda b: config(b).update(BRAINMRI_SHUTDOWN_DELAY_S="99"),
        "would not start: shutdown_delay_s",
    ),
    Fault(
        "known-settings",
        "overlays/local",
        "configmap/brainmri",
        lambda b: config(b).update(OTEL_EXPORTER_OLTP_ENDPOINT="http://collector"),
        "OTEL_EXPORTER_OLTP_ENDPOINT, which nothing reads",
    ),
    Fault(
        "known-settings",
        "overlays/local",
        "configmap/brainmri",
        lambda b: config(b).update(BRAINMRI_GRPC_PORT="3002"),
        "listens on 3000, 3002",
    ),
    Fault(
        "known-settings",
        "overlays/local",
        "configmap/brainmri",
        lambda b: config(b).pop("BRAINMRI_HTTP_HOST"),
        "listens for its own pod only",
    ),
    Fault(
        "existing-references",
        "overlays/local",
        SERVER,
        lambda b: container(b)["envFrom"][0]["configMapRef"].update(name="gone"),
        "ConfigMap gone, which is not there",
    ),
    Fault(
        "existing-references",
        "overlays/production",
        SERVER,
        another_secret,
        "Secret keys, which is not there",
    ),
    Fault(
        "provided-files",
        "overlays/production",
        SERVER,
        lambda b: unmount(container(b), "/etc/brainmri/keys"),
        "BRAINMRI_API_KEYS_FILE of deployment/brainmri is /etc/brainmri/keys/api-keys, which no volume of server",
    ),
    Fault(
        "provided-files",
        "model-volume",
        SERVER,
        lambda b: unmount(pod_spec(b)["initContainers"][0], "/models"),
        "MODEL_SOURCE of deployment/brainmri is /models/",
    ),
    Fault(
        "canary-like-stable",
        "gateway, canary, model-volume",
        "deployment/brainmri-canary",
        lambda b: pod_spec(b).pop("initContainers"),
        "deployment/brainmri-canary differs from deployment/brainmri in initContainers",
    ),
    Fault(
        "matching-selectors",
        "overlays/local",
        "service/brainmri",
        lambda b: b["spec"]["selector"].update({"app.kubernetes.io/instance": "other"}),
        "finds none",
    ),
    Fault(
        "matching-selectors",
        "gateway, canary",
        "service/brainmri",
        lambda b: b["spec"]["selector"].pop("app.kubernetes.io/instance"),
        "finds deployment/brainmri, deployment/brainmri-canary",
    ),
    Fault(
        "matching-selectors",
        "overlays/local",
        "service/brainmri",
        lambda b: b["spec"]["ports"][0].update(targetPort="web"),
        "port web, which its pods do not have",
    ),
    Fault(
        "routes-to-services",
        "gateway, canary",
        "httproute/brainmri",
        lambda b: b["spec"]["rules"][0]["backendRefs"][1].update(name="brainmri-next"),
        "Service brainmri-next, which is not there",
    ),
    Fault(
        "headless-for-grpc",
        "overlays/local",
        "service/brainmri-grpc",
        lambda b: b["spec"].pop("clusterIP"),
        "headless Service for gRPC is missing",
    ),
    Fault(
        "default-deny",
        "overlays/local",
        "networkpolicy/default-deny",
        lambda b: b["spec"].update(policyTypes=["Ingress"]),
        "denies everything by default is missing",
    ),
    Fault(
        "default-deny",
        "overlays/local",
        "networkpolicy/brainmri-clients",
        lambda b: b["spec"]["ingress"][0].pop("from"),
        "allows ingress for everybody",
    ),
    Fault(
        "no-secrets",
        "overlays/local",
        "serviceaccount/brainmri",
        lambda b: b.update(kind="Secret", apiVersion="v1"),
        "must not be in a manifest",
    ),
    Fault(
        "shares-of-indexed-jobs",
        "jobs/score",
        SCORE,
        lambda b: b["spec"].update(completions=9),
        "as many --num-shards as completions",
    ),
    Fault("shares-of-indexed-jobs", "jobs/score", SCORE, lambda b: container(b)["args"].remove("--resume"), "--resume"),
    Fault("retries-by-index", "jobs/score", SCORE, lambda b: b["spec"].pop("podFailurePolicy"), "fail the index on 42"),
    Fault(
        "retries-by-index", "jobs/score", SCORE, lambda b: b["spec"].pop("backoffLimitPerIndex"), "backoffLimitPerIndex"
    ),
    Fault(
        "actors-of-ray",
        "jobs/ray",
        "rayjob/brainmri-score-ray",
        lambda b: b["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].update(replicas=2),
        "as many actors as there are workers, 2",
    ),
    Fault(
        "actors-of-ray",
        "jobs/ray",
        "rayjob/brainmri-score-ray",
        lambda b: head_of_ray(b)["env"].pop(0),
        "BRAINMRI_THREADS of the head of rayjob/brainmri-score-ray must be the CPU limit of a worker, 2",
    ),
    Fault(
        "spread-in-production",
        "overlays/production with monitoring, keda, gateway, canary, api-keys",
        "scaledobject/brainmri",
        lambda b: b["spec"].update(minReplicaCount=2),
        "scaledobject/brainmri must keep at least three replicas",
    ),
]


def named(which: str, manifests: tuple[Manifest, ...]) -> str:
    """Returns `kind/name` with the hash that a generated ConfigMap has."""
    if not which.startswith("configmap/"):
        return which
    (found,) = (m for m in manifests if m.kind == "ConfigMap" and m.name.rpartition("-")[0] == which.partition("/")[2])
    return str(found)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.rule}: {fault.said}")
def test_a_rule_finds_the_fault_that_it_is_there_for(fault: Fault, built: Builder) -> None:
    build, (rule,) = built(fault.build), (rule for rule in RULES if rule.name == fault.rule)
    assert list(rule.check(build)) == []
    found = list(rule.check(broken(build, named(fault.which, build.manifests), fault.plant)))
    assert len(found) >= 1
    assert any(fault.said in sentence for sentence in found), found


def test_an_autoscaler_beside_keda_is_found(built: Builder) -> None:
    build = built("monitoring, keda")
    (rule,) = (rule for rule in RULES if rule.name == "one-autoscaler")
    assert list(rule.check(build)) == []
    assert list(rule.check(without(build, "scaledobject/brainmri"))) == [
        "The replicas of deployment/brainmri are set in 0 places; it must be one"
    ]


@pytest.mark.parametrize("component", ["api-keys", "model-volume", "model-object-store", "gpu", "otel", "small-nodes"])
def test_a_component_that_changes_pods_reaches_the_canary_only_if_it_is_listed_after_it(
    component: str, built: Builder
) -> None:
    (rule,) = (rule for rule in RULES if rule.name == "canary-like-stable")
    assert list(rule.check(built(f"gateway, canary, {component}"))) == []
    (said,) = rule.check(built(f"gateway, {component}, canary"))
    assert said.startswith("deployment/brainmri-canary differs from deployment/brainmri in ")


def test_a_canary_without_the_file_of_keys_is_found(built: Builder) -> None:
    (rule,) = (rule for rule in RULES if rule.name == "provided-files")
    assert list(rule.check(built("gateway, api-keys, canary"))) == [
        "BRAINMRI_API_KEYS_FILE of deployment/brainmri-canary is /etc/brainmri/keys/api-keys, which no volume of server"
        " provides"
    ]


def test_production_scaled_by_keda_keeps_three_replicas_of_each_version(built: Builder) -> None:
    ((name, components),) = VARIANTS
    build = built(f"overlays/{name} with {', '.join(components)}")
    assert set(components) >= {folder.rpartition("/")[2] for folder in components_of(name)}
    least = {str(scaler): scaler.spec["minReplicaCount"] for scaler in build.of_kind("ScaledObject")}
    least |= {str(scaler): scaler.spec["minReplicas"] for scaler in build.of_kind("HorizontalPodAutoscaler")}
    assert least == {"scaledobject/brainmri": 3, "horizontalpodautoscaler/brainmri-canary": 3}
    assert [fault for rule in RULES for fault in rule.check(build)] == []


def components_of(name: str) -> list[str]:
    """Returns the components that an overlay lists."""
    listed: list[str] = yaml.safe_load((FOLDER / "overlays" / name / "kustomization.yaml").read_text())["components"]
    return listed


def test_every_rule_has_a_fault_here() -> None:
    assert {fault.rule for fault in FAULTS} == {rule.name for rule in RULES}
