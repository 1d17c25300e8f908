"""What load is asked for, and when: stages one after the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

MAX_SECONDS = 4 * 3600
"""No plan may take longer."""


class BadPlan(ValueError):
    """Levels or lengths that make no plan; the message says what to change."""


@dataclass(frozen=True)
class Stage:
    """A time of constant load.

    Attributes:
        name: For reports.
        seconds: How long.
        load: Arrivals a second of an open loop, clients of a closed one.
    """

    name: str
    seconds: float
    load: float


def constant(levels: Sequence[float], seconds: float) -> list[Stage]:
    """Returns one stage of constant load."""
    return [Stage("constant", seconds, levels[0])]


def steps(levels: Sequence[float], seconds: float) -> list[Stage]:
    """Returns a stage for each level, to find out where latency leaves the ground."""
    return [Stage(f"{level:g}", seconds, level) for level in levels]


def spike(levels: Sequence[float], seconds: float) -> list[Stage]:
    """Returns a quiet stage, a sudden peak of half its length, and a quiet one again.

    Raises:
        BadPlan: There are not exactly two levels, the quiet one and the peak.
    """
    if len(levels) != 2:
        raise BadPlan(f"A spike has two levels, quiet and peak, such as 10,200; there are {len(levels)}.")
    quiet, peak = levels
    return [Stage("before", seconds, quiet), Stage("spike", seconds / 2, peak), Stage("after", seconds, quiet)]


def soak(levels: Sequence[float], seconds: float) -> list[Stage]:
    """Returns the same load for a long time, in six parts that are judged one by one, so that decay shows."""
    return [Stage(f"part {part}", seconds / 6, levels[0]) for part in range(1, 7)]


@dataclass(frozen=True)
class Shape:
    """A way to make stages.

    Attributes:
        stages: Makes them from levels and a length in seconds.
        levels: When none are given.
        seconds: When none are given.
    """

    stages: Callable[[Sequence[float], float], list[Stage]]
    levels: tuple[float, ...]
    seconds: float


SHAPES = {
    "constant": Shape(constant, (5,), 15),
    "steps": Shape(steps, (10, 20, 40, 60, 80, 100, 120, 160), 20),
    "spike": Shape(spike, (10, 200), 30),
    "soak": Shape(soak, (20,), 1800),
}


def make_plan(shape: str, levels: str = "", seconds: float = 0) -> list[Stage]:
    """Returns the stages of a shape.

    Args:
        shape: One of `SHAPES`.
        levels: Loads, separated by commas; empty for the shape's own.
        seconds: Length of a stage, of all of them for a soak; 0 for the shape's own.

    Raises:
        BadPlan: A level is no positive number, or it would take too long.
    """
    chosen = SHAPES[shape]
    try:
        loads = [float(level) for level in levels.split(",")] if levels else list(chosen.levels)
    except ValueError:
        raise BadPlan(f"--levels {levels}: give numbers separated by commas, such as 5,10,20.") from None
    if min(loads) <= 0 or seconds < 0:
        raise BadPlan("Levels and seconds must be greater than 0.")
    plan = chosen.stages(loads, seconds or chosen.seconds)
    total = sum(stage.seconds for stage in plan)
    if total > MAX_SECONDS:
        raise BadPlan(
            f"This would take {total:.0f} s; at most {MAX_SECONDS} s are allowed. Take shorter or fewer stages."
        )
    return plan


def stage_at(plan: Sequence[Stage], elapsed_s: float) -> int | None:
    """Returns the number of the stage at a time from the start, or None after the last one."""
    end_s = 0.0
    for number, stage in enumerate(plan):
        end_s += stage.seconds
        if elapsed_s < end_s:
            return number
    return None
