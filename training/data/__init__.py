"""From a folder of slices to arrays: audit, split, images that are not slices."""
