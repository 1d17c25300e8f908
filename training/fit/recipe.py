"""One experiment as a file: what to train, for how long, and with which randomness."""

import hashlib
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainmri.errors import DatasetError
from training.fit.augment import Augmentation
from training.fit.framing import Framing
from training.fit.styles import Styles
from training.fit.transplant import Transplants

RECIPES = Path(__file__).parents[1] / "recipes"

_OF_A_PHASE = ("precision", "label_smoothing", "augmentation", "shares", "localisation")
"""What a phase may set instead of the recipe."""

Precision = Literal["float32", "autocast_bfloat16", "mixed_bfloat16", "mixed_float16"]


class Phase(BaseModel):
    """One stretch of training with an optimiser and a learning-rate schedule of its own.

    Attributes:
        epochs: Epochs of this phase.
        stop_after: Ends the phase after so many of them, while the rate is still high; 0 runs them all.
        downsample: Side of the average pooling at the model's input: the network sees 299 // downsample pixels.
            A falling sequence over the phases is progressive image size.
        trainable: `head` freezes the convolutional body, `all` trains everything.
        batch_size: Images a step.
        peak_learning_rate: Reached after the warm-up; a cosine then falls to zero at the end of the phase.
        warmup_steps: Steps of linear rise from zero.
        precision: Instead of the recipe's, if given.
        label_smoothing: Instead of the recipe's, if given.
        augmentation: Instead of the recipe's, if given.
        shares: Instead of the recipe's, if given.
        localisation: Instead of the recipe's, if given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=1)
    stop_after: int = Field(default=0, ge=0)
    downsample: int = Field(default=1, ge=1, le=4)
    trainable: Literal["head", "all"] = "all"
    batch_size: int = Field(default=32, ge=1)
    peak_learning_rate: float = Field(default=1.5e-3, gt=0)
    warmup_steps: int = Field(default=200, ge=0)
    precision: Precision | None = None
    label_smoothing: float | None = Field(default=None, ge=0, lt=1)
    augmentation: Augmentation | None = None
    shares: dict[str, float] | None = None
    localisation: float | None = Field(default=None, ge=0)

    @property
    def length(self) -> int:
        """Epochs that are run."""
        return min(self.stop_after or self.epochs, self.epochs)


class Recipe(BaseModel):
    """All that decides the outcome of a training run, besides the data.

    Attributes:
        name: Also the folder of the run.
        seed: Seeds initialisation, sampling, augmentation and dropout.
        architecture: `xception`; `mobilenet_v2`; `tiny_xception` for tests.
        weights: `none`, `imagenet` (downloaded by Keras), or a path of a weights file without top.
        precision: Keras dtype policy; or `autocast_bfloat16`, which lets PyTorch compute in bfloat16 what it can, and
            is float32 on other back ends (`training.precision`).
        optimizer: `adamw` or `sgd` (Nesterov momentum 0.9).
        weight_decay: Decoupled; biases and normalisation are exempt.
        label_smoothing: Share of probability spread over all labels.
        ema: Decay of the exponential moving average of the weights; 0 switches it off.
        patience: Epochs without a better validation score before a phase stops; 0 never stops early.
        steps: Batches an epoch.
        shares: Of each label in a batch; `tumour` is one of unnamed kind, and labels left out are not trained on.
        framing: How slices lie in their frame.
        styles: How often and how the look of slices is changed.
        transplants: How often tumours are taken out of slices or put into others.
        augmentation: How sharpness, tone and noise vary.
        localisation: Weight of the loss for evidence outside the tumours' boxes; 0 switches it off.
        phases: In order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    seed: int = Field(default=1, ge=0)
    architecture: Literal["xception", "mobilenet_v2", "tiny_xception"] = "xception"
    weights: str = "none"
    precision: Precision = "float32"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = Field(default=0.05, ge=0)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    ema: float = Field(default=0.995, ge=0, lt=1)
    patience: int = Field(default=0, ge=0)
    augmentation: Augmentation = Augmentation()
    steps: int = Field(default=100, ge=1)
    shares: dict[str, float] = {"glioma": 0.2, "meningioma": 0.22, "notumor": 0.3, "pituitary": 0.16, "tumour": 0.12}
    framing: Framing = Framing()
    styles: Styles = Styles()
    transplants: Transplants = Transplants()
    localisation: float = Field(default=0.0, ge=0)
    phases: tuple[Phase, ...] = Field(min_length=1)

    @property
    def sha256(self) -> str:
        """Hash of everything the recipe says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

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
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']} (got {fault['input']!r})" for fault in error.errors()
        )
        raise DatasetError(f"{path} is not a valid recipe: {faults}") from error
    except yaml.YAMLError as error:
        raise DatasetError(f"{path} is not valid YAML: {error}") from error
