"""One experiment as a file: what to train, for how long, and with which randomness."""

import hashlib
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from brainmri.errors import DatasetError
from brainmri.imaging import SIDE
from training.fit.architectures import registered
from training.fit.augment import Augmentation
from training.fit.classifier_head import HEADS
from training.fit.framing import Framing
from training.fit.model import network_side
from training.fit.part import Part
from training.fit.presets import expanded
from training.fit.styles import Styles
from training.fit.transplant import Transplants

RECIPES = Path(__file__).parents[1] / "recipes"

_OF_A_PHASE = ("precision", "label_smoothing", "augmentation", "shares", "localisation")
"""What a phase may set instead of the recipe."""

_SMALLEST_SIDE = 32

Precision = Literal["float32", "autocast_bfloat16", "mixed_bfloat16", "mixed_float16"]


class Phase(Part):
    """One stretch of training with an optimiser and a learning-rate schedule of its own.

    Attributes:
        epochs: Epochs of this phase.
        stop_after: Ends the phase after so many of them, while the rate is still high; 0 runs them all.
        downsample: Side of the average pooling at the model's input: the network sees 299 // downsample pixels.
            A falling sequence over the phases is progressive image size.
        side: Pixels that the network sees, instead of `downsample`; with neither, the architecture's own.
        trainable: `head` freezes the convolutional body, `top` trains its last layers too, `all` trains everything.
        batch_size: Images a step.
        schedule: `cosine` or `plateau`.
        peak_learning_rate: Of the cosine, reached after the warm-up, to fall to zero at the end of the phase; of the
            plateau schedule, where it begins.
        warmup_steps: Steps of linear rise from zero before the cosine.
        plateau_factor: Multiplies the rate of the plateau schedule when the validation score has stopped rising.
        plateau_patience: Epochs in a row without a better score before that.
        precision: Instead of the recipe's, if given.
        label_smoothing: Instead of the recipe's, if given.
        augmentation: Instead of the recipe's, if given.
        shares: Instead of the recipe's, if given.
        localisation: Instead of the recipe's, if given.
    """

    LATER = frozenset({"side", "schedule", "plateau_factor", "plateau_patience"})

    epochs: int = Field(ge=1)
    stop_after: int = Field(default=0, ge=0)
    downsample: int = Field(default=1, ge=1, le=4)
    side: int = Field(default=0, ge=0, le=SIDE)
    trainable: Literal["head", "top", "all"] = "all"
    batch_size: int = Field(default=32, ge=1)
    peak_learning_rate: float = Field(default=1.5e-3, gt=0)
    schedule: Literal["cosine", "plateau"] = "cosine"
    warmup_steps: int = Field(default=200, ge=0)
    plateau_factor: float = Field(default=0.5, gt=0, lt=1)
    plateau_patience: int = Field(default=2, ge=1)
    precision: Precision | None = None
    label_smoothing: float | None = Field(default=None, ge=0, lt=1)
    augmentation: Augmentation | None = None
    shares: dict[str, float] | None = None
    localisation: float | None = Field(default=None, ge=0)

    @property
    def length(self) -> int:
        """Epochs that are run."""
        return min(self.stop_after or self.epochs, self.epochs)


class Recipe(Part):
    """All that decides the outcome of a training run, besides the data.

    Attributes:
        name: Also the folder of the run.
        seed: Seeds initialisation, sampling, augmentation and dropout.
        architecture: A name that `training.fit.architectures` knows, such as `xception` or `custom_cnn`.
        head: A name of `training.fit.classifier_head.HEADS`; the architecture's own if empty.
        bundle: Name of its bundle and in the model store; the architecture's own if empty.
        weights: `none`, `imagenet` (downloaded by Keras), or a path of a weights file without top.
        precision: Keras dtype policy; or `autocast_bfloat16`, which lets PyTorch compute in bfloat16 what it can, and
            is float32 on other back ends (`training.precision`).
        optimizer: `adamw`, `sgd` (Nesterov momentum 0.9), `adam` or `adamax`.
        weight_decay: Decoupled, of `adamw` and `sgd`; biases and normalisation are exempt.
        label_smoothing: Share of probability spread over all labels.
        ema: Decay of the exponential moving average of the weights; 0 switches it off.
        patience: Epochs without a better validation score before a phase stops; 0 never stops early.
        keep: Whether a phase hands on the averaged weights of its `last` or of its `best` epoch.
        steps: Batches an epoch.
        shares: Of each label in a batch; `tumour` is one of unnamed kind, and labels left out are not trained on.
        framing: How slices lie in their frame.
        styles: How often and how the look of slices is changed.
        transplants: How often tumours are taken out of slices or put into others.
        augmentation: How sharpness, tone and noise vary.
        localisation: Weight of the loss for evidence outside the tumours' boxes; 0 switches it off.
        phases: In order.

    `preset: NAME` in a file stands for several of these fields; see `training.fit.presets`.
    """

    LATER = frozenset({"head", "bundle", "keep"})

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    seed: int = Field(default=1, ge=0)
    architecture: str = "xception"
    head: str = ""
    bundle: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9_]{0,62})?$")
    weights: str = "none"
    precision: Precision = "float32"
    optimizer: Literal["adamw", "sgd", "adam", "adamax"] = "adamw"
    weight_decay: float = Field(default=0.05, ge=0)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    ema: float = Field(default=0.995, ge=0, lt=1)
    patience: int = Field(default=0, ge=0)
    keep: Literal["last", "best"] = "last"
    augmentation: Augmentation = Augmentation()
    steps: int = Field(default=100, ge=1)
    shares: dict[str, float] = Field(
        default={"glioma": 0.2, "meningioma": 0.22, "notumor": 0.3, "pituitary": 0.16, "tumour": 0.12}
    )
    framing: Framing = Framing()
    styles: Styles = Styles()
    transplants: Transplants = Transplants()
    localisation: float = Field(default=0.0, ge=0)
    phases: tuple[Phase, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, fields: Any) -> Any:
        return expanded(fields) if isinstance(fields, dict) else fields

    @field_validator("architecture")
    @classmethod
    def _is_registered(cls, name: str) -> str:
        try:
            registered(name)
        except DatasetError as error:
            raise ValueError(error.message) from error
        return name

    @field_validator("head")
    @classmethod
    def _is_a_head(cls, name: str) -> str:
        if name and name not in HEADS:
            raise ValueError(f"there is no such head, only {', '.join(HEADS)}")
        return name

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.optimizer in ("adam", "adamax") and self.weight_decay and "weight_decay" in self.model_fields_set:
            raise ValueError(f"{self.optimizer} has no weight decay: leave weight_decay out, or choose adamw")
        head = self.head or registered(self.architecture).head
        if any(self.within(phase).localisation for phase in self.phases) and not HEADS[head].explains:
            explaining = ", ".join(name for name, each in HEADS.items() if each.explains)
            raise ValueError(f"the head {head} has no heat map, which localisation needs: choose among {explaining}")
        for phase in self.phases:
            if phase.side and phase.downsample > 1:
                raise ValueError(f"a phase has side {phase.side} and downsample {phase.downsample}: give one of them")
            if 0 < phase.side < _SMALLEST_SIDE:
                raise ValueError(f"a phase has side {phase.side}: the smallest is {_SMALLEST_SIDE} pixels")
        return self

    @property
    def sha256(self) -> str:
        """Hash of everything the recipe says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def bundle_name(self) -> str:
        """Name of its bundle and in the model store."""
        return self.bundle or registered(self.architecture).bundle_name

    def side(self, phase: Phase) -> int:
        """Returns the pixels that the network sees in `phase`."""
        return network_side(registered(self.architecture), phase.downsample, phase.side)

    def network(self, phase: Phase) -> dict[str, Any]:
        """Returns the arguments of `training.fit.model.build_model` for `phase`, which a contract remembers."""
        network = {
            "architecture": self.architecture,
            "downsample": phase.downsample,
            "head": self.head,
            "side": phase.side,
        }
        return {name: value for name, value in network.items() if value}

    def within(self, phase: Phase) -> "Recipe":
        """Returns this recipe with what `phase` sets instead."""
        own = {name: getattr(phase, name) for name in _OF_A_PHASE}
        return self.model_copy(update={name: value for name, value in own.items() if value is not None})

    def shortened(self, phases: int) -> "Recipe":
        """Returns this recipe with its first `phases` phases only."""
        return self.model_copy(update={"phases": self.phases[:phases]})


def load_recipe(name_or_path: str) -> Recipe:
    """Reads a recipe by its name in `training/recipes/`, or from a path.

    Raises:
        DatasetError: No such file, or a field that is unknown or out of range; quotes the bad value.
    """
    path = Path(name_or_path)
    if not path.is_file():
        path = RECIPES / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise DatasetError(f"There is no recipe {name_or_path!r}. Known: {known}; or give the path of a YAML file.")
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        faults = "; ".join(map(_told, error.errors()))
        raise DatasetError(f"{path} is not a valid recipe: {faults}") from error
    except yaml.YAMLError as error:
        raise DatasetError(f"{path} is not valid YAML: {error}") from error


def _told(fault: Any) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    # What concerns several fields has no place, and quoting all of them would tell nothing.
    return f"{'.'.join(map(str, fault['loc']))}: {message} (got {fault['input']!r})" if fault["loc"] else message
