"""What each choice of training is worth: the same small network trained again with one choice changed.

A fixed, small budget, so that the table can be made overnight on two cores; it ranks choices, it does not tell what the
released model would reach. Everything is judged on grouped validation, never on the hold-out or Testing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from brainmri.model.calibration import probabilities
from brainmri.model.runtimes.protocol import Output, RuntimeInfo
from training import metrics
from training.data.arrays import Arrays
from training.data.origin import Origin
from training.data.split import VALIDATION
from training.data.workspace import Workspace
from training.fit.augment import Augmentation
from training.fit.fit import fit
from training.fit.model import FEATURES, LOGITS
from training.fit.recipe import Distillation, Phase, Recipe
from training.release.export import trained_model, trained_network
from training.studies.resize_study import study

_BATCH = 16
_STILL = Augmentation(**dict.fromkeys(Augmentation.model_fields, 0.0))


@dataclass(frozen=True)
class AblationRow:
    """One line of the table.

    Attributes:
        choice: What was chosen, such as `augmentation`.
        value: How, such as `none`.
        trained: Whether a network was trained for it; the others are test-time choices with the base's weights.
        macro_f1: On grouped validation.
        macro_f1_ci95: Its bootstrap interval over groups.
        log_loss: Before calibration.
    """

    choice: str
    value: str
    trained: bool
    macro_f1: float
    macro_f1_ci95: list[float]
    log_loss: float


def base_recipe(epochs: int) -> Recipe:
    """Returns what every trained variant starts from: Xception at 74 pixels, random weights."""
    phase = Phase(epochs=epochs, downsample=4, batch_size=32, peak_learning_rate=1.5e-3, warmup_steps=100)
    return Recipe(name="ablation-base", ema=0.98, phases=(phase,))


def variants(base: Recipe, teacher: str) -> list[tuple[str, str, Recipe]]:
    """Returns (choice, value, recipe) of everything that is trained, the base first.

    Args:
        base: From `base_recipe`.
        teacher: Recipe whose finished run teaches the variant with distillation; without one, that is left out.
    """

    def changed(name: str, **changes: Any) -> Recipe:
        return base.model_copy(update={"name": f"ablation-{name}", **changes})

    rows = [
        ("base", "augmentation, one image a group, mixup, averaged weights", base),
        ("augmentation", "none", changed("still", augmentation=_STILL)),
        ("duplicates", "every copy of a slice in every epoch", changed("duplicates", sampling="image")),
        ("mixup", "none", changed("unmixed", mixup=0.0)),
        ("averaged weights", "none", changed("unaveraged", ema=0.0)),
    ]
    if teacher:
        taught = Distillation(teacher=teacher)
        phases = tuple(phase.model_copy(update={"distillation": taught}) for phase in base.phases)
        rows.append(("distillation", f"taught by the run `{teacher}`", changed("distilled", phases=phases)))
    return rows


def ablate(
    base: Recipe,
    arrays: Arrays,
    origin: Origin,
    space: Workspace,
    dataset: Path,
    say: Callable[[str], None],
    teacher: str = "",
) -> list[AblationRow]:
    """Trains what has not been trained yet and returns the table.

    Args:
        base: From `base_recipe`; its name begins the folder of each run.
        arrays: The decoded dataset.
        origin: Of the arrays.
        space: Receives the runs; an interrupted one is resumed.
        dataset: Folder that holds `Training/` and `Testing/`, for the resize rules.
        say: Takes one line for each variant.
        teacher: Recipe whose finished run in `space` teaches the variant with distillation; none leaves it out.
    """
    rows = []
    for choice, value, recipe in variants(base, teacher):
        fit(recipe, arrays, origin, space.run(recipe.name), resume=True)
        model = trained_network(recipe, space.run(recipe.name))
        rows.append(_judge(choice, value, True, predict(model, arrays), arrays))
        say(f"{choice}: {value}: macro-F1 {rows[-1].macro_f1:.4f}")
    model = trained_network(base, space.run(base.name))
    for power in (2.0, 4.0, np.inf):
        value = "maximum" if power == np.inf else f"power mean of exponent {power:g}"
        rows.append(_judge("pooling at test time", value, False, pooled(model, arrays, power), arrays))
    return rows + resize_rows(trained_model(base, space.run(base.name)), arrays, dataset)


def predict(model: keras.Model, arrays: Arrays) -> NDArray[np.float32]:
    """Returns the logits `[N, 4]` of the validation images."""
    return _batched(model.predict_on_batch, arrays)


def pooled(model: keras.Model, arrays: Arrays, power: float) -> NDArray[np.float32]:
    """Returns the logits of the validation images when features are pooled by a power mean instead of the mean.

    Args:
        model: From `trained_network`.
        arrays: The decoded dataset.
        power: Exponent of the mean (GeM, Radenovic 2018, arXiv:1711.02512); infinity takes the maximum.
    """
    maps = keras.Model(model.input, model.get_layer(FEATURES).input)
    head = [model.get_layer(name) for name in ("hidden", LOGITS)]

    def infer(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        grid = np.maximum(maps.predict_on_batch(images), 0)
        features = grid.max(axis=(1, 2)) if power == np.inf else (grid**power).mean(axis=(1, 2)) ** (1 / power)
        hidden = head[0](features, training=False)
        return np.asarray(keras.ops.convert_to_numpy(head[1](hidden, training=False)), np.float32)

    return _batched(infer, arrays)


class _KerasRuntime:
    """A trained model behind the protocol that the resize study takes."""

    info = RuntimeInfo("keras", "f32", 1)

    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def infer(self, images: NDArray[np.uint8]) -> Output:
        result = self._model.predict_on_batch(images)
        return Output(np.asarray(result[LOGITS]), np.asarray(result[FEATURES]))


def resize_rows(model: keras.Model, arrays: Arrays, dataset: Path) -> list[AblationRow]:
    """Returns what padding and stretching give on slices cropped to the head, which are not square."""
    return [
        AblationRow(
            choice="resize rule at test time",
            value=f"{row['rule']}, {row['filter']}, cropped to the head",
            trained=False,
            macro_f1=row["macro_f1"],
            macro_f1_ci95=row["macro_f1_ci95"],
            log_loss=row["log_loss"],
        )
        for row in study(_KerasRuntime(model), 1.0, arrays, dataset, filters=("bilinear",))
        if row["images"] != "as supplied"
    ]


def table(rows: list[AblationRow], base: Recipe, teacher: str = "") -> str:
    """Returns the Markdown page of an ablation; arguments as in `ablate`."""
    phase = base.phases[0]
    taught = f" --teacher {teacher}" if teacher else ""
    lines = [
        "# Ablations",
        "",
        f"Xception from random weights at {299 // phase.downsample} pixels, {phase.epochs} epochs each; made by"
        f" `python -m training ablation --epochs {phase.epochs}{taught}`. Judged on grouped validation, macro-F1 with"
        " its 95 % bootstrap interval over groups, one seed: differences within the intervals mean nothing, and so few"
        " epochs favour what learns fast. Test-time choices use the weights of the base.",
        "",
        "| choice | value | trained anew | macro-F1 | log loss |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row.macro_f1_ci95
        lines.append(
            f"| {row.choice} | {row.value} | {'yes' if row.trained else 'no'}"
            f" | {row.macro_f1:.4f} ({low:.3f} to {high:.3f}) | {row.log_loss:.3f} |"
        )
    lines += [
        "",
        "Resize rules are compared on cropped slices: the copy we train on is square, so that both rules are the same"
        " for it; decision 0003 tells more.",
    ]
    if not teacher:
        lines += ["", "Distillation was left out, not tried: it needs a trained teacher, `--teacher released`."]
    return "\n".join(lines) + "\n"


def _judge(choice: str, value: str, trained: bool, logits: NDArray[np.float32], arrays: Arrays) -> AblationRow:
    rows = arrays.subset(VALIDATION)
    labels, predicted = arrays.labels[rows], logits.argmax(axis=1)
    return AblationRow(
        choice=choice,
        value=value,
        trained=trained,
        macro_f1=metrics.macro_f1(predicted, labels),
        macro_f1_ci95=metrics.bootstrap_interval(
            lambda i: metrics.macro_f1(predicted[i], labels[i]), arrays.groups[rows]
        ),
        log_loss=metrics.log_loss(probabilities(logits, 1.0), labels),
    )


def _batched(infer: Callable[[NDArray[np.uint8]], NDArray[np.float32]], arrays: Arrays) -> NDArray[np.float32]:
    rows = arrays.subset(VALIDATION)
    parts = [infer(np.asarray(arrays.pixels[rows[i : i + _BATCH]])) for i in range(0, len(rows), _BATCH)]
    return np.concatenate([np.asarray(part, np.float32) for part in parts])
