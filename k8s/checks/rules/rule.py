"""What a rule is."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from k8s.checks.builds import Build

Check = Callable[[Build], Iterator[str]]


@dataclass(frozen=True)
class Rule:
    """One demand on a build.

    Attributes:
        name: How it is spoken of.
        check: Yields one sentence for each fault.
    """

    name: str
    check: Check


def rules(checks: Mapping[str, Check]) -> tuple[Rule, ...]:
    """Returns rules by their names."""
    return tuple(Rule(name, check) for name, check in checks.items())
