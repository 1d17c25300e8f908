"""The one traveller: what a request asks of a model, made at the interface and passed down to the queue."""

from dataclasses import dataclass

from brainmri.batching.admission import Admitted
from brainmri.batching.deadline import Deadline, Priority
from brainmri.imaging import DEFAULT_OPTIONS, ReadOptions
from brainmri.model.explanation import Explain
from brainmri.model.predictor import Predictor
from brainmri.observe.request_record import RequestRecord


@dataclass(frozen=True, slots=True)
class Call:
    """One request for predictions, whichever interface it came by.

    Attributes:
        predictor: Which model answers.
        deadline: When the caller stops waiting, the upload included.
        priority: Whether it goes before or after other work.
        record: What is noted about the request; None for one that no client sent.
        options: Which frame of each file, and whether another part of the body is answered for.
        admitted: What the request holds; None for one that no client sent.
        explain: Asks for a heat map of each image beside its prediction.
        warm_up: Sent by the server itself while it starts; answered before the engine is ready.
    """

    predictor: Predictor
    deadline: Deadline
    priority: Priority = Priority.INTERACTIVE
    record: RequestRecord | None = None
    options: ReadOptions = DEFAULT_OPTIONS
    admitted: Admitted | None = None
    explain: Explain | None = None
    warm_up: bool = False
