"""A released model: contract, bundle, store, and the way from one image to a calibrated answer."""
