"""Objects against schemas: Kubernetes' own by version, custom resources by the fields that we use of them."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from k8s.checks.manifest import Manifest, pods

VERSIONS = ("1.32", "1.34", "1.37")
"""The oldest that we support, one between, and the newest that there are schemas of."""

CUSTOM = Path(__file__).with_name("custom_resources")
_OWN_GROUPS = ("apps/", "autoscaling/", "batch/", "networking.k8s.io/", "policy/")


def faults(manifest: Manifest) -> Iterator[str]:
    """Yields one sentence for each schema that an object does not meet."""
    if is_custom(manifest):
        yield from _custom_faults(manifest)
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(dict(manifest.body), version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{manifest} is not valid in Kubernetes {version}: {_place(error.path)}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError:
            yield f"{manifest} is of {manifest.body['apiVersion']}, which Kubernetes {version} does not have"


def is_custom(manifest: Manifest) -> bool:
    """Tells whether an object's schema is not part of Kubernetes."""
    version = str(manifest.body["apiVersion"])
    return "/" in version and not version.startswith(_OWN_GROUPS)


def _custom_faults(manifest: Manifest) -> Iterator[str]:
    try:
        schema = custom_schema(manifest.kind)
    except FileNotFoundError:
        yield f"{manifest} has no schema in {CUSTOM.name}/"
        return
    for error in jsonschema.Draft202012Validator(schema).iter_errors(dict(manifest.body)):
        yield f"{manifest} is no {manifest.kind}: {_place(error.path)}: {error.message}"
    for pod in pods(manifest):
        # A pod inside a custom resource is a pod as everywhere.
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "template"}, "spec": pod.spec}
        yield from (f"{manifest}: {fault}" for fault in faults(Manifest(body)))


@functools.cache
def custom_schema(kind: str) -> dict[str, Any]:
    """Returns the JSON schema of a custom resource.

    Raises:
        FileNotFoundError: There is none.
    """
    schema: dict[str, Any] = yaml.safe_load((CUSTOM / f"{kind.lower()}.yaml").read_text(encoding="utf-8"))
    return schema


def _place(path: Any) -> str:
    return ".".join(map(str, path)) or "the object"
