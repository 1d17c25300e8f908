import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainmri.errors import DatasetError
from brainmri.model.contract import LABELS
from training.data.audit import ManifestRow
from training.data.split import SplitRow, SplitRule, count, read_split, require_apart, split, write_split

NO_BOX = (0.0, 0.0, 0.0, 0.0)


def row(name: str, label: str, duplicates: int, **known: object) -> ManifestRow:
    facts = {"source": "nickparvar", "person": "", "group": "", "slice": "", "part": "unlisted", "given": "Training"}
    chosen = facts | {key: str(value) for key, value in known.items()}
    return ManifestRow(
        name,
        chosen["source"],
        label,
        chosen["person"],
        chosen["group"],
        chosen["slice"],
        False,
        chosen["part"],
        chosen["given"],
        *NO_BOX,
        "0" * 64,
        1,
        224,
        224,
        "L",
        duplicates,
        duplicates,
        "",
    )


def made(groups_per_label: int = 50) -> list[ManifestRow]:
    """Groups of one to six images for each label, without anything published about them."""
    rng = np.random.default_rng(0)
    rows, number = [], 0
    for label in LABELS:
        for _ in range(groups_per_label):
            number += 1
            rows += [row(f"{label}/{number}-{i}", label, number) for i in range(int(rng.integers(1, 7)))]
    return rows


def parts(rows: list[SplitRow]) -> dict[str, str]:
    return {row.name: row.part for row in rows}


def test_no_group_of_near_duplicates_is_cut() -> None:
    found: dict[str, set[str]] = {}
    for each in split(made(), SplitRule()):
        found.setdefault(each.unit, set()).add(each.part)
    assert len(found) == 200
    assert all(len(of) == 1 for of in found.values())


def test_no_person_is_cut_when_slices_mirrors_and_turns_are_all_different_files() -> None:
    rows = [
        row(f"{label}/{person}-{number}", label, 1000 * i + 10 * person + number, person=f"{label} {person}")
        for i, label in enumerate(LABELS)
        for person in range(10)
        for number in range(4)
    ]
    found: dict[str, set[str]] = {}
    for each in split(rows, SplitRule(validation=0.2, test=0.2)):
        found.setdefault(each.person, set()).add(each.part)
    assert len(found) == 40
    assert all(len(of) == 1 for of in found.values())


def test_what_is_published_decides_and_an_unknown_copy_follows_it_to_the_strictest_part() -> None:
    known = [
        row("a", "glioma", 1, part="train"),
        row("b", "glioma", 2, part="test", person="p"),
        row("c", "glioma", 3, part="validation", person="q"),
        row("copy of a", "glioma", 1),
        row("mirrored copy of b and c", "glioma", 2),
        row("another of p", "glioma", 9, person="p"),
    ]
    assert parts(split(known, SplitRule())) == {
        "a": "train",
        "b": "test",
        "c": "validation",
        "copy of a": "train",
        "mirrored copy of b and c": "test",
        "another of p": "test",
    }


def test_one_image_of_each_unit_is_tested_on_and_it_is_figshares_own() -> None:
    rows = [
        row("brain-mri/a", "glioma", 1, slice=7, person="p", part="test"),
        row("sources/z", "glioma", 2, slice=7, person="p", part="test", source="figshare", given=""),
        row("brain-mri/n2", "notumor", 3, group=5, part="test"),
        row("brain-mri/n1", "notumor", 3, group=5, part="test"),
    ]
    subsets = {each.name: each.subset for each in split(rows, SplitRule())}
    assert subsets == {"brain-mri/a": "", "sources/z": "test", "brain-mri/n2": "", "brain-mri/n1": "test"}


def test_tumours_of_unnamed_kind_are_external_and_all_of_them_count() -> None:
    rows = [
        row(f"{part} {number}", "tumour", 10 * i + number, group=f"{i}", part=part, source="br35h", given="")
        for i, part in enumerate(("train", "validation", "test"))
        for number in range(2)
    ]
    assert {each.subset for each in split(rows[:2], SplitRule())} == {"train"}
    assert [each.subset for each in split(rows[2:], SplitRule())] == ["external_validation"] * 2 + ["external"] * 2


def test_a_split_that_cuts_a_person_is_refused_with_the_name() -> None:
    rows = [row("a", "glioma", 1, person="p", part="train"), row("b", "glioma", 2, person="p", part="test")]
    with pytest.raises(DatasetError, match="The person 'p' is in train and in test"):
        split(rows, SplitRule())


def test_the_generated_sources_keep_persons_mirrors_and_turns_apart(manifest: list[ManifestRow]) -> None:
    rows = split(manifest, SplitRule(validation=0.2, test=0.2))
    require_apart(rows)
    of = {each.name: each for each in rows}
    mirrored, original = (
        of["brain-mri/Training/meningioma/mirrored.png"],
        of["brain-mri/Training/meningioma/Tr-me_0002.png"],
    )
    assert mirrored.part == original.part
    assert {each.part for each in rows if each.source == "figshare"} == {"train", "validation", "test"}
    assert sum(each.leak for each in rows) == 2


def test_every_label_gives_the_same_share_of_groups() -> None:
    counts = count(split(made(50), SplitRule(validation=0.1, test=0.2)))
    for label in LABELS:
        assert [counts[subset][label]["units"] for subset in ("train", "validation", "test")] == [35, 5, 10]


def test_the_same_seed_gives_the_same_split_whatever_the_order_of_rows() -> None:
    forward, backward = split(made(), SplitRule(seed=7)), split(made()[::-1], SplitRule(seed=7))
    assert parts(forward) == parts(backward)


def test_another_seed_gives_another_split() -> None:
    assert split(made(), SplitRule(seed=7)) != split(made(), SplitRule(seed=8))


def test_unreadable_images_are_left_out() -> None:
    rows = made()
    rows[0] = replace(rows[0], error="damaged")
    assert rows[0].name not in parts(split(rows, SplitRule()))


def test_too_few_groups_are_refused_with_the_label() -> None:
    with pytest.raises(DatasetError, match="glioma has 2 persons and groups"):
        split(made(2), SplitRule())


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (0.0, 0.1), (0.1, -0.1)])
def test_shares_that_leave_nothing_to_train_on_are_refused(validation: float, test: float) -> None:
    with pytest.raises(DatasetError, match="must be positive and sum to less than 1"):
        SplitRule(validation=validation, test=test)


def test_a_split_is_written_with_its_hash_and_read_back(tmp_path: Path) -> None:
    rows = split(made(), SplitRule())
    sha256 = write_split(tmp_path, rows, SplitRule(), "f" * 64)
    facts = json.loads((tmp_path / "split.json").read_text())
    assert facts["sha256"] == sha256
    assert facts["manifest_sha256"] == "f" * 64
    assert read_split(tmp_path) == rows
