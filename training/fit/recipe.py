"""One experiment as a file: what to train, for how long, and with which randomness."""

import hashlib
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainmri.errors import DatasetError
from training.fit.augment import Augmentation

RECIPES = Path(__file__).parents[1] / "recipes"

Precision = Literal["float32", "autocast_bfloat16", "mixed_bfloat16", "mixed_float16"]


class Distillation(BaseModel):
    """Learning from a teacher besides the labels; see `training.fit.distillation`.

    Attributes:
        teacher: Name of the recipe whose finished run, beside the student's, teaches.
        weight: Share of the teacher in the loss; the labels have the rest.
        temperature: Divides the logits of both before they are compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    teacher: str
    weight: float = Field(default=0.7, gt=0, le=1)
    temperature: float = Field(default=2.0, gt=0)


class Phase(BaseModel):
    """One stretch of training with an optimiser and a learning-rate schedule of its own.

    Attributes:
        epochs: Epochs of this phase.
        downsample: Side of the average pooling at the model's input: the network sees 299 // downsample pixels.
            A falling sequence over the phases is progressive image size.
        trainable: `head` freezes the convolutional body, `all` trains everything.
        batch_size: Images a step.
        peak_learning_rate: Reached after the warm-up; a cosine then falls to zero at the end of the phase.
        warmup_steps: Steps of linear rise from zero.
        distillation: A teacher; none by default.
        precision: Instead of the recipe's, if given.
        mixup: Instead of the recipe's, if given.
        label_smoothing: Instead of the recipe's, if given.
        augmentation: Instead of the recipe's, if given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=1)
    downsample: int = Field(default=1, ge=1, le=4)
    trainable: Literal["head", "all"] = "all"
    batch_size: int = Field(default=32, ge=1)
    peak_learning_rate: float = Field(default=1.5e-3, gt=0)
    warmup_steps: int = Field(default=200, ge=0)
    distillation: Distillation | None = None
    precision: Precision | None = None
    mixup: float | None = Field(default=None, ge=0)
    label_smoothing: float | None = Field(default=None, ge=0, lt=1)
    augmentation: Augmentation | None = None


class Recipe(BaseModel):
    """All that decides the outcome of a training run, besides the data.

    Attributes:
        name: Also the folder of the run.
        seed: Seeds initialisation, sampling, augmentation and dropout.
        architecture: `xception`; `mobilenet_v2` for teachers; `tiny_xception` for tests.
        weights: `none`, `imagenet` (downloaded by Keras), or a path of a weights file without top.
        precision: Keras dtype policy; or `autocast_bfloat16`, which lets PyTorch compute in bfloat16 what it can, and
            is float32 on other back ends (`training.fit.precision`).
        optimizer: `adamw` or `sgd` (Nesterov momentum 0.9).
        weight_decay: Decoupled; biases and normalisation are exempt.
        label_smoothing: Share of probability spread over all labels.
        mixup: Alpha of the Beta distribution of mixup (Zhang 2018, arXiv:1710.09412); 0 switches it off.
        ema: Decay of the exponential moving average of the weights; 0 switches it off.
        sampling: `group` draws one image of each near-duplicate group an epoch, `image` takes all.
        balance: Weight each label by the inverse of its number of groups (or images, by `sampling`).
        patience: Epochs without a better validation accuracy before a phase stops; 0 never stops early.
        augmentation: How inputs vary.
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
    mixup: float = Field(default=0.2, ge=0)
    ema: float = Field(default=0.995, ge=0, lt=1)
    sampling: Literal["group", "image"] = "group"
    balance: bool = True
    patience: int = Field(default=0, ge=0)
    augmentation: Augmentation = Augmentation()
    phases: tuple[Phase, ...] = Field(min_length=1)

    @property
    def sha256(self) -> str:
        """Hash of everything the recipe says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def teachers(self) -> tuple[str, ...]:
        """Names of the recipes that have to be trained before this one."""
        return tuple(dict.fromkeys(phase.distillation.teacher for phase in self.phases if phase.distillation))

    def within(self, phase: Phase) -> "Recipe":
        """Returns this recipe with what `phase` sets instead."""
        own = {name: getattr(phase, name) for name in ("precision", "mixup", "label_smoothing", "augmentation")}
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
