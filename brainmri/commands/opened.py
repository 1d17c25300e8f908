"""What the commands that answer in this process open: the model, and archives within limits."""

from dataclasses import replace

from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.model import store
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from brainmri.settings import Settings

MOST_MEMBERS = 10_000_000
"""Of an archive on the command line: it is the caller's own, and its list has to fit into memory."""


def open_predictor(settings: Settings) -> Predictor:
    """Returns the default model, for one image at a time: streams and full batches would cost memory for nothing."""
    bundle = store.ensure(settings.models[0], settings.bundles_folder())
    return Predictor.open(bundle, replace(ModelOptions.of(settings), streams=1, full_batch=0))


def archive_limits(settings: Settings) -> ArchiveLimits:
    """Returns which archives the command line refuses."""
    return ArchiveLimits(max_members=MOST_MEMBERS, max_member_bytes=settings.max_image_bytes)
