"""The near set: images that a careless user might send instead of a brain-MRI slice, frozen by a manifest."""
