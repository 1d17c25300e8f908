"""Measurements of the running service: ratios between things measured in the same run, never absolute promises."""
