"""Damaged DICOM and TIFF files by the thousand, through the decoder: `python -m tests.imaging.mutations COUNT SEED`.

In a process of its own, so that a decoder which crashes is seen. Prints one line of JSON: how often each outcome came,
and the longest time that one file took. What is neither pixels nor a refusal ends it with a traceback.
"""

import json
import random
import sys
import time
from collections import Counter

import numpy as np
from PIL import Image

from brainmri.errors import InvalidInput
from brainmri.imaging import ReadOptions, read_picture
from tests.imaging import dicom_samples as dicom
from tests.imaging.samples import encode, grey, rgb

SOON_S = 2.0
_INTERESTING = (
    b"\0\0",
    b"\xff\xff",
    b"\xff\xd8",
    b"\xfe\xff\x00\xe0",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\x80",
    b"SQ",
    b"UN",
)


def originals() -> dict[str, bytes]:
    """Returns intact files by name: every transfer syntax, and TIFF of every depth and compression."""
    pixels = dicom.twelve_bits()
    colour = dicom.dataset(
        grey(), SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, PixelData=rgb().tobytes()
    )
    objects = {
        **dicom.every_syntax(),
        "window": dicom.file(dicom.dataset(pixels, dicom.IMPLICIT, WindowCenter=2000, WindowWidth=3000)),
        "rescale": dicom.file(dicom.dataset(pixels, RescaleSlope=2, RescaleIntercept=-5)),
        "frames": dicom.file(dicom.dataset(np.stack([pixels] * 3))),
        "colour": dicom.file(colour),
        "jpeg": dicom.encoded(grey(), encode(grey(), "JPEG"), dicom.JPEG),
    }
    pictures = {
        f"tiff-{mode}-{compression}": encode(picture, "TIFF", compression=compression)
        for mode, picture in (
            ("L", Image.fromarray(grey())),
            ("RGB", Image.fromarray(rgb())),
            ("I;16", Image.fromarray(pixels)),
            ("F", Image.fromarray(grey().astype(np.float32))),
            ("1", Image.fromarray(grey()).convert("1")),
        )
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")
    }
    fax = encode(Image.fromarray(grey()).convert("1"), "TIFF", compression="group4")
    return {**objects, **pictures, "tiff-fax": fax, "tiff-jpeg": encode(rgb(), "TIFF", compression="jpeg")}


def mutated(data: bytes, generator: random.Random) -> bytes:
    """Returns a file with a few bytes changed, cut out, repeated or moved."""
    changed = bytearray(data)
    for _ in range(generator.randint(1, 3)):
        # Headers are where lies cost most.
        end = len(changed) if generator.random() < 0.5 else min(len(changed), 600)
        at = generator.randrange(end) if end else 0
        # Single bytes reach deepest: what is cut or moved is mostly refused at once.
        (kind,) = generator.choices(range(5), (10, 3, 1, 1, 1))
        if kind == 0:
            changed[at : at + 1] = bytes([generator.randrange(256)])
        elif kind == 1:
            changed[at : at + 4] = generator.choice(_INTERESTING)
        elif kind == 2:
            del changed[at : at + generator.randint(1, 64)]
        elif kind == 3:
            changed[at:at] = changed[at : at + generator.randint(1, 64)]
        else:
            changed = changed[: max(at, 1)]
    return bytes(changed) or b"\0"


def run(count: int, seed: int) -> dict[str, object]:
    """Decodes `count` damaged files, and returns what came of them."""
    generator, files = random.Random(seed), originals()  # noqa: S311 -- damage, not secrets
    outcomes: Counter[str] = Counter()
    slowest_s, slowest = 0.0, ""
    for number in range(count):
        name = generator.choice(sorted(files))
        data, options = mutated(files[name], generator), ReadOptions(force=generator.random() < 0.5)
        begun = time.process_time()
        try:
            pixels = read_picture(data, options=options).pixels
        except InvalidInput as error:
            outcomes[error.code] += 1
        else:
            assert pixels.dtype == np.uint8, f"{name}, number {number}"
            outcomes["pixels"] += 1
        taken = time.process_time() - begun
        if taken > slowest_s:
            slowest_s, slowest = taken, f"{name}, number {number}"
    return {"outcomes": dict(outcomes), "slowest_s": round(slowest_s, 3), "slowest": slowest}


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))  # noqa: T201 -- what it is for
