"""Locust's users: what each kind of client sends, and what counts as its answer."""

import random
import time
import uuid
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, ClassVar, cast

from gevent import GreenletExit
from locust import User, tag
from locust.env import Environment
from tritonclient.grpc import service_pb2  # noqa: F401 -- loaded before load is sent: it takes a second

from loadtests import tensors
from loadtests.clients import GrpcCaller, HttpCaller, Target
from loadtests.outcomes import Failed, NotAnswered, NotSent, Refused
from loadtests.pace import MOST_UNDER_WAY, ClosedLoop, OpenLoop, Pace
from loadtests.pictures import Picture, multipart
from loadtests.preflight import BOUNDARY, FORM, Known

REFUSED = "refused"
"""Type of a request in Locust's statistics that was refused with a time to come back: neither answer nor failure."""


class Caller(User):
    """What all users share: the pace, one exchange, and its report.

    Attributes:
        target: Where requests go; set when the test starts.
        known: What to expect; set when the test starts.
        ready: Whether they are set.
    """

    abstract = True
    target: ClassVar[Target]
    known: ClassVar[Known]
    ready: ClassVar[bool] = False

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        options = cast(Any, environment.parsed_options)
        self.batch_size: int = options.batch_size
        open_loop = options.loop == "open"
        self._pace: Pace = OpenLoop(options.rate_per_user) if open_loop else ClosedLoop(options.think_seconds)
        self._connections = MOST_UNDER_WAY if open_loop else 1

    def on_start(self) -> None:
        """Waits for the first arrival; to the end of the run if the service cannot be tested."""
        while not self.ready:
            self.wait()
        self.wait()

    def on_stop(self) -> None:
        """Waits for what is under way, then closes the connections."""
        self._pace.finish(self.target.timeout_s + 1)
        for name in ("http", "grpc"):
            if name in vars(self):
                vars(self)[name].close()

    def wait_time(self) -> float:
        """Returns the seconds until the next request."""
        return self._pace.wait_s() if self.ready else 1.0

    @cached_property
    def http(self) -> HttpCaller:
        """This user's HTTP client, made at its first request."""
        return HttpCaller(self.target, self._connections)

    @cached_property
    def grpc(self) -> GrpcCaller:
        """This user's gRPC client, made at its first request."""
        return GrpcCaller(self.target)

    def picture(self) -> Picture:
        """Returns one of the images."""
        return random.choice(self.known.pictures)  # noqa: S311 -- no secret

    def send(self, kind: str, call: Callable[[str], None], images: int = 1) -> None:
        """Sends one request at this user's pace and reports what became of it.

        Args:
            kind: Type and name in the statistics, such as `POST /predict`.
            call: Sends it with the given id and checks the answer; raises `Refused` or `Failed`.
            images: How many images the request carries.
        """
        if not self._pace.send(lambda due: self._exchange(kind, call, images, due)):
            self._report(kind, NotSent(f"{MOST_UNDER_WAY} requests of this user were under way"), 0, images)

    def _exchange(self, kind: str, call: Callable[[str], None], images: int, due: float) -> None:
        # Until it is known to be right: whatever else is raised must not count as an answer.
        outcome: Exception | None = NotAnswered("an error of the load generator; its log has it")
        try:
            call(uuid.uuid4().hex)
            outcome = None
        except (Refused, Failed) as error:
            outcome = error
        except GreenletExit:
            outcome = NotAnswered("no answer when the run ended")
            raise
        finally:
            self._report(kind, outcome, time.perf_counter() - due, images)

    def _report(self, kind: str, outcome: Exception | None, latency_s: float, images: int) -> None:
        request_type, _, name = kind.partition(" ")
        self.environment.events.request.fire(
            request_type=REFUSED if isinstance(outcome, Refused) else request_type,
            name=name,
            response_time=latency_s * 1e3,
            response_length=0,
            exception=None if isinstance(outcome, Refused) else outcome,
            context={"kind": kind, "images": images},
            start_time=time.time() - latency_s,
        )


@tag("http", "upload")
def upload(user: Caller) -> None:
    """One image file to `/predict`."""
    picture = user.picture()

    def call(request_id: str) -> None:
        reply = user.http.post("/predict", multipart("image", [picture], BOUNDARY), request_id, FORM)
        user.known.check_upload(picture, request_id, reply)

    user.send(KINDS[upload], call)


@tag("http", "batch")
def batch(user: Caller) -> None:
    """Several image files to `/predict_batch`."""
    pictures = [user.picture() for _ in range(user.batch_size)]

    def call(request_id: str) -> None:
        reply = user.http.post("/predict_batch", multipart("images", pictures, BOUNDARY), request_id, FORM)
        user.known.check_batch(pictures, request_id, reply)

    user.send(KINDS[batch], call, user.batch_size)


@tag("http", "tensor")
def rest_tensor(user: Caller) -> None:
    """One tensor by the Open Inference Protocol over REST."""
    picture, known = user.picture(), user.known

    def call(request_id: str) -> None:
        body, headers = tensors.rest_request(picture.tensor, request_id)
        reply = user.http.post(f"/v2/models/{known.serving_name}/infer", body, request_id, headers)
        version, probabilities = tensors.rest_answer(reply, request_id, known.labels)
        known.earlier.learn(f"{picture.name} as a tensor", version, probabilities)

    user.send(KINDS[rest_tensor], call)


@tag("grpc", "tensor")
def grpc_tensor(user: Caller) -> None:
    """One tensor by the Open Inference Protocol over gRPC."""
    picture, known = user.picture(), user.known

    def call(request_id: str) -> None:
        answer, trailing = user.grpc.infer(tensors.grpc_tensor(known.serving_name, picture.tensor, request_id))
        version, probabilities = tensors.grpc_answer(answer, trailing, request_id, known.labels)
        known.earlier.learn(f"{picture.name} as a tensor", version, probabilities)

    user.send(KINDS[grpc_tensor], call)


@tag("grpc", "upload")
def grpc_image(user: Caller) -> None:
    """One image file by the Open Inference Protocol over gRPC."""
    picture, known = user.picture(), user.known

    def call(request_id: str) -> None:
        answer, trailing = user.grpc.infer(tensors.grpc_image(known.serving_name, picture.file, request_id))
        version, probabilities = tensors.grpc_answer(answer, trailing, request_id, known.labels)
        known.earlier.learn(picture.name, version, probabilities)

    user.send(KINDS[grpc_image], call)


class UploadUser(Caller):
    """Sends image files, one a request."""

    tasks = [upload]


class BatchUser(Caller):
    """Sends several image files in one request."""

    tasks = [batch]


class TensorUser(Caller):
    """Sends tensors over REST."""

    tasks = [rest_tensor]


class GrpcUser(Caller):
    """Sends image files and tensors over gRPC."""

    tasks = [grpc_image, grpc_tensor]


class MixedUser(Caller):
    """All of them, mostly single images: 20 tasks, one of which is chosen each time."""

    tasks = [*10 * [upload], *4 * [grpc_image], *3 * [rest_tensor], *2 * [grpc_tensor], batch]


class EvenUser(Caller):
    """All of them, each as often as every other."""

    tasks = [upload, grpc_image, rest_tensor, grpc_tensor, batch]


KINDS: dict[object, str] = {
    upload: "POST /predict",
    batch: "POST /predict_batch",
    rest_tensor: "POST /v2 infer tensor",
    grpc_tensor: "gRPC ModelInfer tensor",
    grpc_image: "gRPC ModelInfer image",
}
"""The kind of request that a task sends, as statistics name it."""


def kinds_of(users: Iterable[type[User]]) -> list[str]:
    """Returns the kinds of request that these users send; tags have chosen among their tasks already."""
    return sorted({KINDS[task] for user in users for task in user.tasks})
