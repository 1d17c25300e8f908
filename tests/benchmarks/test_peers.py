import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.answers import READERS
from benchmarks.peers import network
from benchmarks.peers.plot import plot
from benchmarks.peers.results import REFERENCE, Load, Results, Row
from benchmarks.peers.systems import OURS, PEERS, WIRES, System
from benchmarks.peers.tables import add_tables, ratio_to_reference, targets
from benchmarks.peers.turns import rows
from benchmarks.report import Report
from brainmri.imaging import decode, to_tensor


def jpeg(width: int, height: int, mode: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width) if mode == "L" else (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, "JPEG")
    return file.getvalue()


def row(system: str, runtime: str, number: int, images_per_s: float, p50_ms: float = 10, **named: float) -> Row:
    loads = {f"{wire}, {n}": Load(images_per_s, p50_ms, p50_ms, 0, 0.0) for wire in WIRES for n in (1, 8, 32)}
    return Row(system, runtime, number, loads, named.get("ready_s", 3), named.get("resident_mib", 500))


MEASURED = [
    row(REFERENCE, "openvino", 0, 100),
    row(REFERENCE, "openvino", 1, 50),
    row(OURS.name, "openvino", 0, 90),
    row(OURS.name, "openvino", 1, 45),
    row("Other", "openvino", 0, 60),
    row("Other", "openvino", 1, 30),
    row("Other", "tensorflow", 0, 20, p50_ms=40),
    Row("Broken", "tensorflow", 0, error="It ended with 1.\na long log"),
]


@pytest.mark.parametrize(("width", "height", "mode"), [(224, 224, "L"), (512, 300, "RGB"), (100, 299, "L")])
def test_peers_see_the_tensors_that_we_see(width: int, height: int, mode: str) -> None:
    image = jpeg(width, height, mode)
    np.testing.assert_array_equal(network.read(image), to_tensor(decode(image)))


def test_a_label_is_a_value_and_never_a_key() -> None:
    body = b'{"probabilities":{"glioma": 0.1,"meningioma" :0.9},"label":"meningioma"}'
    assert READERS["label"](body) == "meningioma"
    assert READERS["label"](b'{"outputs":[{"name":"label","data":["pituitary"]}]}') == "pituitary"
    assert READERS["label"](b'{"error":"none"}') == ""


@pytest.mark.parametrize("system", [OURS, *PEERS], ids=lambda system: system.name)
def test_every_system_gets_whole_requests(system: System) -> None:
    file, tensor = b"\xff\xd8 file", np.full((299, 299, 3), 7, np.uint8)
    for wire in WIRES:
        endpoint = system.endpoint(wire)
        item = endpoint.item(file, tensor, "glioma")
        assert item.expected == "glioma"
        if not endpoint.method:
            head, _, body = item.payload.partition(b"\r\n\r\n")
            assert head.startswith(b"POST /")
            assert f"Content-Length: {len(body)}\r\n".encode() in head + b"\r\n"


def test_every_peer_has_a_server() -> None:
    folder = Path(network.__file__).parent
    assert {system.module for system in PEERS} == {path.stem for path in folder.glob("*_server.py")}


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    results = Results(tmp_path / "new" / "peers.jsonl")
    assert results.rows() == []
    results.add(Row("Other", "tensorflow", 0, error="not ready"))
    for one in MEASURED[:3]:
        results.add(one)
    again = row("Other", "tensorflow", 0, 20)
    results.add(again)
    # What failed is measured again, and the later row counts.
    assert Results(tmp_path / "new" / "peers.jsonl").rows() == [again, *MEASURED[:3]]


def test_ratios_never_mix_two_rounds() -> None:
    spread = ratio_to_reference(MEASURED, "Other", "openvino", "JPEG, 32")
    assert (spread.median, spread.low, spread.high) == pytest.approx((0.6, 0.6, 0.6))


def test_what_was_asked_for_is_judged() -> None:
    found = {name: (value, verdict) for name, _, value, verdict in targets(MEASURED)}
    assert found["JPEG, 32 clients: images/s / the fastest peer on TensorFlow"] == ("3.38", "missed")
    assert found["JPEG, 32 clients: images/s / the fastest peer on the same runtime"] == ("1.5", "reached")
    assert found["JPEG, one client: median latency / the best on TensorFlow"] == ("0.25", "reached")
    assert found["resident memory, MiB"] == ("500", "reached")


def test_tables_and_plot_show_every_system(tmp_path: Path) -> None:
    report = Report("peers", {})
    add_tables(report, MEASURED)
    text = "\n".join(report.lines)
    assert text.count("| Other |") == 6
    assert "Broken on tensorflow could not be measured: It ended with 1." in text
    assert "a long log" not in text
    plot(MEASURED, tmp_path / "peers.png")
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")


def test_turns_compare_images_a_second_of_many_clients_and_the_latency_of_one() -> None:
    seen = {
        ("ours", "JPEG, 32"): [Load(300, 1, 1, 0, 0), Load(200, 1, 1, 0, 0), Load(100, 1, 1, 1, 0)],
        ("peer", "JPEG, 32"): [Load(100, 1, 1, 0, 0), Load(50, 1, 1, 0, 0), Load(50, 1, 1, 2, 0)],
        ("ours", "JPEG, 1"): [Load(9, 10, 1, 0, 0)],
        ("peer", "JPEG, 1"): [Load(9, 40, 1, 0, 0)],
    }
    assert rows(seen, "ours") == [
        ["JPEG, 1", "ours", "10.0 (10.0 to 10.0) ms", "", "0"],
        ["JPEG, 1", "peer", "40.0 (40.0 to 40.0) ms", "0.250 (0.250 to 0.250)", "0"],
        ["JPEG, 32", "ours", "200.0 (100.0 to 300.0) images/s", "", "1"],
        ["JPEG, 32", "peer", "50.0 (50.0 to 100.0) images/s", "3.000 (2.000 to 4.000)", "2"],
    ]
