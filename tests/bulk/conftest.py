"""What libraries read on import, before any test module imports them."""

import os

# `make test` starts pytest by `uv run`; see brainmri/bulk/ray_engine.py.
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
