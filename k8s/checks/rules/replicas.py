"""How replicas of the service start, end, are replaced and are scaled."""

from collections.abc import Iterator, Mapping
from typing import Any

from k8s.checks.builds import Build
from k8s.checks.environment import settings_of
from k8s.checks.manifest import Pod, amount
from k8s.checks.rules.rule import rules

LOAD_S = 75
"""How long the service took to be ready on two cores that other jobs shared; docs/decisions/0013."""

_HUNG_GRACE_S = 20
"""Longest grace of a server that does not answer any more: preStop, and a little for what may still work."""

SPARE_S = 5

SPOOL = "/tmp"  # noqa: S108 -- in a container
"""Where the bodies of bulk requests lie."""


def probes(build: Build) -> Iterator[str]:
    """A slow load is not taken for a dead process, and no request reaches a replica without a model."""
    for pod in _serving(build):
        server = pod.main[0]
        for name, path in (("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
            asked = server.get(name, {}).get("httpGet", {})
            if (asked.get("path"), asked.get("port")) != (path, "http"):
                yield f"The {name} of {pod.owner} must ask for {path} at the port http"
        if not 0 < server.get("livenessProbe", {}).get("terminationGracePeriodSeconds", 0) <= _HUNG_GRACE_S:
            yield f"The livenessProbe of {pod.owner} must have a grace of its own of at most {_HUNG_GRACE_S} s"
        startup = server.get("startupProbe", {})
        budget_s = startup.get("periodSeconds", 10) * startup.get("failureThreshold", 3)
        if budget_s < 2 * LOAD_S:
            yield f"The startupProbe of {pod.owner} gives {budget_s} s; loading may take {LOAD_S} s on a busy node"


def graceful_end(build: Build) -> Iterator[str]:
    """Everybody hears that a pod ends before it does, and the longest request is answered."""
    for pod in _serving(build):
        settings = settings_of(build, pod)
        sleep_s = pod.main[0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if sleep_s < SPARE_S:
            yield f"{pod.owner} must sleep in preStop for {SPARE_S} s or more"
        longest_s = max(settings.request_timeout_s, settings.bulk_timeout_s)
        if settings.shutdown_grace_s < settings.shutdown_delay_s + longest_s:
            yield (
                f"BRAINMRI_SHUTDOWN_GRACE_S of {pod.owner} is {settings.shutdown_grace_s:g}; the delay of"
                f" {settings.shutdown_delay_s:g} s and the longest request of {longest_s:g} s do not fit into it"
            )
        needed_s = sleep_s + settings.shutdown_grace_s + SPARE_S
        if pod.spec.get("terminationGracePeriodSeconds", 30) < needed_s:
            yield f"terminationGracePeriodSeconds of {pod.owner} must be at least {needed_s:g}"


def surging_rollout(build: Build) -> Iterator[str]:
    """A new pod is ready before an old one ends; below `template` a strategy would be ignored."""
    for pod in _serving(build):
        strategy = pod.owner.spec.get("strategy", {})
        update = strategy.get("rollingUpdate", {})
        if strategy.get("type") != "RollingUpdate" or update.get("maxUnavailable") != 0 or not update.get("maxSurge"):
            yield f"{pod.owner} must roll with maxUnavailable 0 and a maxSurge"


def threads_follow_request(build: Build) -> Iterator[str]:
    """Without a CPU limit the quota says nothing: a pod on a large node would start far too many threads."""
    for pod in build.pods():
        container = pod.main[0]
        if not pod.serves and pod.owner.name != "brainmri-score":
            continue
        for name in ("BRAINMRI_THREADS", "BRAINMRI_DECODE_WORKERS"):
            source = _source(container, name)
            wanted = {"containerName": container["name"], "resource": "requests.cpu", "divisor": "1"}
            if {**source, "divisor": str(source.get("divisor"))} != wanted:
                yield f"{name} of {pod.owner} must come from requests.cpu"


def one_autoscaler(build: Build) -> Iterator[str]:
    """The replicas of a Deployment are set in one place: an autoscaler, or the Deployment."""
    scalers = [*build.of_kind("HorizontalPodAutoscaler"), *build.of_kind("ScaledObject")]
    for pod in _serving(build):
        of_this = [scaler for scaler in scalers if scaler.spec["scaleTargetRef"]["name"] == pod.owner.name]
        places = len(of_this) + ("replicas" in pod.owner.spec)
        if places != 1:
            yield f"The replicas of {pod.owner} are set in {places} places; it must be one"


def disruption_budget(build: Build) -> Iterator[str]:
    """A drain of nodes takes one replica at a time, and may always remove a replica that is not ready."""
    for pod in _serving(build):
        budgets = [b for b in build.of_kind("PodDisruptionBudget") if _selects(b.spec["selector"], pod)]
        if len(budgets) != 1:
            yield f"{pod.owner} must have one PodDisruptionBudget, and has {len(budgets)}"
        for budget in budgets:
            if budget.spec.get("maxUnavailable") != 1 or budget.spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
                yield f"{budget} must have maxUnavailable 1 and unhealthyPodEvictionPolicy AlwaysAllow"


def spread_in_production(build: Build) -> Iterator[str]:
    """Production survives the loss of a zone: three replicas or more, none of them all in one."""
    if not build.is_production:
        return
    for scaler in (*build.of_kind("HorizontalPodAutoscaler"), *build.of_kind("ScaledObject")):
        least = scaler.spec.get("minReplicas", scaler.spec.get("minReplicaCount", 1))
        if least < 3:
            yield f"{scaler} must keep at least three replicas"
    for pod in _serving(build):
        zones = [
            constraint
            for constraint in pod.spec.get("topologySpreadConstraints", ())
            if constraint["topologyKey"] == "topology.kubernetes.io/zone"
            and constraint["whenUnsatisfiable"] == "DoNotSchedule"
            and constraint["maxSkew"] == 1
            and _selects(constraint["labelSelector"], pod)
        ]
        if not zones:
            yield f"{pod.owner} must be spread over zones, maxSkew 1, DoNotSchedule"


def room_on_disk(build: Build) -> Iterator[str]:
    """The bodies of bulk requests, which are spooled to /tmp, fit into its volume and the pod's limit."""
    for pod in _serving(build):
        settings, server = settings_of(build, pod), pod.main[0]
        spooled = settings.max_archive_bytes * settings.max_bulk_requests
        sizes = {volume["name"]: volume.get("emptyDir", {}).get("sizeLimit", "0") for volume in pod.spec["volumes"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in server["volumeMounts"]}
        if amount(sizes[mounts[SPOOL]]) < spooled:
            yield f"{SPOOL} of {pod.owner} must hold {spooled} bytes of bulk requests"
        total = sum(amount(sizes[name]) for name in set(mounts.values()) if name in sizes)
        if amount(server["resources"]["limits"]["ephemeral-storage"]) < total:
            yield f"The limit on ephemeral-storage of {pod.owner} is less than its volumes may hold"


def _serving(build: Build) -> Iterator[Pod]:
    return (pod for pod in build.pods() if pod.serves)


def _source(container: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next((v for v in container.get("env", ()) if v["name"] == name), {})
    source: Mapping[str, Any] = found.get("valueFrom", {}).get("resourceFieldRef", {})
    return source


def _selects(selector: Mapping[str, Any], pod: Pod) -> bool:
    wanted: Mapping[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= pod.labels.items()


RULES = rules(
    {
        "probes": probes,
        "graceful-end": graceful_end,
        "surging-rollout": surging_rollout,
        "threads-follow-request": threads_follow_request,
        "one-autoscaler": one_autoscaler,
        "disruption-budget": disruption_budget,
        "spread-in-production": spread_in_production,
        "room-on-disk": room_on_disk,
    }
)
