"""Reports with answers that were written by hand."""

import io
from collections.abc import Sequence

from PIL import Image

from brainmri.errors import ImageUnreadable
from brainmri.model.contract import LABELS, NOTICE
from brainmri.model.predictor import ModelIdentity, Prediction
from brainmri.report.document import Entry, Report

MODEL = ModelIdentity("brain_mri_xception", "1.2.3", "openvino-int8")
FACTS = [("Model", "brain_mri_xception 1.2.3"), ("Made", "30 November 2026, 10:00 UTC")]


def png(grey: int, side: int = 40) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side), grey).save(file, "PNG")
    return file.getvalue()


def prediction(likely: str, share: float = 0.94, verdict: str = "") -> Prediction:
    """An answer whose other classes share the rest equally."""
    rest = (1 - share) / 3
    shares = {label: share if label == likely else rest for label in LABELS}
    return Prediction(likely, share, shares, verdict or likely, 1.25, True, MODEL, {})


def entry(name: str, likely: str, truth: str | None = None, share: float = 0.94, verdict: str = "") -> Entry:
    return Entry(name, prediction(likely, share, verdict), png(90), truth=truth)


def report(entries: Sequence[Entry], *, labelled: bool = False) -> Report:
    return Report(f"What the model said of {len(entries)} images", NOTICE, FACTS, entries, labelled)


def many(images: int = 40) -> Report:
    """Labelled images of every class in turn, one mistake, one unsure, one without an answer."""
    entries = [
        entry(f"{LABELS[number % 4]}/slice {number}.png", LABELS[number % 4], LABELS[number % 4], 0.9 - number / 1000)
        for number in range(images - 3)
    ]
    entries.append(entry("glioma/mistaken <b>.png", "meningioma", "glioma", 0.8))
    entries.append(entry("glioma/unsure.png", "glioma", "glioma", 0.4, "unsure"))
    entries.append(Entry("bad.png", ImageUnreadable("The image is truncated <i>."), None))
    return report(entries, labelled=True)
