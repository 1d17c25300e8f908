import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainmri.errors import DatasetError
from brainmri.model.contract import LABELS
from training.data.audit import ManifestRow
from training.data.split import SplitRule, count, read_split, split, write_split


def manifest_row(name: str, part: str, label: str, group: int) -> ManifestRow:
    return ManifestRow(name, part, label, "merged", "0" * 64, 1, 224, 224, "L", group, False, False, "")


def manifest(groups_per_label: int = 50) -> list[ManifestRow]:
    """Groups of one to six images for each label, and one Testing image of an own group."""
    rng = np.random.default_rng(0)
    rows, number = [], 0
    for label in LABELS:
        for _ in range(groups_per_label):
            number += 1
            copies = int(rng.integers(1, 7))
            rows += [manifest_row(f"Training/{label}/{number}-{i}", "Training", label, number) for i in range(copies)]
        number += 1
        rows.append(manifest_row(f"Testing/{label}/{number}", "Testing", label, number))
    return rows


def test_no_group_is_cut() -> None:
    subsets: dict[int, set[str]] = {}
    for row in split(manifest(), SplitRule()):
        subsets.setdefault(row.group, set()).add(row.subset)
    assert all(len(found) == 1 for found in subsets.values())


def test_every_label_gives_the_same_share_of_groups() -> None:
    counts = count(split(manifest(50), SplitRule(validation=0.1, holdout=0.2)))
    for label in LABELS:
        assert [counts[subset][label]["groups"] for subset in ("train", "validation", "holdout", "test")] == [
            35,
            5,
            10,
            1,
        ]


def test_the_same_seed_gives_the_same_split_whatever_the_order_of_rows() -> None:
    forward, backward = split(manifest(), SplitRule(seed=7)), split(manifest()[::-1], SplitRule(seed=7))
    assert {row.name: row.subset for row in forward} == {row.name: row.subset for row in backward}


def test_another_seed_gives_another_split() -> None:
    assert split(manifest(), SplitRule(seed=7)) != split(manifest(), SplitRule(seed=8))


def test_testing_images_are_test_and_unreadable_ones_are_left_out() -> None:
    rows = manifest()
    rows[0] = replace(rows[0], error="damaged")
    result = split(rows, SplitRule())
    assert rows[0].name not in {row.name for row in result}
    assert {row.subset for row in result if row.name.startswith("Testing/")} == {"test"}


def test_too_few_groups_are_refused_with_the_label() -> None:
    with pytest.raises(DatasetError, match="glioma has 2 groups"):
        split(manifest(2), SplitRule())


@pytest.mark.parametrize(("validation", "holdout"), [(0.5, 0.5), (0.0, 0.1), (0.1, -0.1)])
def test_shares_that_leave_nothing_to_train_on_are_refused(validation: float, holdout: float) -> None:
    with pytest.raises(DatasetError, match="must be positive and sum to less than 1"):
        SplitRule(validation=validation, holdout=holdout)


def test_a_split_is_written_with_its_hash_and_read_back(tmp_path: Path) -> None:
    rows = split(manifest(), SplitRule())
    sha256 = write_split(tmp_path, rows, SplitRule(), "f" * 64)
    facts = json.loads((tmp_path / "split.json").read_text())
    assert facts["sha256"] == sha256
    assert facts["manifest_sha256"] == "f" * 64
    assert read_split(tmp_path) == rows
