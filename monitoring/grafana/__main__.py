"""Writes `dashboards/brainmri.json`."""

from monitoring.grafana import FILE
from monitoring.grafana.dashboard import document

if __name__ == "__main__":
    FILE.write_text(document())
