"""CPU time and memory of other processes, from /proc (Linux)."""

import os
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def family(pid: int) -> list[int]:
    """Returns a process and everything below it."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        if fields := _fields(folder / "stat"):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid]
    for member in found:
        found.extend(children.get(member, []))
    return found


def cpu_s(pid: int) -> float:
    """Returns the CPU time of a process and everything below it, user and system, in seconds."""
    return sum(_cpu_s(_PROC / str(member) / "stat") for member in family(pid))


def resident_bytes(pid: int) -> int:
    """Returns the resident memory of a process and everything below it; shared pages count in each of them."""
    pages = 0
    for member in family(pid):
        try:
            pages += int((_PROC / str(member) / "statm").read_text().split()[1])
        except (OSError, IndexError):
            continue  # It has ended.
    return pages * _PAGE_BYTES


def main_threads_cpu_s(pid: int) -> float:
    """Returns the CPU time of the first thread of each of these processes, where an event loop runs, in seconds."""
    return sum(_cpu_s(_PROC / str(member) / "task" / str(member) / "stat") for member in family(pid))


def _cpu_s(stat: Path) -> float:
    fields = _fields(stat)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else 0.0


def _fields(stat: Path) -> list[str]:
    """Returns the fields after the name, which may hold anything: state, parent, ...; none when it has ended."""
    try:
        return stat.read_text().rpartition(")")[2].split()
    except OSError:
        return []
