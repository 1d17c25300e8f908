"""Tensors to calibrated answers: runtimes, calibration, and the whole way of one image."""
