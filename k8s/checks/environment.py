"""The environment of containers: what a ConfigMap and a manifest set, and which settings of ours that makes."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from brainmri.settings import Settings
from k8s.checks.builds import Build
from k8s.checks.manifest import Pod, amount

PREFIX = "BRAINMRI_"
OF_LOADTESTS = "BRAINMRI_LOADTEST_"
"""How the variables begin that loadtests/ reads, and the service does not."""


class BadSettings(Exception):
    """The service would not start with them; the message says why."""


def environment(build: Build, container: Mapping[str, Any]) -> dict[str, str]:
    """Returns the variables of a container; those from the CPU request as numbers, those from elsewhere as `?`.

    Args:
        build: Where its ConfigMaps are.
        container: From a pod.
    """
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        name = source.get("configMapRef", {}).get("name")
        found |= next((m.body.get("data", {}) for m in build.of_kind("ConfigMap") if m.name == name), {})
    for variable in container.get("env", ()):
        found[variable["name"]] = _value(variable, container)
    return found


def settings_of(build: Build, pod: Pod) -> Settings:
    """Returns the settings that the first container of a pod starts with.

    Raises:
        BadSettings: It would not start.
    """
    variables = ours(environment(build, pod.main[0]))
    unknown = sorted(name for name in variables if name.removeprefix(PREFIX).lower() not in Settings.model_fields)
    if unknown:
        raise BadSettings(f"{pod.owner} sets {', '.join(unknown)}, which brainmri/settings.py does not have")
    try:
        return Settings.model_validate({name.removeprefix(PREFIX).lower(): value for name, value in variables.items()})
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors(include_url=False))
        raise BadSettings(f"{pod.owner} would not start: {faults}") from error


def ours(variables: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that are settings of this project."""
    return {
        name: value
        for name, value in variables.items()
        if name.startswith(PREFIX) and not name.startswith(OF_LOADTESTS)
    }


def _value(variable: Mapping[str, Any], container: Mapping[str, Any]) -> str:
    if "value" in variable:
        return str(variable["value"])
    field = variable.get("valueFrom", {}).get("resourceFieldRef", {})
    if field.get("resource") == "requests.cpu":
        cpus = amount(container["resources"]["requests"]["cpu"])
        return str(max(-(-cpus // 1), 1)).removesuffix(".0")
    return "?"
