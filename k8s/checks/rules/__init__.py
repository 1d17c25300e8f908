"""What we demand of every build, beyond schemas."""

from k8s.checks.rules import batch, pods, replicas, wiring

RULES = (*pods.RULES, *replicas.RULES, *wiring.RULES, *batch.RULES)
