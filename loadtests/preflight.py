"""What a process learns from the service before it sends load: the labels, and one answer to every image."""

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests import answers
from loadtests.clients import HttpCaller, Reply, Target
from loadtests.outcomes import Failed, Refused
from loadtests.pictures import Picture, multipart

BOUNDARY = "brainmri-load-test"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

_logger = logging.getLogger(__name__)


class NotServing(Exception):
    """The service cannot be tested as it is; the message says what to do."""


@dataclass(frozen=True)
class Known:
    """What is known of the service.

    Attributes:
        labels: Of the model, in its order.
        serving_name: Of the model in the Open Inference Protocol.
        model: What answers, as `name:version runtime`.
        pictures: What to send.
        earlier: First answers.
    """

    labels: tuple[str, ...]
    serving_name: str
    model: str
    pictures: Sequence[Picture]
    earlier: answers.Earlier

    def check_upload(self, picture: Picture, request_id: str, reply: Reply) -> str:
        """Checks the answer to one upload and returns its verdict; raises `WrongAnswer`."""
        body = answers.read_json(reply.body)
        answers.check_id(request_id, body.get("request_id"), reply.headers.get("x-request-id"))
        version, probabilities = answers.check_prediction(body, self.labels)
        self.earlier.learn(picture.name, version, probabilities)
        return str(body["verdict"])

    def check_batch(self, pictures: Sequence[Picture], request_id: str, reply: Reply) -> None:
        """Checks the answer to several uploads, and that it is in their order; raises `WrongAnswer`."""
        body = answers.read_json(reply.body)
        answers.check_id(request_id, body.get("request_id"), reply.headers.get("x-request-id"))
        for picture, result in zip(pictures, answers.check_batch(body, len(pictures)), strict=True):
            answers.check_id(request_id, result.get("request_id"))
            version, probabilities = answers.check_prediction(result, self.labels)
            self.earlier.compare(picture.name, version, probabilities)


def inspect(target: Target, pictures: Sequence[Picture]) -> Known:
    """Asks the service what it is, and for an answer to every image.

    Raises:
        NotServing: It does not answer, or wrongly.
        ForbiddenTarget: It is another machine and may not be.
    """
    caller = HttpCaller(target)
    try:
        described = answers.read_json(caller.get("/model").body)
        model = f"{described['name']}:{described['version']} {described['runtime']}"
        known = Known(tuple(described["labels"]), described["serving_name"], model, pictures, answers.Earlier())
        verdicts: dict[str, int] = {}
        for picture in pictures:
            request_id = uuid.uuid4().hex
            reply = caller.post("/predict", multipart("image", [picture], BOUNDARY), request_id, FORM)
            verdict = known.check_upload(picture, request_id, reply)
            verdicts[verdict] = verdicts.get(verdict, 0) + 1
    except KeyError as error:
        raise NotServing(f"{target.http}/model lacks {error}: is this the brainmri service?") from error
    except (Failed, Refused) as error:
        raise NotServing(f"{target.http} does not serve as it should ({error}). Start it first: make serve.") from error
    finally:
        caller.close()
    _logger.info("%s answers the %d images with %s", model, len(pictures), verdicts)
    return known
