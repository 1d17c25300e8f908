"""Schemathesis against a real server: it sends what the document allows and forbids, and checks every answer."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.servers import serving
from tests.tiny import write_tiny_bundle

pytestmark = pytest.mark.slow

LIMIT_S = 240
"""For a busy machine; Schemathesis ends its own work after 120 s."""
CONFIGURATION = """
seed = 1
generation.max-examples = 3
generation.deterministic = true
generation.with-security-parameters = false
request-timeout = 30.0
suppress-health-check = ["all"]

# It takes minutes for the arrays of pixels alone.
[phases.coverage]
enabled = false

[phases.stateful]
enabled = false

[checks]
# Bytes that are no image fit the document and are refused.
positive_data_acceptance.enabled = false
# More images than a request may have are 413.
negative_data_rejection.expected-statuses = ["4xx"]

# Without a folder for it, which needs API keys, the server answers 501; tests/http/test_feedback.py has one.
[[operations]]
include-path = "/feedback"
checks.not_a_server_error.expected-statuses = ["4xx", "501"]
checks.negative_data_rejection.expected-statuses = ["4xx", "501"]
"""


def fuzzed(document: dict[str, Any]) -> dict[str, Any]:
    """Returns the document with images of pixels as small as a generator can make; the server refuses their shape."""
    pixels = document["components"]["schemas"]["Pixels"]
    rows = pixels["items"]
    for side in (pixels, rows):
        side |= {"minItems": 1, "maxItems": 2}
    return document


@pytest.mark.timeout(LIMIT_S + 120)
def test_every_answer_of_a_real_server_is_one_that_the_document_describes(tmp_path: Path) -> None:
    bundle = tmp_path / "models" / "brain_mri_xception"
    write_tiny_bundle(bundle, tmp_path / "scratch", explains=True)
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    with serving(tmp_path, jobs_dir=str(tmp_path / "jobs")) as server:
        document = fuzzed(server.client.get("/docs.json").json())
        (tmp_path / "docs.json").write_text(json.dumps(document))
        program = [sys.executable, "-m", "schemathesis.cli", "--no-color"]
        command = [*program, "run", "docs.json", "--url", str(server.client.base_url), "--max-time", "120"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    operations = sum(len(path) for path in document["paths"].values())
    assert f"Tested: {operations}\n" in done.stdout
    generated, passed = map(int, re.findall(r"(\d+) generated, (\d+) passed", done.stdout)[0])
    assert generated == passed > 2 * operations
