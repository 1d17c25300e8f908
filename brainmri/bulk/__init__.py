"""Bulk scoring: many images in, one row for each out."""
