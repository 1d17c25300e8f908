"""Every runtime's file from a released bundle's reference, calibrated and compared with it, as a bundle of its own.

The released bundle carries what serves and the reference; the other formats are made on demand.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import openvino
from numpy.typing import NDArray

from brainmri.errors import DatasetError
from brainmri.model.bundle import Bundle, write_bundle
from brainmri.model.contract import Calibration, Contract, Measurement
from brainmri.model.runtimes.tensorflow import read_weights
from brainmri.settings import RuntimeChoice
from training.data.slices import Slices
from training.data.sources import VALIDATION
from training.release.calibrate import calibrate
from training.release.export import KERAS, OPENVINO_INT8, calibration_images, to_openvino
from training.release.export_figures import Held, measure, table
from training.release.export_int8 import write_int8
from training.release.export_litert import write_litert
from training.release.export_onnx import MODEL as ONNX_MODEL
from training.release.export_onnx import write_onnx, write_onnx_int8
from training.release.novelty import fit_novelty
from training.release.outputs import Outputs

EXPORTS: tuple[RuntimeChoice, ...] = (
    "openvino-int8",
    "openvino-f32",
    "onnx-int8",
    "onnx-f32",
    "litert-int8",
    "litert-dynamic",
    "litert-f32",
)
"""What can be exported; `openvino-bf16` and `tensorflow-bf16` need no file of their own."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What to export from where to where.

    Attributes:
        source: The released bundle, with its reference.
        wanted: Which artefacts.
        folder: Receives the bundle.
        threads: CPU threads of each runtime.
        cache: Remembers what networks answered; see `training.release.outputs`.
        images: How many training images tell the ranges of int8.
        seed: Chooses them.
    """

    source: Bundle
    wanted: Sequence[RuntimeChoice]
    folder: Path
    threads: int
    cache: Path | None
    images: int = 300
    seed: int = 1


def export_runtimes(job: Job, held: Held, processor: str, say: Say) -> tuple[Bundle, str]:
    """Writes a bundle with the reference and the wanted artefacts, and returns it with the table of measurements.

    Args:
        job: What to do.
        held: What runtimes are calibrated on and compared on.
        processor: Describes this machine.
        say: Tells the progress.

    Raises:
        DatasetError: The bundle has no reference.
        RuntimeUnavailable: The package of a wanted runtime is not installed.
    """
    network = reference_network(job.source)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        images = calibration_images(held.slices, job.seed, job.images)
        folders = {KERAS: job.source.folder / KERAS}
        for choice in job.wanted:
            say(f"exporting {choice}")
            folders[choice] = scratch / choice
            _write(job, network, choice, images, folders, held.slices)
        plain = write_bundle(scratch / "plain", _contract(job.source, (), ()), folders, {}, "", head=_head(job.source))
        calibrated = _calibrated(job, plain, folders, held, scratch, say)
        measurements = _measured(job, calibrated, held, processor, say)
        detectors = {
            each.runtime: calibrated.folder / each.novelty.file
            for each in calibrated.contract.calibrations
            if each.novelty is not None
        }
        contract = _contract(job.source, calibrated.contract.calibrations, measurements)
        text = table(calibrated.contract, measurements)
        card = f"{job.source.card()}\n## Exported runtimes\n\n{text}\n"
        metrics = {"runtimes": [each.model_dump() for each in measurements]}
        bundle = write_bundle(job.folder, contract, folders, metrics, card, detectors=detectors, head=_head(job.source))
    return bundle, text


def reference_network(bundle: Bundle) -> keras.Model:
    """Returns the float16 network of a bundle, computing in float32.

    Raises:
        DatasetError: The bundle carries none.
    """
    artefact = bundle.artefact(KERAS)
    if artefact is None:
        raise DatasetError(f"{bundle.contract.tag} carries no {KERAS}, from which everything is exported.")
    network = keras.models.model_from_json(bundle.file(artefact, "model.json").read_text(encoding="utf-8"))
    network.set_weights(read_weights(bundle.file(artefact, "weights.npz")))
    return network


def _write(
    job: Job,
    network: keras.Model,
    choice: RuntimeChoice,
    images: NDArray[np.uint8],
    folders: dict[str, Path],
    slices: Slices,
) -> None:
    folder = folders[choice]
    folder.mkdir(parents=True)
    # What serves already is copied: it was quantised from weights that had not been rounded to float16.
    if choice == OPENVINO_INT8 and (released := job.source.artefact(OPENVINO_INT8)) is not None:
        for file in released.files:
            shutil.copy(job.source.folder / file, folder)
    elif choice == OPENVINO_INT8:
        judged = slices.pixels[slices.subset(VALIDATION)]
        write_int8(to_openvino(network, folder.parent / "saved_model"), images, judged, folder)
    elif choice == "openvino-f32":
        openvino.save_model(to_openvino(network, folder.parent / "saved_model"), folder / "model.xml")
    elif choice == "onnx-f32":
        write_onnx(network, folder)
    elif choice == "onnx-int8":
        if "onnx-f32" not in folders:
            write_onnx(network, folder.parent)
        write_onnx_int8(folders.get("onnx-f32", folder.parent) / ONNX_MODEL, images, folder)
    elif choice == "litert-f32":
        write_litert(network, "f32", images, folder)
    else:
        write_litert(network, "dynamic" if choice == "litert-dynamic" else "int8", images, folder)


def _calibrated(job: Job, plain: Bundle, folders: dict[str, Path], held: Held, scratch: Path, say: Say) -> Bundle:
    """Returns the bundle with a temperature and a novelty detector for every artefact.

    What was released keeps its own. What computes the reference in float32 takes the reference's: its numbers differ in
    the sixth digit.
    """
    outputs, detectors = Outputs(plain, job.threads, job.cache), dict[str, Path]()
    calibrations: list[Calibration] = []
    for choice in ("tensorflow", *job.wanted):
        name = outputs.name(choice)
        detectors[name] = scratch / f"{name}.npz"
        like = KERAS if choice.endswith("-f32") else name
        released = _released(job.source, plain, like)
        if released is not None and released.novelty is not None:
            shutil.copy(job.source.folder / released.novelty.file, detectors[name])
            calibrations.append(_renamed(released, name))
        elif like in detectors and like != name:
            shutil.copy(detectors[like], detectors[name])
            calibrations.append(_renamed(calibrations[0], name))
        else:
            say(f"calibrating {choice}")
            novelty = fit_novelty(outputs, choice, held.slices, detectors[name])
            calibrations.append(calibrate(outputs, choice, held.slices).model_copy(update={"novelty": novelty}))
    contract = _contract(job.source, calibrations, ())
    return write_bundle(scratch / "calibrated", contract, folders, {}, "", detectors=detectors, head=_head(job.source))


def _head(source: Bundle) -> Path | None:
    explanation = source.contract.explanation
    return None if explanation is None else source.folder / explanation.file


def _released(source: Bundle, plain: Bundle, name: str) -> Calibration | None:
    """Returns the released calibration of an artefact that is the released one; None for one made anew."""
    theirs, ours = source.artefact(name), plain.artefact(name)
    if theirs is None or ours is None or theirs.files != ours.files:
        return None
    return source.contract.calibration(name)


def _renamed(calibration: Calibration, runtime: str) -> Calibration:
    assert calibration.novelty is not None  # noqa: S101 -- fitted just before
    novelty = calibration.novelty.model_copy(update={"file": f"novelty/{runtime}.npz"})
    return calibration.model_copy(update={"runtime": runtime, "novelty": novelty})


def _measured(job: Job, bundle: Bundle, held: Held, processor: str, say: Say) -> list[Measurement]:
    outputs, found = Outputs(bundle, job.threads, job.cache), []
    also: list[RuntimeChoice] = ["openvino-bf16"] if "openvino-f32" in job.wanted else []
    # TensorFlow's bfloat16 last: from then on all of TensorFlow in this process computes in it.
    for choice in ("tensorflow", *job.wanted, *also, "tensorflow-bf16"):
        say(f"measuring {choice}")
        found.append(measure(outputs, choice, held, processor, job.threads))
    return found


def _contract(source: Bundle, calibrations: Sequence[Calibration], measurements: Sequence[Measurement]) -> Contract:
    parts = source.contract.model_dump() | {
        "version": f"{source.contract.version}-runtimes",
        "artefacts": (),
        "calibrations": [each.model_dump() for each in calibrations],
        "measurements": [each.model_dump() for each in measurements],
    }
    return Contract.from_parts(**parts)
