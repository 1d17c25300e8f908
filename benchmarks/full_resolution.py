"""The released network at 299 pixels, for measuring what serving costs beside a network of the usual size.

python -m benchmarks.full_resolution runs/full_resolution
python -m benchmarks.end_to_end --bundle runs/full_resolution/brain_mri_xception

The released one averages its input down to 99 pixels, so an image costs it a ninth; the same weights take any size.
They were not trained for this one, so the answers mean nothing. Needs the group `training`.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import nncf
import numpy as np
import openvino
import typer

from benchmarks.options import DEFAULT_BUNDLE
from benchmarks.pictures import pictures
from brainmri.imaging import decode, to_tensor
from brainmri.model.bundle import Bundle, load_bundle, write_bundle
from training.fit.model import build_model, with_features
from training.release.export import OPENVINO_INT8, to_openvino
from training.release.export_runtimes import reference_network

_CALIBRATION_IMAGES = 32


def main(
    folder: Annotated[Path, typer.Argument(help="Where the bundle's folder goes.")],
    bundle: Annotated[Path, typer.Option(help="The bundle whose weights to take.")] = DEFAULT_BUNDLE,
) -> None:
    """Write a bundle whose network looks at every pixel."""
    source = load_bundle(bundle)
    written = write_full_resolution(source, folder / source.contract.name)
    typer.echo(f"Written: {written.folder}")


def write_full_resolution(source: Bundle, folder: Path) -> Bundle:
    """Writes the weights of `source` as an int8 network without the average pooling, without a novelty detector."""
    network = build_model("xception", downsample=1)
    network.set_weights(reference_network(source).get_weights())
    images = [to_tensor(decode(data))[np.newaxis] for data in pictures(_CALIBRATION_IMAGES, 299)[1]]
    calibrations = [
        calibration.model_copy(update={"novelty": None})
        for calibration in source.contract.calibrations
        if calibration.runtime == OPENVINO_INT8
    ]
    side = source.contract.input.height
    contract = source.contract.model_copy(
        update={"network_side": side, "calibrations": tuple(calibrations), "explanation": None}
    )
    with tempfile.TemporaryDirectory() as scratch:
        full = to_openvino(with_features(network), Path(scratch) / "saved_model")
        quantised = nncf.quantize(full, nncf.Dataset(images), subset_size=len(images))
        artefact = Path(scratch) / OPENVINO_INT8
        artefact.mkdir()
        openvino.save_model(quantised, artefact / "model.xml", compress_to_fp16=True)
        card = "A network for measuring speed. Its answers mean nothing."
        return write_bundle(folder, contract, {OPENVINO_INT8: artefact}, {}, card)


if __name__ == "__main__":
    typer.run(main)
