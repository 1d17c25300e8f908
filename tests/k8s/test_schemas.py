from typing import Any

import pytest

from k8s.checks.builds import Build
from k8s.checks.manifest import Manifest
from k8s.checks.schemas import VERSIONS, faults, is_custom
from tests.k8s.broken import Body, broken
from tests.k8s.conftest import Builder


def found(build: Build) -> list[str]:
    return [fault for manifest in build.manifests for fault in faults(manifest)]


def test_a_misspelt_field_is_refused_by_each_version_of_kubernetes(built: Builder) -> None:
    def misspell(body: Body) -> None:
        body["spec"]["maxUnavailible"] = body["spec"].pop("maxUnavailable")

    said = found(broken(built("overlays/local"), "poddisruptionbudget/brainmri", misspell))
    assert len(said) == len(VERSIONS)
    assert all("maxUnavailible" in sentence for sentence in said), said


def test_an_object_that_kubernetes_does_not_have_any_more_is_refused() -> None:
    body = {"apiVersion": "autoscaling/v2beta2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}}
    assert list(faults(Manifest(body))) == [
        f"horizontalpodautoscaler/a is of autoscaling/v2beta2, which Kubernetes {version} does not have"
        for version in VERSIONS
    ]


@pytest.mark.parametrize(
    ("build", "which", "path", "value", "said"),
    [
        ("gateway", "httproute/brainmri", ("spec", "rules", 0, "timeout"), "35s", "'timeout' was unexpected"),
        ("gateway", "httproute/brainmri", ("spec", "rules", 0, "timeouts", "request"), "35", "does not match"),
        ("gateway", "grpcroute/brainmri", ("spec", "rules", 0, "timeouts"), {}, "'timeouts' was unexpected"),
        ("monitoring, keda", "scaledobject/brainmri", ("spec", "minReplicas"), 2, "'minReplicas' was unexpected"),
        ("monitoring, keda", "scaledobject/brainmri", ("spec", "triggers", 0, "metadata", "threshold"), 0.1, "string"),
        ("monitoring", "servicemonitor/brainmri", ("spec", "endpoints", 0, "targetport"), 3000, "unexpected"),
        ("monitoring", "prometheusrule/brainmri", ("spec", "groups", 0, "rules", 0, "runbook"), "x", "not valid"),
        ("jobs/ray", "rayjob/brainmri-score-ray", ("spec", "rayClusterSpec", "headGroup"), {}, "unexpected"),
    ],
)
def test_a_custom_resource_with_a_fault_is_refused(
    build: str, which: str, path: tuple[str | int, ...], value: Any, said: str, built: Builder
) -> None:
    def plant(body: Body) -> None:
        place: Any = body
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    good = built(build)
    assert [fault for manifest in good.manifests if is_custom(manifest) for fault in faults(manifest)] == []
    sentences = found(broken(good, which, plant))
    assert len(sentences) == 1
    assert said in sentences[0]


def test_a_pod_inside_a_custom_resource_is_checked_as_a_pod(built: Builder) -> None:
    def plant(body: Body) -> None:
        body["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["restartpolicy"] = "Never"

    said = found(broken(built("jobs/ray"), "rayjob/brainmri-score-ray", plant))
    assert len(said) == len(VERSIONS)
    assert all("restartpolicy" in sentence for sentence in said)


def test_a_custom_resource_without_a_schema_is_told() -> None:
    body = {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": "a"}}
    assert list(faults(Manifest(body))) == ["certificate/a has no schema in custom_resources/"]
