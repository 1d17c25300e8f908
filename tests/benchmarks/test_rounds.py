"""Tests of what follows from the rounds of the end-to-end measurement."""

import pytest

from benchmarks.rounds import ALONE, TENSORS, UPLOADS, Rounds, report, targets


@pytest.fixture
def rounds() -> Rounds:
    measured = Rounds()
    for pace in (100.0, 50.0, 80.0):
        measured.add(UPLOADS, images_per_s=pace, cpu_ms=16)
        measured.add(TENSORS, images_per_s=1.25 * pace, cpu_ms=14)
        measured.add(ALONE, images_per_s=pace, latency_ms=10)
        measured.add("HTTP JPEG, 1", images_per_s=0.5 * pace, latency_ms=13.5, cpu_ms=20)
        measured.add("HTTP JPEG, 32", images_per_s=0.9 * pace, latency_ms=300, cpu_ms=20)
        measured.add("gRPC tensor, 32", images_per_s=1.2 * pace, latency_ms=300, cpu_ms=15)
    return measured


def test_figures_are_ratios_within_a_round_and_the_delay_of_one_client(rounds: Rounds) -> None:
    assert [row[1:] for row in targets(rounds)] == [
        ["at least 0.92", "0.9", "missed"],
        ["at least 0.95", "1.2", "reached"],
        ["at least 0.95", "0.96", "reached"],
        ["at most 4", "3.5", "reached"],
    ]
    assert rounds.cpu_ratio("HTTP JPEG, 32", UPLOADS).median == 16 / 20


def test_the_page_shows_each_service_beside_its_reference(rounds: Rounds) -> None:
    found = report(rounds, {"HTTP JPEG, 32": UPLOADS, "gRPC tensor, 32": TENSORS}, {"bundle": "tiny"})
    lines = found.markdown().splitlines()
    http = next(line for line in lines if line.startswith("| HTTP JPEG, 32 | "))
    assert "| 72.0 (45.0 to 90.0) | 0.900 (0.900 to 0.900) | 0.800 (0.800 to 0.800) |" in http
    assert found.numbers["images_per_s"]["HTTP JPEG, 32"] == [90, 45, 72]
