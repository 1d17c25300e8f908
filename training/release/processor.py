"""What figures of speed were measured on. Standard library only: benchmarks that train nothing import it too."""

import platform
from pathlib import Path


def processor_name() -> str:
    """Returns the processor's name as the kernel tells it, such as `AMD EPYC`; `unknown` where it tells none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
