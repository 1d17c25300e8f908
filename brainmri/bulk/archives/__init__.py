"""Zip and tar archives that somebody else made."""
