"""Our service and peers, all running at once and loaded in turns: what neighbours take, they take from each."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from benchmarks.load import LoadProcess
from benchmarks.peers.launch import running_system
from benchmarks.peers.measure import Setting, load_once
from benchmarks.peers.results import Load
from benchmarks.peers.systems import WIRES, System
from benchmarks.summary import Spread, ratios

CLIENTS = (1, 32)

Turns = Mapping[tuple[str, str], Sequence[Load]]
"""System and kind of load, such as `JPEG, 32`, to what each round gave."""


def take_turns(
    systems: Sequence[System], runtime: str, rounds: int, setting: Setting, process: LoadProcess
) -> dict[tuple[str, str], list[Load]]:
    """Starts the systems, and puts each kind of load on one after the other, in another order each round.

    Args:
        systems: All of them run until the end, and need the memory for it.
        runtime: Of the peers, `openvino` or `tensorflow`.
        rounds: How often each kind of load comes.
        setting: What is sent.
        process: What sends it.

    Raises:
        RuntimeError: One of them does not become ready.
    """
    seen: dict[tuple[str, str], list[Load]] = defaultdict(list)
    loads = [(wire, clients) for wire in WIRES for clients in CLIENTS]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running_system(system, system.runs_on(runtime), setting.bundle, setting.threads))
            for system in systems
        ]
        pairs = list(zip(systems, servers, strict=True))
        for number in range(rounds):
            order = random.Random(number)  # noqa: S311 -- no secret
            for wire, clients in order.sample(loads, len(loads)):
                for system, server in order.sample(pairs, len(pairs)):
                    load = load_once(system, wire, clients, setting, server, process)
                    seen[system.name, f"{wire}, {clients}"].append(load)
    return dict(seen)


def rows(seen: Turns, ours: str) -> list[list[str]]:
    """Returns a row for each peer and kind of load: what it gave, and our ratio to it by round.

    Args:
        seen: From `take_turns`.
        ours: Name of our service.
    """
    table = []
    for (system, kind), loads in sorted(seen.items(), key=lambda item: (item[0][1], item[0][0])):
        alone = kind.endswith(", 1")
        value = (lambda load: load.p50_ms) if alone else (lambda load: load.images_per_s)
        own, theirs = [*map(value, seen[ours, kind])], [*map(value, loads)]
        ratio = "" if system == ours else Spread.of(ratios(own, theirs)).text(3)
        failed = str(sum(load.failed for load in loads))
        table.append([kind, system, Spread.of(theirs).text() + (" ms" if alone else " images/s"), ratio, failed])
    return table
