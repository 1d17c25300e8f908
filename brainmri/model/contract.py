"""What a model promises: the facts about a released bundle that serving and evaluation rely on."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from brainmri.errors import InvalidBundle

LABELS = ("glioma", "meningioma", "notumor", "pituitary")
"""The classes of the released models in the order of the logits; those of every contract up to schema 3."""

NO_TUMOR = "notumor"
"""That of them which means that there is no tumour."""

MOST_LABELS = 100
"""Most classes of a model: each has a column in tables, and a time series in metrics."""

RESERVED_LABELS = ("unsure", "not_a_brain_mri", "brain_mri", "none", "tumour")
"""Words that stand beside labels: verdicts, the label of an image without one, and a tumour of unknown kind."""

NOTICE = "Research use only. Not a medical device; never a diagnosis."
"""Travels with every answer."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,62}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
RuntimeName = Annotated[str, StringConstraints(pattern=r"^(openvino|onnx|litert|keras)-[a-z0-9]+$")]

NOT_USABLE = "not_usable"
"""What people say of an image that nothing can be learnt from, in place of a label."""


@dataclass(frozen=True)
class Classes:
    """What a model tells apart.

    Attributes:
        labels: In the order of the logits.
        no_tumor: That of them which means that there is no tumour; None if none does.
    """

    labels: tuple[str, ...] = LABELS
    no_tumor: str | None = NO_TUMOR


RELEASED_CLASSES = Classes()
"""Those of the released models."""


def _plain(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or str(path) != name or name == ".":
        raise ValueError(f"the path {name!r} is not a plain path below the bundle")
    return name


BundlePath = Annotated[str, AfterValidator(_plain)]
"""A path below the bundle's folder, with forward slashes."""

COMPUTED_FROM = {"openvino-bf16": "openvino-f32", "keras-bf16": "keras-f16"}
"""What computes in bfloat16 reads the artefact of another precision."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class InputSpec(_Frozen):
    """The tensor that the graph takes."""

    height: Literal[299]
    """Pixels."""
    width: Literal[299]
    """Pixels."""
    channels: Literal[3]
    """RGB; a grey source gives three equal channels."""
    dtype: Literal["uint8"]
    """Values in [0, 255]; rescaling is inside the graph."""
    layout: Literal["NHWC"]
    """Batch, height, width, channels."""
    preprocessing_version: str
    """`brainmri.imaging.PREPROCESSING_VERSION` at training time; serving refuses a model of another one."""
    resize: str
    """The resize rule in words, for people."""


class Artefact(_Frozen):
    """The same network in one runtime's format."""

    runtime: RuntimeName
    """Runtime and precision, such as `openvino-int8` or `keras-f16`."""
    files: dict[BundlePath, Sha256] = Field(min_length=1)
    """Path relative to the bundle, with forward slashes, to SHA-256."""
    bytes: int = Field(ge=0)
    """Size of all files together, in bytes."""


class Novelty(_Frozen):
    """The detector of images that are not brain-MRI slices; its features are those of one runtime."""

    method: str
    """What it measures, in words, for people."""
    file: BundlePath
    """Path of its parameters relative to the bundle: plain NumPy arrays."""
    sha256: Sha256
    """Of that file."""
    bytes: int = Field(ge=1)
    """Size of that file, in bytes."""
    threshold: float = Field(gt=0, allow_inf_nan=False)
    """An image is novel when its score is larger; 1 is the score of the median validation slice."""
    keeps: float = Field(gt=0, le=1)
    """Share of the validation slices that the threshold keeps."""
    fitted_on: int = Field(ge=1)
    """Training slices that it was fitted on, one of each near-duplicate group."""


class Explanation(_Frozen):
    """What turns the network's further output `feature_map`, `[B, rows, columns, channels]`, into heat maps."""

    method: Literal["grad-cam"]
    """Selvaraju et al. 2017, arXiv:1610.02391."""
    rows: int = Field(ge=1, le=299)
    """Cells of the map from top to bottom; together they cover the network's square input."""
    columns: int = Field(ge=1, le=299)
    """Cells from left to right."""
    channels: int = Field(ge=1)
    """Length of the hidden layer."""
    file: BundlePath
    """Path of the hidden layer's bias and the last kernel relative to the bundle: plain NumPy arrays."""
    sha256: Sha256
    """Of that file."""
    bytes: int = Field(ge=1)
    """Size of that file, in bytes."""


class Classifier(_Frozen):
    """A classical model that answers from the network's features, in place of the network's own logits."""

    kind: Literal["svm", "random_forest"]
    """`svm` has a kernel of radial basis functions."""
    file: BundlePath
    """Path of an ONNX file relative to the bundle: float32 `features` `[B, D]` in, `probabilities` `[B, C]` out."""
    sha256: Sha256
    """Of that file."""
    bytes: int = Field(ge=1)
    """Size of that file, in bytes."""


class Calibration(_Frozen):
    """What turns one runtime's logits and features into an answer; quantisation moves both."""

    runtime: RuntimeName
    """Runtime and precision, such as `openvino-int8`."""
    temperature: float = Field(gt=0, allow_inf_nan=False)
    """Divides the logits before the softmax (Guo et al. 2017, arXiv:1706.04599)."""
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    """The verdict is `unsure` when the largest calibrated probability is smaller."""
    coverage: float = Field(default=1.0, gt=0, le=1)
    """Share of the validation slices that reach `min_confidence`."""
    novelty: Novelty | None = None
    """None when the bundle has no detector for this runtime."""


class Measurement(_Frozen):
    """How one runtime compares with the reference, the float16 Keras network; measured by `training export-runtimes`.

    Differences are over the validation and test slices together, each runtime with its own
    temperature and novelty detector.
    """

    runtime: RuntimeName
    """Runtime and precision, such as `openvino-int8`."""
    compared_images: int = Field(ge=1)
    """Images on which it was compared."""
    label_flips: float = Field(ge=0, le=1)
    """Share of these images that get another label than from the reference."""
    largest_probability_difference: float = Field(ge=0, le=1)
    """Largest difference of any calibrated probability."""
    macro_f1_difference: float = Field(ge=-1, le=1)
    """Macro-F1 less that of the reference."""
    novelty_auroc_difference: float | None = Field(default=None, ge=-1, le=1)
    """AUROC of slices against images that are none, less that of the reference; None without detectors."""
    images_per_s: dict[str, float]
    """Batch size to images a second, on the processor named below."""
    resident_mib: float = Field(ge=0)
    """Resident memory of a process that ran these batches, Python included, in MiB."""
    processor: str
    """Where images a second and memory were measured, and with how many threads."""


class Provenance(_Frozen):
    """Where the weights come from."""

    architecture: dict[str, str | int | float | bool | None]
    """Which network it is, for the record, such as `{"architecture": "xception", "downsample": 2}`."""
    recipe: str
    """Name of the training recipe."""
    data_sha256: Sha256
    """Hash of the dataset manifest."""
    split_sha256: Sha256
    """Hash of the split file."""
    code_revision: str
    """Git commit of the training code."""
    keras_backend: str
    keras_version: str
    created: datetime
    """When the bundle was made, with a time zone."""


_Part = TypeVar("_Part", Artefact, Calibration, Measurement)


class Contract(_Frozen):
    """Every fact about a released model that another part of the system relies on."""

    schema_version: Literal[1, 2, 3, 4]
    """Version of this format; every other one is refused. 2 adds `explanation`, 3 `classifier`, 4 own labels."""
    name: Name
    """Name of the bundle and in the model store."""
    serving_name: Name
    """Name of the model in the Open Inference Protocol."""
    version: Version
    """Version in the model store."""
    labels: tuple[Name, ...] = Field(min_length=2, max_length=MOST_LABELS)
    """Classes in the order of the logits."""
    no_tumor_label: str | None = None
    """Which of them means that there is no tumour; None if none does. Up to schema 3 it is `notumor`, and left out."""
    input: InputSpec
    network_side: int = Field(ge=32, le=299)
    """Side in pixels that the network sees after the in-graph average pooling."""
    feature_size: int = Field(ge=1)
    """Length D of the feature vector, which the novelty detector takes."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Divides the logits of a runtime that `calibrations` does not name; of the served one otherwise, for people."""
    artefacts: tuple[Artefact, ...] = ()
    calibrations: tuple[Calibration, ...] = ()
    """One for each runtime at most. A bundle without them has no detector, and no answer is `unsure`."""
    measurements: tuple[Measurement, ...] = ()
    """One for each runtime at most: how it compares with the reference."""
    explanation: Explanation | None = None
    """None when the networks have no output `feature_map`, as in schema 1."""
    classifier: Classifier | None = None
    """What answers from the features; None when the network's own logits do."""
    provenance: Provenance
    licence: str
    """Licence of the weights, as an SPDX identifier."""
    intended_use: str
    notice: str = NOTICE

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) != len(labels):
            raise ValueError("a label is named twice")
        if reserved := [label for label in labels if label in RESERVED_LABELS]:
            raise ValueError(f"{reserved[0]!r} is no label: the answers use the word for something else")
        return labels

    @field_validator("artefacts", "calibrations", "measurements")
    @classmethod
    def _one_of_each(cls, parts: tuple[_Part, ...]) -> tuple[_Part, ...]:
        runtimes = [part.runtime for part in parts]
        if len(set(runtimes)) != len(runtimes):
            raise ValueError(f"a runtime is named twice: {runtimes}")
        return parts

    @model_validator(mode="after")
    def _own_labels_from_schema_4_on(self) -> Self:
        if self.schema_version < 4 and (self.labels != LABELS or self.no_tumor_label is not None):
            raise ValueError(f"the labels must be {list(LABELS)} in this order; others need schema_version 4")
        if self.no_tumor_label is not None and self.no_tumor_label not in self.labels:
            raise ValueError(f"no_tumor_label is {self.no_tumor_label!r}, which is none of the labels")
        return self

    @model_validator(mode="after")
    def _explained_from_schema_2_on(self) -> Self:
        if self.schema_version == 1 and self.explanation is not None:
            raise ValueError("an explanation needs schema_version 2")
        return self

    @model_validator(mode="after")
    def _classified_from_schema_3_on(self) -> Self:
        if self.schema_version < 3 and self.classifier is not None:
            raise ValueError("a classifier needs schema_version 3")
        if self.classifier is not None and self.explanation is not None:
            raise ValueError("heat maps explain the network's own logits, which a classifier replaces: leave one out")
        return self

    @property
    def classes(self) -> Classes:
        """What the model tells apart."""
        return Classes(self.labels, NO_TUMOR if self.schema_version < 4 else self.no_tumor_label)

    @property
    def tag(self) -> str:
        """`name:version`, the tag in the model store."""
        return f"{self.name}:{self.version}"

    def calibration(self, runtime: str) -> Calibration:
        """Returns the calibration of a runtime such as `openvino-int8`; without one, the temperature alone.

        What computes in bfloat16 and has none of its own takes that of the artefact which it reads.
        """
        by_runtime = {calibration.runtime: calibration for calibration in self.calibrations}
        found = by_runtime.get(runtime) or by_runtime.get(COMPUTED_FROM.get(runtime, ""))
        return found or Calibration(runtime=runtime, temperature=self.temperature)

    def to_json(self) -> str:
        """Returns the contract as indented JSON, with a final newline."""
        return self.model_dump_json(indent=2) + "\n"

    def digest(self) -> str:
        """Returns the SHA-256 of the contract's content, independent of JSON layout."""
        # A model store remembers digests: a contract from before there was such a part keeps its own.
        later = ("calibrations", "measurements", "explanation", "classifier", "no_tumor_label")
        absent = {name for name in later if not getattr(self, name)}
        canonical = json.dumps(self.model_dump(mode="json", exclude=absent), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str | bytes) -> "Contract":
        """Reads a contract.

        Args:
            text: The content of a `contract.json`.

        Raises:
            InvalidBundle: Not JSON, a field that is missing, unknown or has a bad value; the value is quoted.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InvalidBundle(_explain(error)) from error

    @classmethod
    def from_parts(cls, **parts: Any) -> "Contract":
        """Builds a contract from keyword arguments; the same checks and error as `from_json`."""
        try:
            return cls.model_validate(parts)
        except ValidationError as error:
            raise InvalidBundle(_explain(error)) from error


def _explain(error: ValidationError) -> str:
    faults = []
    for fault in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in fault["loc"]) or "document"
        faults.append(f"{where}: {fault['msg']} (got {_shorten(fault['input'])})")
    return f"The contract is invalid. {'; '.join(faults)}. Correct contract.json or register the model again."


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
