"""How every pod is hardened, whatever it does."""

from collections.abc import Iterator, Mapping
from typing import Any

from k8s.checks.builds import Build
from k8s.checks.manifest import Pod, amount
from k8s.checks.rules.rule import rules

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
"""What the level `restricted` of the Pod Security Standards allows."""

_HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC")


def numeric_user(build: Build) -> Iterator[str]:
    """A name cannot be seen to be another than root, so the kubelet would refuse the pod."""
    for pod in build.pods():
        context = pod.spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not isinstance(context.get("runAsUser"), int):
            yield f"{pod.owner} must run as a numeric user other than root"
        elif context["runAsUser"] == 0:
            yield f"{pod.owner} runs as root"


def restricted(build: Build) -> Iterator[str]:
    """The level `restricted` of the Pod Security Standards, which the namespace enforces."""
    for pod in build.pods():
        if pod.spec.get("securityContext", {}).get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{pod.owner} must have the seccomp profile RuntimeDefault"
        yield from (f"{pod.owner} must not set {field}" for field in _HOST_FIELDS if pod.spec.get(field))
        for volume in pod.spec.get("volumes", ()):
            if not _VOLUMES & volume.keys():
                yield f"{pod.owner} has the volume {volume['name']}, which `restricted` does not allow"
        for container in pod.containers:
            context = container.get("securityContext", {})
            if context.get("privileged") or context.get("allowPrivilegeEscalation") is not False:
                yield f"{container['name']} of {pod.owner} must not be able to gain privileges"
            if context.get("capabilities", {}).get("drop") != ["ALL"] or context["capabilities"].get("add"):
                yield f"{container['name']} of {pod.owner} must drop all capabilities"


def read_only_root(build: Build) -> Iterator[str]:
    """Nothing that is broken into can change the program."""
    for pod, container in _containers(build):
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{container['name']} of {pod.owner} must have a read-only root"


def bounded_folders(build: Build) -> Iterator[str]:
    """What a pod writes to has a limit, and what BentoML and Python write to is there."""
    for pod in build.pods():
        for volume in pod.spec.get("volumes", ()):
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                yield f"The volume {volume['name']} of {pod.owner} must have a sizeLimit"
    for pod, container in _containers(build):
        written = {mount["mountPath"] for mount in container.get("volumeMounts", ()) if not mount.get("readOnly")}
        home = next((v.get("value") for v in container.get("env", ()) if v["name"] == "BENTOML_HOME"), None)
        needed = {"/tmp"} if home else set()  # noqa: S108 -- in a container
        needed |= {home} if home and not home.startswith("/tmp/") else set()  # noqa: S108
        yield from (f"{container['name']} of {pod.owner} must be able to write to {path}" for path in needed - written)


def no_token(build: Build) -> Iterator[str]:
    """Nothing here talks to the API server, so nothing needs to be able to."""
    for account in build.of_kind("ServiceAccount"):
        if account.body.get("automountServiceAccountToken") is not False:
            yield f"{account} must have no token"
    for pod in build.pods():
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.owner} must have no token"
        if pod.spec.get("serviceAccountName", "default") == "default":
            yield f"{pod.owner} must have an account of its own"


def no_service_links(build: Build) -> Iterator[str]:
    """The variables that Kubernetes makes of a Service `brainmri` would be taken for our settings."""
    for pod in build.pods():
        if pod.spec.get("enableServiceLinks") is not False:
            yield f"{pod.owner} must have enableServiceLinks: false"


def bounded_resources(build: Build) -> Iterator[str]:
    """The scheduler knows what a pod needs, and no pod can take a node's memory or disk."""
    for pod, container in _containers(build):
        resources = container.get("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        for name in ("cpu", "memory", "ephemeral-storage"):
            if name not in requests:
                yield f"{container['name']} of {pod.owner} must request {name}"
        for name in ("memory", "ephemeral-storage"):
            if name not in limits:
                yield f"{container['name']} of {pod.owner} must have a limit on {name}"
            elif name in requests and amount(limits[name]) < amount(requests[name]):
                yield f"{container['name']} of {pod.owner} requests more {name} than its limit"
        if pod.serves and "cpu" in limits:
            yield f"{container['name']} of {pod.owner} must have no limit on cpu: throttling makes requests late"


def pinned_images(build: Build) -> Iterator[str]:
    """What runs is what was tested: a version everywhere, a digest in production."""
    for pod, container in _containers(build):
        image = str(container["image"])
        tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
        if "@sha256:" not in image and tag in ("", "latest"):
            yield f"{image} of {pod.owner} must name a version"
        if build.is_production and "@sha256:" not in image:
            yield f"{image} of {pod.owner} must be named by digest"


def _containers(build: Build) -> Iterator[tuple[Pod, Mapping[str, Any]]]:
    for pod in build.pods():
        for container in pod.containers:
            yield pod, container


RULES = rules(
    {
        "numeric-user": numeric_user,
        "restricted": restricted,
        "read-only-root": read_only_root,
        "bounded-folders": bounded_folders,
        "no-token": no_token,
        "no-service-links": no_service_links,
        "bounded-resources": bounded_resources,
        "pinned-images": pinned_images,
    }
)
