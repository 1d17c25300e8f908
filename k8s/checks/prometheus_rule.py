"""Writes the PrometheusRule out of the rule files: `python -m k8s.checks.prometheus_rule`; a test compares."""

from pathlib import Path

import yaml

from k8s.checks.builds import FOLDER

RULES = FOLDER.parent / "monitoring" / "prometheus" / "rules"
TARGET = FOLDER / "components" / "monitoring" / "prometheus-rule.yaml"
_HEAD = "# Written by `python -m k8s.checks.prometheus_rule` from monitoring/prometheus/rules/; a test compares them.\n"


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, as people do."""


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _write_text)


def document(rules: Path = RULES) -> str:
    """Returns the PrometheusRule as YAML: the groups of every file in a folder, by the names of the files."""
    groups = [group for file in sorted(rules.glob("*.yaml")) for group in yaml.safe_load(file.read_text())["groups"]]
    body = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "brainmri",
            "labels": {"app.kubernetes.io/name": "brainmri", "app.kubernetes.io/part-of": "brainmri"},
        },
        "spec": {"groups": groups},
    }
    return _HEAD + yaml.dump(body, Dumper=_Dumper, sort_keys=False, width=120)


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
