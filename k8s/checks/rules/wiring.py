"""Rules for references between objects: names, labels, ports and settings that must exist."""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from brainmri.settings import Settings
from k8s.checks.builds import Build
from k8s.checks.environment import PREFIX, BadSettings, environment, ours, settings_of
from k8s.checks.manifest import Manifest, Pod, pods
from k8s.checks.rules.rule import rules

LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/part-of")
_ELSEWHERE = {
    "brainmri-api-keys",
    "brainmri-loadtest-key",
    "brainmri-model-address",
    "brainmri-models",
    "brainmri-results",
    "brainmri-scans",
}
"""Secrets and claims that an operator makes; docs/kubernetes.md and docs/load-tests.md tell how."""

_FOREIGN_VARIABLES = {
    "BENTOML_HOME",
    "BRAINMRI_LOADTEST_API_KEY",
    "HOME",
    "MODEL_SOURCE",
    "MODEL_SHA256",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "POD_NAME",
    "POD_NAMESPACE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
}
"""Variables that are no settings of ours, and are meant."""


def recommended_labels(build: Build) -> Iterator[str]:
    """Whoever looks at a cluster sees what belongs together."""
    for manifest in build.manifests:
        yield from (f"{manifest} must have the label {label}" for label in LABELS if label not in manifest.labels)


def one_namespace(build: Build) -> Iterator[str]:
    """Everything is in one namespace, and that one enforces the level `restricted`."""
    namespaces = build.of_kind("Namespace")
    for namespace in namespaces:
        if namespace.labels.get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{namespace} must enforce the level restricted"
    for manifest in build.manifests:
        if manifest.kind != "Namespace" and namespaces and manifest.namespace != namespaces[0].name:
            yield f"{manifest} is in the namespace {manifest.namespace or 'of whoever applies it'}"


def written_defaults(build: Build) -> Iterator[str]:
    """What the API server fills in within a list that kubectl compares as a whole, or each `apply` changes it."""
    for manifest in build.manifests:
        for path, entry, needed in _defaulted(manifest):
            missing = ", ".join(sorted(needed - entry.keys()))
            if missing:
                yield f"{path} of {manifest} must say {missing}"


def _defaulted(manifest: Manifest) -> Iterator[tuple[str, Mapping[str, Any], set[str]]]:
    """Yields each entry of such a list, where it is, and the fields that have a default."""
    spec = manifest.spec
    if manifest.kind == "NetworkPolicy":
        for way in ("ingress", "egress"):
            ports = (port for rule in spec.get(way, ()) for port in rule.get("ports", ()))
            yield from ((f"A port of {way}", port, {"protocol"}) for port in ports)
    if manifest.kind == "Service":
        yield from (("A port", port, {"protocol"}) for port in spec["ports"])
    if manifest.kind in ("HTTPRoute", "GRPCRoute"):
        yield from (("A parent", parent, {"group", "kind"}) for parent in spec["parentRefs"])
        backends = (backend for rule in spec["rules"] for backend in rule["backendRefs"])
        yield from (("A backend", backend, {"group", "kind", "weight"}) for backend in backends)
    for pod in pods(manifest):
        ports = (port for container in pod.containers for port in container.get("ports", ()))
        yield from (("A port of a container", port, {"protocol"}) for port in ports)


def known_settings(build: Build) -> Iterator[str]:
    """Every variable is one that something reads, and the service starts with the values."""
    for pod in build.pods():
        for container in pod.containers:
            variables = environment(build, container)
            strange = sorted(set(variables) - set(ours(variables)) - _FOREIGN_VARIABLES)
            if strange:
                yield f"{container['name']} of {pod.owner} sets {', '.join(strange)}, which nothing reads"
        try:
            settings = settings_of(build, pod)
        except BadSettings as error:
            yield str(error)
            continue
        if pod.serves:
            ports = {port["name"]: port["containerPort"] for port in pod.main[0]["ports"]}
            if ports != {"http": settings.http_port, "grpc": settings.grpc_port}:
                yield f"{pod.owner} names the ports {ports}, and listens on {settings.http_port}, {settings.grpc_port}"
            if "127.0.0.1" in (settings.http_host, settings.grpc_host):
                yield f"{pod.owner} listens for its own pod only"


def existing_references(build: Build) -> Iterator[str]:
    """ConfigMaps, Secrets, claims and accounts that are named are there, or are the operator's to make."""
    there = {(manifest.kind, manifest.name) for manifest in build.manifests}
    accounts = {manifest.name for manifest in build.of_kind("ServiceAccount")}
    for pod in build.pods():
        for kind, name in _references(pod):
            if (kind, name) not in there and name not in _ELSEWHERE:
                yield f"{pod.owner} refers to {kind} {name}, which is not there"
        if accounts and pod.spec["serviceAccountName"] not in accounts:
            yield f"{pod.owner} runs as {pod.spec['serviceAccountName']}, which is not there"


def provided_files(build: Build) -> Iterator[str]:
    """A file or folder that the environment of a replica names is on a volume of that replica."""
    for pod in build.pods():
        if not pod.serves:
            continue
        for container in pod.containers:
            mounts = [PurePosixPath(mount["mountPath"]) for mount in container.get("volumeMounts", ())]
            for name, value in environment(build, container).items():
                if _names_a_file(name, value) and not any(PurePosixPath(value).is_relative_to(m) for m in mounts):
                    yield f"{name} of {pod.owner} is {value}, which no volume of {container['name']} provides"


def _names_a_file(name: str, value: str) -> bool:
    field = Settings.model_fields.get(name.removeprefix(PREFIX).lower()) if name.startswith(PREFIX) else None
    kinds = () if field is None else (field.annotation, *get_args(field.annotation))
    return Path in kinds or (name in ("MODEL_SOURCE", "SSL_CERT_FILE", "SSL_CERT_DIR") and value.startswith("/"))


def canary_like_stable(build: Build) -> Iterator[str]:
    """Two versions differ in their image. A component that is listed before `canary` changes the first version only."""
    serving = [pod for pod in build.pods() if pod.serves]
    for pod in serving[1:]:
        first, other = _apart_from_image(serving[0]), _apart_from_image(pod)
        fields = sorted(field for field in first.keys() | other.keys() if first.get(field) != other.get(field))
        if fields:
            yield (
                f"{pod.owner} differs from {serving[0].owner} in {', '.join(fields)}: list what changes pods after the"
                " component canary"
            )


def _apart_from_image(pod: Pod) -> Mapping[str, Any]:
    # Affinity and spreading name the pods of their own version.
    fields = {key: value for key, value in pod.spec.items() if key not in ("affinity", "topologySpreadConstraints")}
    for key in ("initContainers", "containers"):
        fields[key] = [{**container, "image": ""} for container in pod.spec.get(key, ())]
    return fields


def _references(pod: Pod) -> Iterator[tuple[str, str]]:
    for volume in pod.spec.get("volumes", ()):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for container in pod.containers:
        for source in container.get("envFrom", ()):
            yield "ConfigMap", source["configMapRef"]["name"]
        for variable in container.get("env", ()):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield "Secret", reference["name"]


def matching_selectors(build: Build) -> Iterator[str]:
    """A Service finds the pods of one version, and its ports are theirs; a Deployment finds its own pods."""
    pods = list(build.pods())
    for service in build.of_kind("Service"):
        found = [pod for pod in pods if service.spec["selector"].items() <= pod.labels.items()]
        owners = {str(pod.owner) for pod in found}
        if len(owners) != 1:
            yield f"{service} must find the pods of one object, and finds {', '.join(sorted(owners)) or 'none'}"
        for port in service.spec["ports"]:
            names = {named["name"] for pod in found for named in pod.main[0].get("ports", ())}
            if found and port["targetPort"] not in names:
                yield f"{service} sends to the port {port['targetPort']}, which its pods do not have"
    for pod in pods:
        chosen = pod.owner.spec.get("selector", {}).get("matchLabels", {})
        if pod.owner.kind == "Deployment" and not chosen.items() <= pod.labels.items():
            yield f"{pod.owner} does not find its own pods"


def routes_to_services(build: Build) -> Iterator[str]:
    """Every route ends at a port of a Service that is there."""
    ports = {
        service.name: {key for port in service.spec["ports"] for key in (port["port"], port["name"])}
        for service in build.of_kind("Service")
    }
    for manifest in build.manifests:
        for name, port in _backends(manifest):
            if port not in ports.get(name, ()):
                yield f"{manifest} sends to port {port} of the Service {name}, which is not there"


def _backends(manifest: Manifest) -> Iterator[tuple[str, int | str]]:
    if manifest.kind in ("HTTPRoute", "GRPCRoute"):
        for rule in manifest.spec["rules"]:
            for backend in rule["backendRefs"]:
                yield backend["name"], backend["port"]
    elif manifest.kind == "Ingress":
        for rule in manifest.spec["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                yield service["name"], service["port"].get("name") or service["port"]["number"]


def headless_for_grpc(build: Build) -> Iterator[str]:
    """Clients of gRPC can see every replica; through an ordinary Service a connection stays with one."""
    if not build.of_kind("Deployment"):
        return
    headless = [
        service
        for service in build.of_kind("Service")
        if service.spec.get("clusterIP") == "None" and "grpc" in {port["name"] for port in service.spec["ports"]}
    ]
    if not headless:
        yield "A headless Service for gRPC is missing"


def default_deny(build: Build) -> Iterator[str]:
    """What no policy allows is denied, in both directions; and nothing is allowed to everybody."""
    if not build.of_kind("Namespace"):
        return
    denies = [
        policy
        for policy in build.of_kind("NetworkPolicy")
        if not policy.spec.get("podSelector") and not policy.spec.get("ingress") and not policy.spec.get("egress")
    ]
    if not any(set(policy.spec["policyTypes"]) == {"Ingress", "Egress"} for policy in denies):
        yield "A NetworkPolicy that denies everything by default is missing"
    for policy in build.of_kind("NetworkPolicy"):
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            if any(not rule.get(peers) for rule in policy.spec.get(direction, ())):
                yield f"{policy} allows {direction} for everybody"


def no_secrets(build: Build) -> Iterator[str]:
    """Secrets are made outside of these files, which everybody can read."""
    yield from (f"{secret} must not be in a manifest" for secret in build.of_kind("Secret"))


RULES = rules(
    {
        "recommended-labels": recommended_labels,
        "one-namespace": one_namespace,
        "known-settings": known_settings,
        "existing-references": existing_references,
        "provided-files": provided_files,
        "canary-like-stable": canary_like_stable,
        "matching-selectors": matching_selectors,
        "routes-to-services": routes_to_services,
        "headless-for-grpc": headless_for_grpc,
        "default-deny": default_deny,
        "no-secrets": no_secrets,
        "written-defaults": written_defaults,
    }
)
