"""Images a second and latency of the real service, against the same runtime in process, in the same rounds.

python -m benchmarks.end_to_end --rounds 7 --seconds 3
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.load import LoadProcess, load_process
from benchmarks.messages import INFER, grpc_tensor, rest_tensor, upload
from benchmarks.pictures import pictures
from benchmarks.reference import Reference, ReferenceProcess, reference_process
from benchmarks.report import DEFAULT_FOLDER, Report, table, target
from benchmarks.server import ROOT, Server, serve
from benchmarks.summary import Spread, ratios
from benchmarks.traffic import ClosedLoop, Flow, Item

CLIENTS = (1, 8, 32)
LEAD_S = 0.5
"""The first part of each load is not counted, in seconds."""

_EXPLANATION = """Medians of the rounds, their range in brackets; every ratio is taken within its round. CPU ms/image:
all threads of the server, or of the reference. The generator shares the CPUs with the server. Other label: share of the
answers whose class is not the one that the reference gives to the image alone; int8 in larger batches may differ."""

UPLOADS, TENSORS, ALONE = "in process, decode and network", "in process, network only", "in process, one by one"


@dataclass(frozen=True)
class Kind:
    """One interface under load.

    Attributes:
        name: Of the interface.
        reference: The measurement in process that it is compared with.
        flow: Makes its traffic from the number of clients.
    """

    name: str
    reference: str
    flow: Callable[[int], Flow]


@dataclass
class Rounds:
    """Every number, by measurement; one value a round."""

    images_per_s: dict[str, list[float]] = field(default_factory=dict)
    latency_ms: dict[str, list[float]] = field(default_factory=dict)
    p95_ms: dict[str, list[float]] = field(default_factory=dict)
    server_cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    loop_cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    generator_cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    resident_mib: dict[str, list[float]] = field(default_factory=dict)
    unlike: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, **values: float) -> None:
        """Adds one round of a measurement."""
        for kind, value in values.items():
            getattr(self, kind).setdefault(name, []).append(value)


def main(
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Rounds; each measures everything once.")] = 7,
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Length of one measurement.")] = 3,
    side: Annotated[int, typer.Option(min=64, max=2048, help="Longer side of the JPEG files, in pixels.")] = 224,
    count: Annotated[int, typer.Option(min=4, max=1000, help="How many different images.")] = 64,
    bundle: Annotated[Path, typer.Option(help="The bundle to serve.")] = ROOT / "models" / "brain_mri_xception",
    output: Annotated[Path, typer.Option(help="Where to write, without suffix.")] = DEFAULT_FOLDER / "end_to_end",
) -> None:
    """Measure the service against the same runtime in process."""
    source, images = pictures(count, side)
    with reference_process(bundle) as reference, load_process() as load, serve(bundle.parent) as server:
        steps = _steps(images, seconds, reference, load, server)
        measured = Rounds()
        for number in range(rounds):
            # Another order each round, so that no measurement always follows the same one.
            for name in random.Random(number).sample(list(steps), len(steps)):  # noqa: S311 -- no secret
                steps[name](measured)
            typer.echo(f"round {number + 1} of {rounds}", err=True)
    setting = {"bundle": bundle.name, "images": f"{count} {source}", "rounds": f"{rounds} of {seconds:g} s"}
    report = _report(measured, setting)
    typer.echo(report.markdown())
    typer.echo(f"Written: {' '.join(map(str, report.write(output)))}", err=True)


def kinds(images: list[bytes], reference: ReferenceProcess, server: Server) -> list[Kind]:
    """Returns the interfaces to measure, with their requests and right answers."""
    answers = reference.run(Reference.predict, images)
    tensors = reference.run(Reference.tensors, images)
    files = [Item(upload(image), answer.verdict) for image, answer in zip(images, answers, strict=True)]
    tops = [max(answer.probabilities, key=answer.probabilities.__getitem__) for answer in answers]
    pairs = list(zip(tensors, tops, strict=True))
    rest = [Item(rest_tensor("brain_mri", tensor[None]), top) for tensor, top in pairs]
    messages = [Item(grpc_tensor("brain_mri", tensor[None]), top) for tensor, top in pairs]
    http, grpc = server.http_port, server.grpc_port
    return [
        Kind("HTTP JPEG", UPLOADS, lambda n: Flow("http", http, files, ClosedLoop(n))),
        Kind("REST V2 tensor", TENSORS, lambda n: Flow("rest", http, rest, ClosedLoop(n), "rest_probabilities")),
        Kind(
            "gRPC tensor", TENSORS, lambda n: Flow("grpc", grpc, messages, ClosedLoop(n), "grpc_probabilities", INFER)
        ),
    ]


def _steps(
    images: list[bytes], seconds: float, reference: ReferenceProcess, load: LoadProcess, server: Server
) -> Mapping[str, Callable[[Rounds], None]]:
    def uploads(rounds: Rounds) -> None:
        pace = reference.run(Reference.uploads, images, seconds)
        rounds.add(UPLOADS, images_per_s=pace.images_per_s, server_cpu_ms=pace.cpu_ms_per_image)

    def tensors(rounds: Rounds) -> None:
        pace = reference.run(Reference.tensor_batches, images, seconds)
        rounds.add(TENSORS, images_per_s=pace.images_per_s, server_cpu_ms=pace.cpu_ms_per_image)

    def alone(rounds: Rounds) -> None:
        one = reference.run(Reference.one_by_one, images, seconds)
        rounds.add(ALONE, images_per_s=1e3 / one.total_ms, latency_ms=one.total_ms)
        rounds.add(f"{ALONE}, network only", latency_ms=one.inference_ms)

    def step(kind: Kind, clients: int) -> Callable[[Rounds], None]:
        flow = kind.flow(clients)

        def run(rounds: Rounds) -> None:
            before, loop_before = server.cpu_s(), server.loop_cpu_s()
            seen = load.run([flow], seconds + LEAD_S)
            record, requests = seen.records[0], len(seen.records[0].exchanges)
            if not all(one.good for one in record.exchanges):
                raise SystemExit(f"{kind.name} with {clients} clients was not always answered: {record.statuses()}.")
            rounds.add(
                f"{kind.name}, {clients}",
                images_per_s=record.rate_per_s(LEAD_S, seconds + LEAD_S),
                latency_ms=record.latency_ms(50, LEAD_S),
                p95_ms=record.latency_ms(95, LEAD_S),
                server_cpu_ms=(server.cpu_s() - before) * 1e3 / requests,
                loop_cpu_ms=(server.loop_cpu_s() - loop_before) * 1e3 / requests,
                generator_cpu_ms=seen.cpu_ms_per_request,
                resident_mib=server.resident_mib(),
                unlike=len(record.wrong(flow.items)) / requests,
            )

        return run

    found = kinds(images, reference, server)
    services = {f"{kind.name}, {clients}": step(kind, clients) for kind in found for clients in CLIENTS}
    return {UPLOADS: uploads, TENSORS: tensors, ALONE: alone, **services}


def _report(measured: Rounds, setting: dict[str, str]) -> Report:
    report = Report("end_to_end", setting, asdict(measured))
    pace = measured.images_per_s

    def text(numbers: Mapping[str, list[float]], name: str, digits: int = 1) -> str:
        return Spread.of(numbers[name]).text(digits) if name in numbers else ""

    def ratio(name: str, reference: str) -> str:
        return Spread.of(ratios(pace[name], pace[reference])).text(3)

    report.add(
        *table(
            [
                "measurement",
                "images/s",
                "/ decode and network",
                "/ network only",
                "p50 ms",
                "p95 ms",
                "CPU ms/image",
                "of it the event loop",
                "generator CPU ms",
                "server MiB",
                "other label",
            ],
            [
                [
                    name,
                    text(pace, name),
                    ratio(name, UPLOADS),
                    ratio(name, TENSORS),
                    text(measured.latency_ms, name),
                    text(measured.p95_ms, name),
                    text(measured.server_cpu_ms, name, 2),
                    text(measured.loop_cpu_ms, name, 2),
                    text(measured.generator_cpu_ms, name, 2),
                    text(measured.resident_mib, name, 0),
                    text(measured.unlike, name, 4),
                ]
                for name in sorted(pace)
            ],
        )
    )
    report.add(_EXPLANATION)
    report.add(*table(["figure", "asked", "median", ""], _targets(measured)))
    return report


def _targets(measured: Rounds) -> list[list[str]]:
    pace, latency = measured.images_per_s, measured.latency_ms

    def ratio(name: str, reference: str) -> float:
        return Spread.of(ratios(pace[name], pace[reference])).median

    def beyond(name: str, reference: str) -> float:
        pairs = zip(latency[name], latency[reference], strict=True)
        return Spread.of([one - other for one, other in pairs]).median

    return [
        target("HTTP JPEG, 32 clients / decode and network in process", ratio("HTTP JPEG, 32", UPLOADS), at_least=0.92),
        target("gRPC tensor, 32 clients / network in process", ratio("gRPC tensor, 32", TENSORS), at_least=0.95),
        target("HTTP JPEG, one client: ms more than decode and network", beyond("HTTP JPEG, 1", ALONE), at_most=4),
        target(
            "gRPC tensor, one client: ms more than the network",
            beyond("gRPC tensor, 1", f"{ALONE}, network only"),
            at_most=4,
        ),
    ]


if __name__ == "__main__":
    typer.run(main)
