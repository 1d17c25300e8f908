"""From a folder of slices to arrays: audit, split, images that are no slices."""
