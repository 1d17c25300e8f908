"""How right the verdict of a series is: on persons with a tumour, and on made series of normal slices."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from brainmri.bulk.series import RULE, SeriesRule, series_verdict
from brainmri.errors import DatasetError
from brainmri.model.contract import LABELS, NO_TUMOR
from brainmri.model.novelty import UNSURE
from training.data.sources import FIGSHARE
from training.data.split import SplitRow

SERIES_SLICES = 20
"""Slices of a made series; those of clinical MRI are about 5 mm apart over 10 cm of the brain."""

TUMOUR_SLICES = 5
"""Most slices of a person's tumour in a made series: one of 25 mm."""

_DRAWS = 20
_RULES = tuple(SeriesRule(slices, share) for slices, share in product((2, 3, 4), (0.1, 0.15, 0.2, 0.3)))


@dataclass(frozen=True)
class Answered:
    """One slice and what the service says of it.

    Attributes:
        label: The true one.
        person: Whose head it is; empty where unknown.
        verdict: A class, `unsure`, `not_a_brain_mri`, or None for a slice that is refused.
    """

    label: str
    person: str
    verdict: str | None


@dataclass(frozen=True)
class Series:
    """A series, real or made.

    Attributes:
        truth: A label.
        verdicts: Of its slices.
    """

    truth: str
    verdicts: Sequence[str | None]


def slices_to_ask(rows: Iterable[SplitRow], subset: str) -> list[SplitRow]:
    """Returns the slices of a subset that the evaluation needs: figshare's of known persons, and all normal ones.

    Raises:
        DatasetError: The subset has none of either kind.
    """
    chosen = [row for row in rows if row.subset == subset]
    tumours = [row for row in chosen if row.source == FIGSHARE and row.person and row.label in LABELS]
    normal = [row for row in chosen if row.label == NO_TUMOR]
    if not tumours or len(normal) < SERIES_SLICES:
        raise DatasetError(
            f"The subset {subset!r} has {len(tumours)} tumour slices of known persons and {len(normal)} normal ones; a"
            f" series needs some of the former and {SERIES_SLICES} of the latter. Name validation or test."
        )
    return [*tumours, *normal]


def first_of_each_label(rows: Sequence[SplitRow], most: int) -> list[SplitRow]:
    """Returns up to `most` slices of each label, in order, to try the evaluation on; all of them for 0."""
    seen: Counter[str] = Counter()
    chosen = []
    for row in rows:
        seen[row.label] += 1
        if not most or seen[row.label] <= most:
            chosen.append(row)
    return chosen


def series_figures(answers: Sequence[Answered], seed: int = 20261130) -> dict[str, Any]:
    """Returns what the rule says of three kinds of series, and what other thresholds would say.

    - `persons`: the published slices of one person, each of which shows the tumour.
    - `mixed`: up to `TUMOUR_SLICES` of those among normal slices of other heads, `SERIES_SLICES` in all.
    - `normal`: `SERIES_SLICES` normal slices of any heads; a verdict of a tumour is a false alarm.

    Args:
        answers: Of `slices_to_ask`.
        seed: Of the draws.
    """
    kinds = made_series(answers, np.random.default_rng(seed))
    return {
        "rule": asdict(RULE),
        "slices_of_a_made_series": SERIES_SLICES,
        **{kind: counts(series, RULE) for kind, series in kinds.items()},
        "other_rules": [_compared(kinds, rule) for rule in _RULES],
    }


def made_series(answers: Sequence[Answered], rng: np.random.Generator) -> Mapping[str, list[Series]]:
    """Returns the series of each kind."""
    persons: dict[tuple[str, str], list[str | None]] = defaultdict(list)
    for one in answers:
        if one.label != NO_TUMOR:
            persons[one.person, one.label].append(one.verdict)
    normal = np.array([one.verdict for one in answers if one.label == NO_TUMOR], object)
    mixed, of_normal = [], []
    for (_, label), verdicts in persons.items():
        shown = list(rng.permutation(np.array(verdicts, object))[:TUMOUR_SLICES])
        others = rng.choice(normal, SERIES_SLICES - len(shown), replace=False)
        mixed.append(Series(label, [*shown, *others]))
    for _ in range(_DRAWS):
        order = rng.permutation(normal)
        parts = len(order) // SERIES_SLICES
        of_normal += [Series(NO_TUMOR, list(part)) for part in np.split(order[: parts * SERIES_SLICES], parts)]
    return {
        "persons": [Series(label, verdicts) for (_, label), verdicts in persons.items() if len(verdicts) > 1],
        "mixed": mixed,
        "normal": of_normal,
    }


def counts(series: Sequence[Series], rule: SeriesRule) -> dict[str, int]:
    """Returns how many series there are, and how many verdicts are right, another tumour, normal or unsure."""
    found: Counter[str] = Counter()
    for one in series:
        verdict = series_verdict(one.verdicts, rule).verdict
        if verdict == one.truth:
            found["right"] += 1
        elif verdict in (UNSURE, NO_TUMOR):
            found["unsure" if verdict == UNSURE else "missed"] += 1
        else:
            found["false_alarm" if one.truth == NO_TUMOR else "other_tumour"] += 1
    return {"series": len(series), **dict(sorted(found.items()))}


def _compared(kinds: Mapping[str, list[Series]], rule: SeriesRule) -> dict[str, Any]:
    return {**asdict(rule), **{kind: counts(series, rule) for kind, series in kinds.items()}}
