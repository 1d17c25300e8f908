"""Logs, metrics, traces, and the record of one request."""
