"""Manifests as `kubectl kustomize` writes them, and the pods in them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


@dataclass(frozen=True)
class Manifest:
    """One Kubernetes object.

    Attributes:
        body: The object as parsed YAML.
    """

    body: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Kind of the object, such as `Deployment`."""
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        """Name of the object."""
        return str(self.body["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Namespace of the object; empty for cluster-wide ones."""
        return str(self.body["metadata"].get("namespace", ""))

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of the object itself."""
        return self.body["metadata"].get("labels") or {}

    @property
    def spec(self) -> Mapping[str, Any]:
        """Specification of the object; empty for kinds without one."""
        return self.body.get("spec") or {}

    def __str__(self) -> str:
        """Kind and name, as kubectl writes them."""
        return f"{self.kind.lower()}/{self.name}"


@dataclass(frozen=True)
class Pod:
    """A template of pods.

    Attributes:
        owner: The object that makes them.
        template: `metadata` and `spec` of the pods.
    """

    owner: Manifest
    template: Mapping[str, Any]

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of the pods."""
        return self.template.get("metadata", {}).get("labels") or {}

    @property
    def spec(self) -> Mapping[str, Any]:
        """Specification of the pods."""
        spec: Mapping[str, Any] = self.template["spec"]
        return spec

    @property
    def main(self) -> list[Mapping[str, Any]]:
        """Containers that do the work."""
        return list(self.spec["containers"])

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        """Init containers, then those that do the work."""
        return [*self.spec.get("initContainers", ()), *self.main]

    @property
    def serves(self) -> bool:
        """Tells whether the pods are replicas of the service."""
        return self.owner.kind == "Deployment" and self.labels.get("app.kubernetes.io/name") == "brainmri"


def pods(manifest: Manifest) -> Iterator[Pod]:
    """Yields the templates of pods in a Deployment, a Job or a RayJob; nothing for other kinds."""
    if manifest.kind in ("Deployment", "Job"):
        yield Pod(manifest, manifest.spec["template"])
    elif manifest.kind == "RayJob":
        cluster = manifest.spec["rayClusterSpec"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            yield Pod(manifest, group["template"])


def amount(quantity: object) -> float:
    """Returns a quantity of Kubernetes, such as `500m` or `2Gi`, as a number.

    Raises:
        ValueError: It is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", str(quantity))
    if not found or found[2] not in _UNITS:
        raise ValueError(f"{quantity!r} is no quantity such as 500m or 2Gi.")
    return float(found[1]) * _UNITS[found[2]]
