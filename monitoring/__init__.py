"""What watches the service: rules for Prometheus, and the dashboard for Grafana as code."""
