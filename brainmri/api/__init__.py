"""Thin adapters between protocols and the predictor."""
