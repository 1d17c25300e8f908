"""Makes the virtual environment of the image: installs the lock, prunes it, and compiles what is left.

One program and one step of the build, because each step writes the whole environment out as a layer.
"""

import sys
from pathlib import Path

from container import byte_code, locked, unused


def main(requirements: str, environment: str, byte_code_folder: str) -> None:
    """Fills `environment` and `byte_code_folder`."""
    locked.install(Path(requirements), Path(environment))
    unused.remove(Path(environment))
    byte_code.write(Path(byte_code_folder), byte_code.standard_library(), Path(environment))


if __name__ == "__main__":
    main(*sys.argv[1:])
