"""Images a second and latency of the real service, against the same runtime in process, in the same rounds.

python -m benchmarks.end_to_end --rounds 7 --seconds 3
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from benchmarks.load import LoadProcess, load_process
from benchmarks.messages import INFER, grpc_tensor, rest_tensor, upload
from benchmarks.options import DEFAULT_BUNDLE, BundleFolder, Count, Side, WriteTo
from benchmarks.pictures import pictures
from benchmarks.reference import Reference, ReferenceProcess, reference_process
from benchmarks.report import DEFAULT_FOLDER
from benchmarks.rounds import ALONE, ALONE_NETWORK, TENSORS, UPLOADS, Rounds, report
from benchmarks.server import Server, serve
from benchmarks.traffic import ClosedLoop, Flow, Item

CLIENTS = (1, 8, 32)
LEAD_S = 0.5
"""The first part of each load is not counted, in seconds."""


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


def main(
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Rounds; each measures everything once.")] = 7,
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Length of one measurement.")] = 3,
    side: Side = 224,
    count: Count = 64,
    bundle: BundleFolder = DEFAULT_BUNDLE,
    output: WriteTo = DEFAULT_FOLDER / "end_to_end",
) -> None:
    """Measure the service against the same runtime in process."""
    source, images = pictures(count, side)
    with reference_process(bundle) as reference, load_process() as load, serve(bundle.parent) as server:
        found = kinds(images, reference, server)
        steps = {**_references(images, seconds, reference), **_services(found, seconds, load, server)}
        measured = Rounds()
        typer.echo("The service is ready; the rounds begin.", err=True)
        for number in range(rounds):
            # Another order each round, so that no measurement always follows the same one.
            for name in random.Random(number).sample(list(steps), len(steps)):  # noqa: S311 -- no secret
                steps[name](measured)
            typer.echo(f"round {number + 1} of {rounds}", err=True)
    services = {_name(kind, clients): kind.reference for kind in found for clients in CLIENTS}
    setting = {"bundle": bundle.name, "images": f"{count} {source}", "rounds": f"{rounds} of {seconds:g} s"}
    result = report(measured, services, setting)
    result.publish(output)


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


def _references(
    images: list[bytes], seconds: float, reference: ReferenceProcess
) -> Mapping[str, Callable[[Rounds], None]]:
    def uploads(rounds: Rounds) -> None:
        pace = reference.run(Reference.uploads, images, seconds)
        rounds.add(UPLOADS, images_per_s=pace.images_per_s, cpu_ms=pace.cpu_ms_per_image)

    def tensors(rounds: Rounds) -> None:
        pace = reference.run(Reference.tensor_batches, images, seconds)
        rounds.add(TENSORS, images_per_s=pace.images_per_s, cpu_ms=pace.cpu_ms_per_image)

    def alone(rounds: Rounds) -> None:
        one = reference.run(Reference.one_by_one, images, seconds)
        rounds.add(ALONE, images_per_s=1e3 / one.total_ms, latency_ms=one.total_ms)
        rounds.add(ALONE_NETWORK, latency_ms=one.inference_ms)

    return {UPLOADS: uploads, TENSORS: tensors, ALONE: alone}


def _services(
    found: Sequence[Kind], seconds: float, load: LoadProcess, server: Server
) -> Mapping[str, Callable[[Rounds], None]]:
    end_s = LEAD_S + seconds

    def step(kind: Kind, clients: int) -> Callable[[Rounds], None]:
        flow, name = kind.flow(clients), _name(kind, clients)

        def run(rounds: Rounds) -> None:
            before, loop_before = server.cpu_s(), server.loop_cpu_s()
            seen = load.run([flow], end_s)
            record, requests = seen.records[0], len(seen.records[0].exchanges)
            if not all(one.good for one in record.exchanges):
                raise SystemExit(f"{name}: not every request was answered: {record.statuses()}.")
            rounds.add(
                name,
                images_per_s=record.rate_per_s(LEAD_S, end_s),
                latency_ms=record.latency_ms(50, LEAD_S),
                p95_ms=record.latency_ms(95, LEAD_S),
                cpu_ms=(server.cpu_s() - before) * 1e3 / requests,
                loop_cpu_ms=(server.loop_cpu_s() - loop_before) * 1e3 / requests,
                generator_cpu_ms=seen.cpu_ms_per_request,
                resident_mib=server.resident_mib(),
                unlike=len(record.wrong(flow.items)) / requests,
            )

        return run

    return {_name(kind, clients): step(kind, clients) for kind in found for clients in CLIENTS}


def _name(kind: Kind, clients: int) -> str:
    return f"{kind.name}, {clients}"


if __name__ == "__main__":
    typer.run(main)
