"""The model card, written from the contract and the measured figures (Mitchell 2019, arXiv:1810.03993; CLAIM 2020)."""

from typing import Any

from brainmri.model.contract import LABELS, Contract
from training.fit.recipe import Recipe
from training.release import card_results
from training.release.export_figures import table


def write_card(contract: Contract, recipe: Recipe, metrics: dict[str, Any], adopted: str = "") -> str:
    """Returns `card.md`.

    Args:
        contract: Of the bundle.
        recipe: That trained the model.
        metrics: The content of `metrics.json`.
        adopted: Tag of the release whose weights stood for the recipe's first phases, if any did.
    """
    sections = [
        f"# {contract.name} {contract.version}",
        f"**{contract.notice}**",
        _description(contract, recipe),
        "## Intended use\n\n" + contract.intended_use,
        "Out of scope: images that are not single slices of a brain MRI (the novelty detector refuses most, not all),"
        " other questions than these four labels, where a tumour is or how large, and any decision about a person.",
        card_results.results(metrics),
        card_results.classes(metrics["grouped"]),
        card_results.sources(metrics["per_source"]),
        card_results.calibration(metrics["grouped"], contract.temperature),
        card_results.novelty(metrics.get("novelty", {})),
        card_results.sharper(metrics["sharper_input"]),
        f"## Runtimes\n\n{table(contract, contract.measurements)}\n\nMeasured on {_processors(contract)}.",
        _failures(metrics),
        _limits(contract, metrics),
        _training(contract, recipe, adopted),
        f"## Licence\n\nWeights: {contract.licence}. Data: CC0 1.0, see `data_card.md`.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _description(contract: Contract, recipe: Recipe) -> str:
    phases = ", then ".join(
        f"{phase.epochs} epoch{'s' * (phase.epochs > 1)} at {contract.input.width // phase.downsample} pixels"
        for phase in recipe.phases
    )
    pooled = (
        f" The graph averages the 299-pixel input down to {contract.network_side} pixels before the first convolution."
        if contract.network_side < contract.input.width
        else ""
    )
    return (
        f"Xception (Chollet 2017) with a head of 128 units, from {_origin(recipe)}, trained by the recipe"
        f" `{recipe.name}`: {phases}.{pooled} Labels, in this order: {', '.join(contract.labels)}."
    )


def _processors(contract: Contract) -> str:
    return "; ".join(sorted({each.processor for each in contract.measurements}))


def _origin(recipe: Recipe) -> str:
    return "random weights" if recipe.weights == "none" else f"{recipe.weights} weights"


def _failures(metrics: dict[str, Any]) -> str:
    figures = metrics["grouped"]
    pairs = [
        (count, LABELS[true], LABELS[predicted])
        for true, row in enumerate(figures["confusion"])
        for predicted, count in enumerate(row)
        if true != predicted and count
    ]
    worst = "; ".join(
        f"{count} of {figures['per_class'][true]['support']} {true} taken for {predicted}"
        for count, true, predicted in sorted(pairs, reverse=True)[:4]
    )
    text = (
        "## Failure cases\n\n"
        f"On the grouped hold-out: {worst or 'none'}. `figures/mistakes_grouped.png` lists the most confident mistakes"
        " by file name with all four probabilities, `figures/features_grouped.png` shows what the novelty detector"
        " sees; `predictions.csv` holds the answer to every held-out image. Pictures of the dataset are not shown."
    )
    if "novelty" in metrics:
        kinds = sorted(metrics["novelty"]["near"]["per_kind"].items(), key=lambda item: -item[1]["passed"])
        passed = ", ".join(f"{kind} {row['passed']:.0%} of {row['images']}" for kind, row in kinds[:4] if row["passed"])
        text += f" Taken for a brain MRI most often: {passed or 'nothing of the near set'}."
    return text


def _limits(contract: Contract, metrics: dict[str, Any]) -> str:
    weakest = min(LABELS, key=lambda label: metrics["grouped"]["per_class"][label]["recall"])
    recall = metrics["grouped"]["per_class"][weakest]["recall"]
    small = metrics["leak_free"]["per_class"]["notumor"]["support"]
    return (
        "## What it is worth, and limits\n\n"
        f"- Weakest class: {weakest}; it misses {1 - recall:.1%} of the hold-out's.\n"
        f"- The leak-free split holds only {small} images without a tumour; judge that class on the grouped hold-out.\n"
        "- Slices with and without a tumour come from different sources, which may be part of what tells them apart.\n"
        "- Near-duplicate groups stand in for patients, and other slices of one patient may be on both sides.\n"
        "- Other scanners, sequences, ages and tumour types than the dataset's are untested; so are other hospitals.\n"
        f"- Trained on images 224 pixels wide, seen by the network at {contract.network_side}: fine detail is lost."
    )


def _training(contract: Contract, recipe: Recipe, adopted: str) -> str:
    made = contract.provenance
    resumed = (
        f" The run began with the float16 weights of `{adopted}`, which phases of the recipe had made;"
        " `reproduce` trains them all."
        if adopted
        else ""
    )
    return (
        "## Training\n\n"
        f"Brain Tumor MRI Dataset, described in `data_card.md`; split `{made.split_sha256[:12]}` of data"
        f" `{made.data_sha256[:12]}`. {recipe.optimizer}, weight decay {recipe.weight_decay}, label smoothing"
        f" {recipe.label_smoothing}, mixup {recipe.mixup}, averaged weights {recipe.ema}, one image of each"
        f" near-duplicate group an epoch ({recipe.sampling}); seed {recipe.seed}.{_exceptions(recipe)} Code"
        f" {_commit(made.code_revision)}, Keras {made.keras_version} on {made.keras_backend}. Again:"
        f" `python -m training reproduce {recipe.name}`. Curves: `figures/history.png`.{resumed}"
    )


def _commit(revision: str) -> str:
    commit, _, changed = revision.partition("-")
    return f"`{commit[:12]}`" + " with changes that were not committed" * bool(changed)


def _exceptions(recipe: Recipe) -> str:
    sentences = []
    for number, phase in enumerate(recipe.phases, 1):
        own = {"label smoothing": phase.label_smoothing, "mixup": phase.mixup, "precision": phase.precision}
        parts = [f"{name} {value}" for name, value in own.items() if value is not None]
        parts += ["an augmentation of its own"] * (phase.augmentation is not None)
        if phase.distillation is not None:
            parts.append(f"distillation from the recipe `{phase.distillation.teacher}`")
        if parts:
            sentences.append(f" Phase {number}: {', '.join(parts)}.")
    return "".join(sentences)
