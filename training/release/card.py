"""The model card, written from the contract and the measured figures (Mitchell 2019, arXiv:1810.03993; CLAIM 2020)."""

from dataclasses import dataclass
from typing import Any

from brainmri.model.contract import LABELS, Contract
from training.fit.architectures import registered
from training.fit.recipe import Recipe
from training.release import card_results, looks
from training.release.export_figures import table


@dataclass(frozen=True)
class Made:
    """How a release came about.

    Attributes:
        adopted: Tag of the release whose weights stood for the recipe's first phases, if any did.
        missed: A sentence for each figure below what a release has to reach, of one that was released all the same.
    """

    adopted: str = ""
    missed: tuple[str, ...] = ()


def write_card(contract: Contract, recipe: Recipe, metrics: dict[str, Any], made: Made) -> str:
    """Returns `card.md`.

    Args:
        contract: Of the bundle.
        recipe: That trained the model.
        metrics: The content of `metrics.json`.
        made: How it came about.
    """
    person = metrics["person"]
    sections = [
        f"# {contract.name} {contract.version}",
        f"**{contract.notice}**",
        _description(contract, recipe),
        "## Intended use\n\n" + contract.intended_use,
        "Out of scope: images that are not single slices of a brain MRI (the novelty detector refuses most, not all),"
        " other questions than these labels, how large a tumour is, and any decision about a person.",
        card_results.results(metrics),
        looks.section(contract.provenance.split_sha256),
        _missed(made.missed),
        card_results.classes(person),
        card_results.calibration(person),
        card_results.novelty(metrics.get("novelty", {})),
        card_results.localisation(metrics.get("localisation", {})),
        f"## Runtimes\n\n{table(contract, contract.measurements)}\n\nMeasured on {_processors(contract)}.",
        _failures(metrics),
        _limits(contract, metrics),
        _training(contract, recipe, made.adopted),
        _withdrawn() if contract.labels == LABELS else "",
        _licence(contract),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _description(contract: Contract, recipe: Recipe) -> str:
    kind = registered(recipe.architecture)
    phases = ", then ".join(
        f"{phase.length} epoch{'s' * (phase.length > 1)} at {recipe.side(phase)} pixels" for phase in recipe.phases
    )
    pooled = (
        f" The graph reduces the 299-pixel input to {contract.network_side} pixels before the first convolution."
        if contract.network_side < contract.input.width
        else ""
    )
    return (
        f"{kind.title} with the head `{recipe.head or kind.head}`, from {_origin(recipe)}, trained by the recipe"
        f" `{recipe.name}`: {phases}.{pooled} Labels, in this order: {', '.join(contract.labels)}."
    )


def _processors(contract: Contract) -> str:
    return "; ".join(sorted({each.processor for each in contract.measurements}))


def _origin(recipe: Recipe) -> str:
    return "random weights" if recipe.weights == "none" else f"{recipe.weights} weights"


def _failures(metrics: dict[str, Any]) -> str:
    figures = metrics["person"]
    names = list(figures["per_class"])
    pairs = [
        (count, names[true], names[predicted])
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
        f"By person: {worst or 'none'}. `figures/mistakes_person.png` lists the most confident mistakes by file name"
        " with all probabilities, `figures/features_person.png` shows what the novelty detector sees;"
        " `predictions.csv` holds the answer to every held-out image. Pictures of the datasets are not shown."
    )
    if "novelty" in metrics:
        kinds = sorted(metrics["novelty"]["near"]["per_kind"].items(), key=lambda item: -item[1]["passed"])
        passed = ", ".join(f"{kind} {row['passed']:.0%} of {row['images']}" for kind, row in kinds[:4] if row["passed"])
        text += f" Taken for a brain MRI most often: {passed or 'nothing of the near set'}."
    return text


def _limits(contract: Contract, metrics: dict[str, Any]) -> str:
    recall = metrics["person"]["recall"]
    weakest = min(recall, key=lambda label: recall[label])
    lines = [
        "## What it is worth, and limits\n",
        f"- Weakest class: {weakest}; it misses {1 - recall[weakest]:.1%} of those of held-out persons.",
        *(_LIMITS_OF_SOURCES if contract.labels == LABELS else ()),
        "- A heat map tells where evidence for an answer lies, not where a tumour ends.",
    ]
    if contract.network_side < contract.input.width:
        lines.append(f"- The network sees {contract.network_side} of 299 pixels a side: fine detail is lost.")
    return "\n".join(lines)


_LIMITS_OF_SOURCES = (
    "- The kind of a tumour is known from one source only (figshare: T1-weighted with contrast, two hospitals)."
    " On other scanners and sequences only the question whether there is a tumour has been tested, on one source.",
    "- Tumours that are hardly visible on a single slice, other diseases, children, and images after surgery are"
    " not represented.",
)
"""What the sources of the released labels lack."""


def _missed(missed: tuple[str, ...]) -> str:
    if not missed:
        return ""
    lines = "\n".join(f"- {line}" for line in missed)
    return f"## Below the bar\n\nReleased although figures are below what a release has to reach:\n\n{lines}"


def _licence(contract: Contract) -> str:
    text = f"## Licence\n\nWeights: {contract.licence}. Data and their licences: see `data_card.md`."
    if contract.labels != LABELS:
        return text
    return (
        f"{text} The images that the network was trained on come from figshare (Cheng 2017, CC BY 4.0), Nickparvar"
        " (CC0 1.0) and Br35H, whose licence is not stated where it is published."
    )


def _withdrawn() -> str:
    return (
        "## Withdrawn figures\n\n"
        "Figures of releases up to 0.2.2 are withdrawn: half of the dataset's tumour slices stand in it twice, once"
        " mirrored, and every patient of Testing is in Training too, so their hold-outs had been seen in training; and"
        " those networks told the source of a slice rather than the tumour, for they found 15 % of the tumours of"
        " another source."
    )


def _training(contract: Contract, recipe: Recipe, adopted: str) -> str:
    made = contract.provenance
    resumed = (
        f" The run began with the float16 weights of `{adopted}`, which phases of the recipe had made;"
        " `reproduce` trains them all."
        if adopted
        else ""
    )
    sources = "Three datasets" if contract.labels == LABELS else "A dataset with labels of its own"
    return (
        "## Training\n\n"
        f"{sources}, described in `data_card.md`; split `{made.split_sha256[:12]}` of data"
        f" `{made.data_sha256[:12]}`. {recipe.optimizer}, weight decay {recipe.weight_decay}, label smoothing"
        f" {recipe.label_smoothing}, averaged weights {recipe.ema}, {recipe.steps} batches an epoch, balanced by label"
        f" and source; seed {recipe.seed}. Looks, frames and tumours are varied as the recipe says; evidence outside"
        f" the boxes of tumours costs {recipe.localisation:g} of the loss.{_exceptions(recipe)} Code"
        f" {_commit(made.code_revision)}, Keras {made.keras_version} on {made.keras_backend}. Again:"
        f" `python -m training reproduce {recipe.name}`. Curves: `figures/history.png`.{resumed}"
    )


def _commit(revision: str) -> str:
    commit, _, changed = revision.partition("-")
    return f"`{commit[:12]}`" + " with changes that were not committed" * bool(changed)


def _exceptions(recipe: Recipe) -> str:
    sentences = []
    for number, phase in enumerate(recipe.phases, 1):
        own = {"label smoothing": phase.label_smoothing, "precision": phase.precision}
        parts = [f"{name} {value}" for name, value in own.items() if value is not None]
        parts += ["an augmentation of its own"] * (phase.augmentation is not None)
        if phase.shares is not None:
            parts.append("shares of labels " + ", ".join(f"{label} {share:g}" for label, share in phase.shares.items()))
        if parts:
            sentences.append(f" Phase {number}: {', '.join(parts)}.")
    return "".join(sentences)
