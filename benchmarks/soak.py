"""Mixed load for half an hour: memory stays where it was, and the counters say what was sent.

python -m benchmarks.soak --minutes 30
"""

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Annotated

import typer

from benchmarks.counters import Route, answered_images, compare, images_seen, requests
from benchmarks.load import GRACE_S, load_process
from benchmarks.messages import INFER, batch_upload, grpc_tensor, rest_tensor, upload
from benchmarks.options import DEFAULT_BUNDLE, BundleFolder, Side, WriteTo
from benchmarks.pictures import damaged, pictures
from benchmarks.reference import Reference, ReferenceProcess, reference_process, sure
from benchmarks.report import DEFAULT_FOLDER, Report, table, target
from benchmarks.server import Server, serve
from benchmarks.traffic import ClosedLoop, Flow, Item, Load, Manner, OpenLoop, Reader
from benchmarks.watch import Sample, watch

CAPACITY_S = 10.0
EVERY_S = 10.0
BATCH = 4
MODEL = "brain_mri"
REFUSAL = "image_unreadable"

_UPLOAD = Route("/predict", "http")
ROUTES = {
    "upload": _UPLOAD,
    "batch": Route("/predict_batch", "http"),
    "REST tensor": Route("/v2/models/{name}/infer", "open_inference_rest"),
    "gRPC tensor": Route(INFER.lstrip("/"), "grpc"),
    "corrupt": _UPLOAD,
    "slow": _UPLOAD,
    "leaves": _UPLOAD,
}
"""Where each flow goes."""


def main(
    minutes: Annotated[float, typer.Option(min=0.5, max=240, help="Length of the load.")] = 30,
    share: Annotated[float, typer.Option(min=0.05, max=0.9, help="Images a second, as a share of the capacity.")] = 0.4,
    side: Side = 224,
    count: Annotated[int, typer.Option(min=8, max=1000, help="How many different images.")] = 64,
    bundle: BundleFolder = DEFAULT_BUNDLE,
    output: WriteTo = DEFAULT_FOLDER / "soak",
) -> None:
    """Send everything that clients send, at a moderate rate, and watch memory and counters."""
    source, images = pictures(count, side)
    with reference_process(bundle) as reference:
        items = make_items(images, reference)
    seconds = minutes * 60
    with load_process() as load, serve(bundle.parent) as server:
        first = Flow("capacity", server.http_port, items["upload"], ClosedLoop(32))
        capacity = load.run([first], 2 + CAPACITY_S).records[0].rate_per_s(2, 2 + CAPACITY_S)
        before = server.get("/metrics")
        flows = mixed(server, items, share * capacity)
        seen, samples = watch(server, load.start(flows, seconds), EVERY_S, seconds + GRACE_S + 60)
        after = server.get("/metrics")
    setting = {
        "bundle": bundle.name,
        "images": f"{len(items['upload'])} {source}",
        "load": f"{minutes:g} min at {share:g} of the capacity, {capacity:.1f} images/s",
    }
    report = Report("soak", setting)
    _tell_flows(report, flows, seen)
    _tell_counters(report, flows, seen, before, after)
    _tell_memory(report, samples, seconds)
    report.publish(output)


def make_items(images: Sequence[bytes], reference: ReferenceProcess) -> dict[str, list[Item]]:
    """Returns the requests of each flow, with the answers that are right."""
    answered = sure(images, reference.run(Reference.predict, images))
    files = [image for image, _ in answered]
    verdicts = [answer.verdict for _, answer in answered]
    # The tensor interfaces tell probabilities, whatever the verdict is.
    labels = [max(answer.probabilities, key=answer.probabilities.__getitem__) for _, answer in answered]
    tensors = list(zip(reference.run(Reference.tensors, files), labels, strict=True))
    uploads = [Item(upload(file), verdict) for file, verdict in zip(files, verdicts, strict=True)]
    bad = damaged(files[:4])
    batches = [
        Item(
            batch_upload([*files[n : n + BATCH - 1], bad[0]]), ",".join([*verdicts[n : n + BATCH - 1], REFUSAL]), BATCH
        )
        for n in range(0, len(files) - BATCH + 1, BATCH - 1)
    ]
    return {
        "upload": uploads,
        "batch": batches,
        "REST tensor": [Item(rest_tensor(MODEL, tensor[None]), label) for tensor, label in tensors],
        "gRPC tensor": [Item(grpc_tensor(MODEL, tensor[None]), label) for tensor, label in tensors],
        "corrupt": [Item(upload(file), REFUSAL, 0) for file in bad],
        "slow": uploads,
        "leaves": uploads,
    }


def mixed(server: Server, items: dict[str, list[Item]], images_per_s: float) -> list[Flow]:
    """Returns the flows that carry so many images a second, and few rude clients beside them."""
    http, grpc = server.http_port, server.grpc_port

    def flow(
        name: str,
        rate_per_s: float,
        port: int = http,
        reader: Reader = "verdict",
        method: str = "",
        manner: Manner = "whole",
    ) -> Flow:
        schedule = OpenLoop(rate_per_s, seed=list(ROUTES).index(name))
        return Flow(name, port, items[name], schedule, reader, method, manner)

    return [
        flow("upload", 0.4 * images_per_s),
        flow("batch", 0.2 * images_per_s / BATCH),
        flow("REST tensor", 0.2 * images_per_s, reader="rest_probabilities"),
        flow("gRPC tensor", 0.2 * images_per_s, grpc, "grpc_probabilities", INFER),
        flow("corrupt", 0.5),
        flow("slow", 0.3, manner="slow"),
        flow("leaves", 0.5, manner="leave"),
    ]


def _tell_flows(report: Report, flows: Sequence[Flow], load: Load) -> None:
    rows, wrong = [], 0
    for flow, record in zip(flows, load.records, strict=True):
        # Who left cannot have an answer.
        unlike = 0 if flow.manner == "leave" else len(record.wrong(flow.items))
        wrong += unlike
        latency = [f"{record.latency_ms(percent):.1f}" for percent in (50, 95, 99)]
        rows.append([flow.name, str(record.statuses()), *latency, str(unlike), str(record.unsent)])
    report.add("## Answers")
    report.add(*table(["flow", "by status", "p50 ms", "p95 ms", "p99 ms", "not the right answer", "not sent"], rows))
    report.add(
        *table(["figure", "asked", "value", ""], [target("answers that are not the right one", wrong, at_most=0)])
    )
    report.numbers["statuses"] = {record.flow: record.statuses() for record in load.records}
    report.numbers["wrong"] = wrong


def _tell_counters(report: Report, flows: Sequence[Flow], load: Load, before: str, after: str) -> None:
    differences = compare(ROUTES, load.records, requests(before), requests(after))
    left = sum(one.left for one in differences if one.key[2] == "2xx")
    images = images_seen(flows, load.records, REFUSAL)
    counted = answered_images(after) - answered_images(before)
    report.add("## Counters of /metrics")
    report.add(
        *table(
            ["route", "protocol", "class", "seen by clients", "counted", "clients that left"],
            [[*one.key, str(one.seen), str(one.counted), str(one.left)] for one in differences],
        )
    )
    report.add(f"Images with an answer: {images} seen by clients, {counted} counted, {left} clients left.")
    unexplained = sum(not one.explained for one in differences) + (not images <= counted <= images + left)
    report.add(
        *table(
            ["figure", "asked", "value", ""],
            [target("counters that differ from what was seen", unexplained, at_most=0)],
        )
    )
    report.numbers["counters"] = [asdict(one) for one in differences]
    report.numbers["images"] = {"seen": images, "counted": counted, "left": left}


def _tell_memory(report: Report, samples: Sequence[Sample], seconds: float) -> None:
    early_s = min(300.0, seconds / 3)
    early, late = around(samples, early_s), around(samples, seconds)
    minute = f"{early_s / 60:.2g}"
    report.add("## Memory")
    report.add(f"MiB at minute {minute}: {early:.1f}; at the end: {late:.1f}; every tenth reading:")
    report.add(
        *table(["minute", "MiB"], [[f"{one.at_s / 60:.1f}", f"{one.resident_mib:.1f}"] for one in samples[::10]])
    )
    report.add(
        *table(
            ["figure", "asked", "value", ""],
            [target(f"memory at the end / at minute {minute}", late / early, at_most=1.05)],
        )
    )
    report.numbers["memory"] = [asdict(sample) for sample in samples]


def around(samples: Sequence[Sample], seconds: float, within_s: float = 60) -> float:
    """Returns the median memory of the readings near a time, in MiB."""
    return median(one.resident_mib for one in samples if abs(one.at_s - seconds) <= within_s)


if __name__ == "__main__":
    typer.run(main)
