"""Which series and labels an expression names: enough of PromQL for the expressions of this repository."""

import functools
import re
from collections.abc import Iterator
from typing import Any

import yaml

from brainmri.observe.metric_specs import SPECS
from tests.monitoring.programs import RULES

FROM_THE_SCRAPE = {"namespace", "job", "service", "instance"}
"""Labels that Prometheus adds; `namespace` and `service` on Kubernetes only."""

OF_OTHERS = {"up", "ALERTS", "kube_job_status_failed", "kube_job_complete"}
"""Series of Prometheus itself and of kube-state-metrics."""

_TEXT = re.compile(r'"(\\.|[^"\\])*"')
_RANGE = re.compile(r"\[[^\]]*\]")
_LABEL_LIST = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_MATCHERS = re.compile(r"\{[^{}]*\}")
_NAME = re.compile(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?!\w|:|\s*\()")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^{}]*)\}")
_WORDS = {"and", "or", "unless", "offset", "bool", "by", "on", "m", "h", "d"}


def rules() -> Iterator[dict[str, Any]]:
    """Yields every rule that is shipped."""
    for file in sorted(RULES.glob("*.yaml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


def series_of_the_service() -> dict[str, set[str]]:
    """Returns every series that `/metrics` can show, with its labels."""
    shown = {}
    for spec in SPECS:
        if spec.kind == "histogram":
            shown[f"{spec.name}_bucket"] = {*spec.labels, "le"}
            shown[f"{spec.name}_sum"] = shown[f"{spec.name}_count"] = set(spec.labels)
        else:
            shown[f"{spec.name}_total" if spec.kind == "counter" else spec.name] = set(spec.labels)
    return shown


@functools.cache
def recorded() -> frozenset[str]:
    """Returns the names of the recorded series."""
    return frozenset(rule["record"] for rule in rules() if "record" in rule)


def series_in(expression: str) -> set[str]:
    """Returns the names of the series that an expression reads."""
    bare = _RANGE.sub("", _TEXT.sub('""', expression))
    bare = _LABEL_LIST.sub(" ", _MATCHERS.sub("", bare))
    return {name for name in _NAME.findall(bare) if name not in _WORDS}


def unknown_in(expression: str) -> set[str]:
    """Returns what an expression names and nothing produces: series, and labels of the service's own series."""
    own = series_of_the_service()
    unknown = series_in(expression) - own.keys() - recorded() - OF_OTHERS
    for name, matchers in _SELECTOR.findall(_TEXT.sub('""', expression)):
        labels = set(re.findall(r"(\w+)\s*[=!]", matchers))
        if name in own:
            unknown |= {f"{name}{{{label}}}" for label in labels - own[name] - FROM_THE_SCRAPE}
    return unknown
