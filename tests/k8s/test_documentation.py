"""The pieces of overlays that docs/kubernetes.md shows do what it says."""

import re
from typing import Any

import yaml

from k8s.checks.builds import FOLDER, Build, overlay
from k8s.checks.environment import environment
from k8s.checks.rules import RULES
from tests.k8s.conftest import Builder

TEXT = (FOLDER.parent / "docs" / "kubernetes.md").read_text()


def shown() -> list[dict[str, Any]]:
    """Returns the YAML of the document, piece by piece."""
    return [yaml.safe_load(piece) for piece in re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)]


def variables(build: Build, deployment: str = "deployment/brainmri") -> dict[str, str]:
    """Returns the environment of the init container, if there is one, and of the server."""
    (pod,) = (pod for pod in build.pods() if str(pod.owner) == deployment)
    return {key: value for container in pod.containers for key, value in environment(build, container).items()}


def test_settings_models_and_versions_are_chosen_as_it_is_shown(built: Builder) -> None:
    assert built("overlays/local")
    settings, released, without_rules, model, canary = (Build("docs", overlay(piece)) for piece in shown())
    assert variables(settings)["BRAINMRI_NOVELTY_POLICY"] == "no_tumor"
    watched = [m for m in released.manifests if m.kind in ("ServiceMonitor", "PrometheusRule")]
    assert [m.labels["release"] for m in watched] == ["kube-prometheus-stack"] * 2
    assert [len(without_rules.of_kind(kind)) for kind in ("ServiceMonitor", "PrometheusRule")] == [1, 0]
    chosen = variables(model)
    assert chosen["BRAINMRI_MODELS"] == "brain_mri_xception:1.1.0"
    assert chosen["MODEL_SOURCE"] == "/models/brain_mri_xception-1.1.0.bentomodel"
    assert chosen["MODEL_SHA256"] == "what sha256sum said"
    images = {str(pod.owner): pod.main[0]["image"] for pod in canary.pods()}
    assert images == {
        "deployment/brainmri": "registry.example.com/brainmri:1.0.0",
        "deployment/brainmri-canary": "registry.example.com/brainmri:1.1.0",
    }
    assert variables(canary) == variables(canary, "deployment/brainmri-canary")


def test_the_images_of_the_jobs_are_named_as_they_are() -> None:
    section = TEXT.split("## Bulk scoring\n", 1)[1].split("\n## ", 1)[0]
    for job in ("score", "score-merge", "ray"):
        images = yaml.safe_load((FOLDER / "jobs" / job / "kustomization.yaml").read_text())["images"]
        (row,) = re.findall(rf"^\| `k8s/jobs/{job}/kustomization.yaml` \| (.+) \|$", section, re.MULTILINE)
        assert re.findall(r"`([\w-]+)`", row) == [image["name"] for image in images]


def test_the_number_of_rules_and_the_components_are_told_as_they_are() -> None:
    assert f"holds {len(RULES)} rules of ours" in TEXT
    components = {folder.name for folder in (FOLDER / "components").iterdir() if folder.is_dir()}
    assert set(re.findall(r"^\| `([a-z-]+)` \|", TEXT, re.MULTILINE)) == components
