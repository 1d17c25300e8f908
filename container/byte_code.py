"""Compiles Python modules to the same bytes each time: `byte_code.py FOLDER SOURCES...`.

A read-only image cannot keep the byte code that Python would write, and would compile everything at each start. This
byte code carries the hash of its source instead of a time, is not compared with it at run time, and lies in a folder of
its own (PYTHONPYCACHEPREFIX), so that it fits whatever base image holds the standard library.
"""

import compileall
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from py_compile import PycInvalidationMode


def standard_library() -> Path:
    """Returns the folder of the interpreter's own modules."""
    return Path(sysconfig.get_path("stdlib"))


def write(folder: Path, *sources: Path) -> None:
    """Compiles what lies below `sources`; the byte code goes below `folder`, by the path of its source."""
    # In a process of its own: sets are written in the order of their hashes.
    command = [sys.executable, __file__, str(folder), *map(str, sources)]
    subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "0"}, check=True)


def _compile(folder: str, *sources: str) -> None:
    sys.pycache_prefix = folder
    for source in sources:
        # Packages carry templates and files for other Pythons, which do not compile and are never imported.
        compileall.compile_dir(source, maxlevels=50, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") == "0":
        _compile(*sys.argv[1:])
    else:
        write(*map(Path, sys.argv[1:]))
