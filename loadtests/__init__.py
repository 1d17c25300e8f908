"""Load tests of a running service with Locust; nothing in here is imported from the service."""
