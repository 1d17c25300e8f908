"""Whether the NetworkPolicies of a build let a connection through, as the network of a cluster would decide."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from k8s.checks.builds import Build
from k8s.checks.manifest import Manifest

SERVER = {"app.kubernetes.io/name": "brainmri", "app.kubernetes.io/instance": "brainmri"}


@dataclass(frozen=True)
class Peer:
    """The other end of a connection: a pod by its labels and namespace; one of no namespace is outside the cluster."""

    namespace: str = "brainmri"
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)


def may_enter(build: Build, peer: Peer, port: str | int, to: Mapping[str, str] = SERVER) -> bool:
    """Tells whether a peer may connect to a port, by name or number, of the pods with the labels `to`."""
    return _allowed(build, "Ingress", to, peer, port)


def may_call(build: Build, peer: Peer, port: str | int, source: Mapping[str, str] = SERVER) -> bool:
    """Tells whether the pods with the labels `source` may connect to a port of a peer."""
    return _allowed(build, "Egress", source, peer, port)


def _allowed(build: Build, direction: str, subject: Mapping[str, str], peer: Peer, port: str | int) -> bool:
    policies = [
        policy
        for policy in build.of_kind("NetworkPolicy")
        if direction in policy.spec["policyTypes"] and _matches(policy.spec["podSelector"], subject)
    ]
    return not policies or any(_lets_through(rule, peer, port) for p in policies for rule in _rules(p, direction))


def _rules(policy: Manifest, direction: str) -> Iterator[tuple[list[Any], list[Any]]]:
    for rule in policy.spec.get(direction.lower(), ()):
        yield rule["from" if direction == "Ingress" else "to"], rule.get("ports", [])


def _lets_through(rule: tuple[list[Any], list[Any]], peer: Peer, port: str | int) -> bool:
    peers, ports = rule
    fits = not ports or port in {one["port"] for one in ports}
    return fits and any(_is(one, peer) for one in peers)


def _is(wanted: Mapping[str, Any], peer: Peer) -> bool:
    if "ipBlock" in wanted:
        return not peer.namespace
    if not peer.namespace:
        return False
    namespace = wanted.get("namespaceSelector")
    if namespace is None and peer.namespace != "brainmri":
        return False
    labels = {"kubernetes.io/metadata.name": peer.namespace, **peer.namespace_labels}
    return _matches(namespace, labels) and _matches(wanted.get("podSelector"), peer.labels)


def _matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    wanted: Mapping[str, str] = (selector or {}).get("matchLabels", {})
    return wanted.items() <= labels.items()
