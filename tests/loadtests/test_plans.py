import pytest

from loadtests.plans import SHAPES, BadPlan, Stage, make_plan, stage_at


def test_steps_climb_through_the_levels() -> None:
    assert make_plan("steps", "5,10.5", 20) == [Stage("5", 20, 5), Stage("10.5", 20, 10.5)]


def test_a_spike_is_short_and_between_two_quiet_stages() -> None:
    assert make_plan("spike", "10,200", 30) == [
        Stage("before", 30, 10),
        Stage("spike", 15, 200),
        Stage("after", 30, 10),
    ]


def test_a_soak_is_judged_in_six_parts_of_the_same_load() -> None:
    plan = make_plan("soak", "20", 1800)
    assert [(stage.seconds, stage.load) for stage in plan] == [(300, 20)] * 6


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_has_a_plan_of_its_own(shape: str) -> None:
    assert sum(stage.seconds for stage in make_plan(shape)) >= 15


@pytest.mark.parametrize(
    ("shape", "levels", "seconds", "message"),
    [
        ("steps", "5,many", 0, "numbers separated by commas"),
        ("steps", "5,0", 0, "greater than 0"),
        ("steps", "5", -1, "greater than 0"),
        ("spike", "5", 0, "two levels"),
        ("soak", "5", 20_000, "at most 14400 s"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(shape: str, levels: str, seconds: float, message: str) -> None:
    with pytest.raises(BadPlan, match=message):
        make_plan(shape, levels, seconds)


@pytest.mark.parametrize(("elapsed", "number"), [(0, 0), (9.9, 0), (10, 1), (14.9, 1), (15, None)])
def test_the_stage_follows_the_clock(elapsed: float, number: int | None) -> None:
    assert stage_at([Stage("a", 10, 1), Stage("b", 5, 2)], elapsed) == number
