from brainmri.errors import ImageUnreadable
from brainmri.model.contract import NOTICE
from brainmri.report.document import Entry
from brainmri.report.html import html
from tests.report.reports import entry, many, png, prediction, report
from tests.report.tags import Tags


def read(document: str) -> Tags:
    tags = Tags()
    tags.feed(document)
    return tags


def test_one_image_is_told_in_words_with_its_picture_and_every_probability() -> None:
    tags = read(html(report([entry("scan.png", "glioma")])))
    for text in (NOTICE, "scan.png", "Most like a glioma; 94 % sure.", "94.0 %", "2.0 %", "brain_mri_xception 1.2.3"):
        assert text in tags.text
    assert [link[:22] for link in tags.links] == ["data:image/png;base64,"]
    assert tags.tags.count("li") == 4


def test_an_image_without_an_answer_is_told_why() -> None:
    tags = read(html(report([Entry("bad.png", ImageUnreadable("The image is truncated."), None)])))
    assert "No answer" in tags.text
    assert "The image is truncated." in tags.text
    assert tags.links == []


def test_several_images_are_a_table_with_totals_mistakes_and_figures() -> None:
    told = many()
    tags = read(html(told))
    assert told.totals == [("Glioma", 10), ("Meningioma", 10), ("No tumour", 9), ("Pituitary tumour", 9), ("Unsure", 1),
                           ("No answer", 1)]  # fmt: skip
    assert [one.name for one in told.entries if one.mistaken] == ["glioma/mistaken <b>.png"]
    assert told.quality is not None
    assert (told.quality.images, told.quality.confusion[0]) == (39, [11, 1, 0, 0])
    # Every image but the one that nothing draws, and the mistake once more.
    assert tags.tags.count("img") == 40
    assert tags.tags.count("svg") == 4
    for text in ("Mistakes", "true class", "ROC curves", "The image is truncated <i>.", "glioma/mistaken <b>.png"):
        assert text in tags.text


def test_a_report_holds_no_script_and_loads_nothing() -> None:
    tags = read(html(many()))
    assert not {"script", "link", "iframe", "b", "i"} & set(tags.tags)
    assert {link.partition(",")[0] for link in tags.links} == {"data:image/png;base64"}


def test_without_labels_there_are_no_figures_and_without_known_ones_it_says_so() -> None:
    plain = read(html(report([entry("a.png", "glioma"), entry("b.png", "notumor")])))
    assert "svg" not in plain.tags
    assert "Against the names" not in plain.text
    unknown = read(html(report([entry("a.png", "glioma"), entry("b.png", "notumor")], labelled=True)))
    assert "No answered image lies in a folder that is named after a class" in unknown.text


def test_an_unsure_answer_is_no_mistake() -> None:
    assert not entry("a.png", "glioma", "notumor", 0.4, "unsure").mistaken
    assert entry("a.png", "glioma", "notumor").mistaken
    assert not entry("a.png", "glioma").mistaken


def test_a_heat_map_gets_a_column() -> None:
    mapped = Entry("a.png", prediction("glioma"), png(1), png(2))
    assert "Heat map" in read(html(report([mapped, entry("b.png", "glioma")]))).text
    assert "Heat map" not in read(html(report([entry("a.png", "glioma"), entry("b.png", "glioma")]))).text
