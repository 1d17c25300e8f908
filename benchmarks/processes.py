"""CPU time and memory of a process and everything below it."""

from collections.abc import Callable

import psutil


def family(pid: int) -> list[int]:
    """Returns a process that runs and everything below it."""
    return [member.pid for member in _family(pid)]


def cpu_s(pid: int) -> float:
    """Returns the CPU time of a process and everything below it, user and system, in seconds."""

    def of_one(process: psutil.Process) -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    return _sum(pid, of_one)


def resident_bytes(pid: int) -> int:
    """Returns the resident memory of a process and everything below it; shared pages count in each of them."""
    return int(_sum(pid, lambda process: process.memory_info().rss))


def main_threads_cpu_s(pid: int) -> float:
    """Returns the CPU time of the first thread of each of these processes, where an event loop runs, in seconds."""

    def of_one(process: psutil.Process) -> float:
        return sum(one.user_time + one.system_time for one in process.threads() if one.id == process.pid)

    return _sum(pid, of_one)


def _sum(pid: int, measure: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for member in _family(pid):
        try:
            total += measure(member)
        except psutil.NoSuchProcess:
            continue  # It has ended.
    return total


def _family(pid: int) -> list[psutil.Process]:
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
