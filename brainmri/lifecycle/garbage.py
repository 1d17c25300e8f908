"""Keeps Python's garbage collector away from what stays."""

import gc


def freeze() -> None:
    """Collects garbage, and takes all that is left out of later collections.

    A started worker holds some 100,000 objects for good, modules and schemas, and each full collection looks at all of
    them for 50 ms: an eighth of the event loop's time under load. What a model that is no longer served leaves behind
    is found at the next call.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
