"""One round of one system: started, loaded with files and tensors from 1, 8 and 32 clients, and stopped."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import LoadProcess
from benchmarks.peers.launch import Running, running_system
from benchmarks.peers.results import REFERENCE, Load, Row
from benchmarks.peers.systems import WIRES, System, Wire
from benchmarks.reference import Reference, ReferenceProcess
from benchmarks.traffic import ClosedLoop, Flow, Item

CLIENTS = (1, 8, 32)
_LEAD_S = 0.5
"""The first part of each load is not counted, in seconds."""


@dataclass(frozen=True)
class Setting:
    """What is sent, and to what.

    Attributes:
        bundle: Folder of the released bundle.
        threads: CPU threads of the network.
        seconds: Length of one load.
        files: JPEG files.
        items: Kind of input to the requests for each system, by its name.
    """

    bundle: Path
    threads: int
    seconds: float
    files: Sequence[bytes]
    items: dict[tuple[str, Wire], list[Item]]


def requests(
    systems: Sequence[System], files: Sequence[bytes], reference: ReferenceProcess
) -> dict[tuple[str, Wire], list[Item]]:
    """Returns every request with the right answer, made beforehand."""
    answers = reference.run(Reference.predict, files)
    tensors = reference.run(Reference.tensors, files)
    labels = [max(answer.probabilities, key=answer.probabilities.__getitem__) for answer in answers]
    triples = list(zip(files, tensors, labels, strict=True))
    return {
        (system.name, wire): [system.endpoint(wire).item(*triple) for triple in triples]
        for system in systems
        for wire in WIRES
    }


def measure_reference(reference: ReferenceProcess, setting: Setting, number: int) -> Row:
    """Runs the network in process, with the settings of our service: the best that this machine can reach."""
    pace = reference.run(Reference.uploads, setting.files, setting.seconds)
    network = reference.run(Reference.tensor_batches, setting.files, setting.seconds)
    alone = reference.run(Reference.one_by_one, setting.files, setting.seconds)
    loads = {
        "JPEG, 32": Load(pace.images_per_s, 0, 0, 0, 0),
        "tensor, 32": Load(network.images_per_s, 0, 0, 0, 0),
        "JPEG, 1": Load(1e3 / alone.total_ms, alone.total_ms, alone.total_ms, 0, 0),
        "tensor, 1": Load(1e3 / alone.inference_ms, alone.inference_ms, alone.inference_ms, 0, 0),
    }
    return Row(REFERENCE, "openvino", number, loads)


def measure_system(system: System, runtime: str, number: int, setting: Setting, load: LoadProcess) -> Row:
    """Starts a system, puts every load on it, in another order each round, and stops it.

    A system that does not start gives a row with the reason.
    """
    try:
        with running_system(system, runtime, setting.bundle, setting.threads) as server:
            loads = [(wire, clients) for wire in WIRES for clients in CLIENTS]
            seen: dict[str, Load] = {}
            for wire, clients in random.Random(number).sample(loads, len(loads)):  # noqa: S311 -- no secret
                seen[f"{wire}, {clients}"] = load_once(system, wire, clients, setting, server, load)
            return Row(system.name, runtime, number, seen, server.ready_s, server.resident_mib())
    except RuntimeError as error:
        return Row(system.name, runtime, number, error=str(error))


def load_once(
    system: System, wire: Wire, clients: int, setting: Setting, server: Running, process: LoadProcess
) -> Load:
    """Puts one load on a running system: so many clients, each of which sends its next request after an answer."""
    endpoint, items = system.endpoint(wire), setting.items[system.name, wire]
    port = server.grpc_port if endpoint.method else server.http_port
    flow = Flow(wire, port, items, ClosedLoop(clients), endpoint.reader, endpoint.method)
    end_s = _LEAD_S + setting.seconds
    record = process.run([flow], end_s).records[0]
    good = [one for one in record.exchanges if one.good]
    return Load(
        images_per_s=record.rate_per_s(_LEAD_S, end_s),
        p50_ms=record.latency_ms(50, _LEAD_S),
        p95_ms=record.latency_ms(95, _LEAD_S),
        failed=len(record.exchanges) - len(good),
        unlike=sum(one.answer != items[one.item].expected for one in good) / max(1, len(good)),
    )
