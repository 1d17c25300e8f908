from typer.testing import CliRunner

from brainmri.commands.bench import Measured, Setting, candidates, measure, recommend
from brainmri.commands.cli import app
from brainmri.model.bundle import Bundle


def measured(streams: int, size: int, images_per_s: float, batch_ms: float) -> Measured:
    return Measured(Setting("openvino-int8", 2, streams, size), images_per_s, batch_ms, alone_ms=5.0)


def test_the_soonest_answer_wins_among_nearly_equal_rates() -> None:
    found = [measured(1, 8, 100, 80), measured(2, 4, 98, 40), measured(1, 1, 60, 15)]
    assert recommend(found) is found[1]


def test_a_faster_setting_wins_over_a_sooner_answer() -> None:
    found = [measured(1, 8, 100, 80), measured(2, 4, 90, 40)]
    assert recommend(found) is found[0]


def test_every_number_of_streams_and_batch_of_what_is_installed_is_a_candidate(tiny_bundle: Bundle) -> None:
    found = list(candidates(tiny_bundle, cpus=4))
    assert {setting.runtime for setting in found} == {"openvino-f32", "openvino-bf16"}
    assert {setting.streams for setting in found} == {1, 2, 4}
    assert {setting.max_batch_size for setting in found} == {1, 4, 8, 16}
    assert {setting.threads for setting in found} == {4}


def test_a_setting_is_measured(tiny_bundle: Bundle) -> None:
    result = measure(tiny_bundle, Setting("openvino-f32", 2, 2, 4), seconds=0.3)
    assert result.alone_ms > 0
    # Four images a batch, two streams: what was counted fits what a batch takes.
    assert 0.2 < result.images_per_s * result.batch_ms / 1e3 / 8 < 2


def test_the_command_prints_settings(tiny_bundle: Bundle) -> None:
    arguments = ["bench", "--bundle", str(tiny_bundle.folder), "--seconds", "1"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "export BRAINMRI_RUNTIME=openvino-" in result.output
    assert "never a diagnosis" in result.output
