"""Who may talk to whom, connection by connection."""

import pytest

from tests.k8s.conftest import Builder
from tests.k8s.network import Peer, may_call, may_enter

CLIENT = {"brainmri-client": "true"}
PROMETHEUS = Peer("monitoring", {"app.kubernetes.io/name": "prometheus"})
COLLECTOR = Peer("observability", {"app": "collector"})
NAMES = Peer("kube-system", {"k8s-app": "kube-dns"})
OUTSIDE = Peer("")
LOADTEST = {"app.kubernetes.io/name": "brainmri-loadtest", **CLIENT}
EVERYTHING = "monitoring, keda, gateway, canary, ingress, model-object-store, api-keys, gpu, otel, loadtest"


@pytest.mark.parametrize(
    ("build", "peer", "port", "allowed"),
    [
        ("overlays/local", Peer(), "http", False),
        ("overlays/local", Peer(labels=CLIENT), "http", True),
        ("overlays/local", Peer(labels=CLIENT), "grpc", True),
        ("overlays/local", Peer(labels=CLIENT), 22, False),
        ("overlays/local", Peer("hospital", namespace_labels=CLIENT), "grpc", True),
        # The label of a pod counts in our namespace only: anybody can label pods of their own.
        ("overlays/local", Peer("hospital", CLIENT), "http", False),
        ("overlays/local", PROMETHEUS, "http", False),
        ("overlays/local", OUTSIDE, "http", False),
        ("monitoring", PROMETHEUS, "http", True),
        ("monitoring", PROMETHEUS, "grpc", False),
        ("monitoring", Peer("monitoring", {"app": "other"}), "http", False),
        ("gateway", Peer("gateway-system"), "grpc", True),
        ("ingress", Peer("ingress-nginx", {"app.kubernetes.io/name": "ingress-nginx"}), "http", True),
        ("loadtest", Peer(labels=LOADTEST), "http", True),
    ],
)
def test_who_may_reach_a_replica(build: str, peer: Peer, port: str | int, allowed: bool, built: Builder) -> None:
    assert may_enter(built(build), peer, port) is allowed


@pytest.mark.parametrize(
    ("build", "peer", "port", "allowed"),
    [
        ("overlays/local", OUTSIDE, 443, False),
        ("overlays/local", NAMES, 53, False),
        ("overlays/local", Peer(labels=CLIENT), 80, False),
        ("overlays/production", OUTSIDE, 443, False),
        ("otel", COLLECTOR, 4318, True),
        ("otel", COLLECTOR, 22, False),
        ("otel", NAMES, 53, True),
        ("otel", OUTSIDE, 443, False),
        ("model-volume", OUTSIDE, 443, False),
        ("model-object-store", OUTSIDE, 443, True),
        ("model-object-store", OUTSIDE, 80, False),
        ("model-object-store", Peer("default"), 443, False),
    ],
)
def test_whom_a_replica_may_call(build: str, peer: Peer, port: int, allowed: bool, built: Builder) -> None:
    assert may_call(built(build), peer, port) is allowed


def test_the_load_generator_reaches_the_service_and_nothing_else(built: Builder) -> None:
    build = built("loadtest")
    server = Peer(labels={"app.kubernetes.io/name": "brainmri"})
    assert may_call(build, server, 3000, LOADTEST)
    assert may_call(build, server, 3001, LOADTEST)
    assert may_call(build, Peer(labels=LOADTEST), 5557, LOADTEST)
    assert may_enter(build, Peer(labels=LOADTEST), 5557, LOADTEST)
    assert not may_call(build, OUTSIDE, 443, LOADTEST)
    assert not may_enter(build, Peer(labels=CLIENT), 5557, LOADTEST)


def test_a_second_version_is_guarded_as_the_first(built: Builder) -> None:
    build = built(EVERYTHING)
    canary = {"app.kubernetes.io/name": "brainmri", "app.kubernetes.io/instance": "brainmri-canary"}
    assert may_enter(build, Peer(labels=CLIENT), "http", canary)
    assert not may_enter(build, Peer(), "http", canary)
    assert not may_call(build, Peer("default"), 443, canary)


def test_the_pods_of_a_scoring_job_reach_nobody(built: Builder) -> None:
    build, labels = built("overlays/local"), {"app.kubernetes.io/name": "brainmri-score"}
    assert not may_call(build, OUTSIDE, 443, labels)
    assert not may_call(build, Peer(), 3000, labels)
    assert not may_enter(build, Peer(labels=CLIENT), "http", labels)
