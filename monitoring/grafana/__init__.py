"""The Grafana dashboard, written with Grafana's own SDK: `python -m monitoring.grafana` writes the JSON again."""

from pathlib import Path

FILE = Path(__file__).parent / "dashboards" / "brainmri.json"
"""What Grafana reads; a test compares it with the code."""
