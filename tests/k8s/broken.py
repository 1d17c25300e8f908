"""Builds with one fault planted."""

import copy
from collections.abc import Callable
from typing import Any

from k8s.checks.builds import Build
from k8s.checks.manifest import Manifest

Body = dict[str, Any]


def broken(build: Build, which: str, plant: Callable[[Body], object]) -> Build:
    """Returns the build with one object changed.

    Args:
        build: A good one; it stays as it is.
        which: `kind/name` of the object, in lower case.
        plant: Changes the object's body.
    """
    bodies = [dict(copy.deepcopy(manifest.body)) for manifest in build.manifests]
    (body,) = (body for body in bodies if f"{body['kind']}/{body['metadata']['name']}".lower() == which)
    plant(body)
    return Build(build.name, tuple(Manifest(body) for body in bodies))


def without(build: Build, which: str) -> Build:
    """Returns the build without one object."""
    left = tuple(manifest for manifest in build.manifests if str(manifest) != which)
    assert len(left) == len(build.manifests) - 1
    return Build(build.name, left)


def pod_spec(body: Body) -> Body:
    """Returns the `spec` of the pods of a Deployment or Job."""
    spec: Body = body["spec"]["template"]["spec"]
    return spec


def container(body: Body) -> Body:
    """Returns the first container of the pods of a Deployment or Job."""
    first: Body = pod_spec(body)["containers"][0]
    return first


def config(body: Body) -> Body:
    """Returns the data of a ConfigMap."""
    data: Body = body["data"]
    return data
