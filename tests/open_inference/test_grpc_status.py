import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from brainmri.errors import (
    BrainMRIError,
    DeadlineExceeded,
    ImageTooLarge,
    ImageUnreadable,
    InferenceFailed,
    ModelNotFound,
    NotReady,
    Overloaded,
    RequestTooLarge,
    Unauthenticated,
)
from brainmri.open_inference.grpc_call import code_of, details_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ImageUnreadable("a"), "INVALID_ARGUMENT"),
        (ImageTooLarge("a"), "RESOURCE_EXHAUSTED"),
        (RequestTooLarge("a"), "RESOURCE_EXHAUSTED"),
        (Overloaded("a", retry_after_s=1), "RESOURCE_EXHAUSTED"),
        (ModelNotFound("a"), "NOT_FOUND"),
        (Unauthenticated("a"), "UNAUTHENTICATED"),
        (NotReady("a"), "UNAVAILABLE"),
        (DeadlineExceeded("a"), "DEADLINE_EXCEEDED"),
        (InferenceFailed("a"), "INTERNAL"),
    ],
)
def test_each_error_has_its_code(error: BrainMRIError, code: str) -> None:
    assert code_of(error) is grpc.StatusCode[code]


def status_of(trailing: dict[str, str | bytes]) -> status_pb2.Status:
    data = trailing["grpc-status-details-bin"]
    assert isinstance(data, bytes)
    return status_pb2.Status.FromString(data)


def test_overload_says_when_to_try_again() -> None:
    trailing = dict(details_of(Overloaded("Full.", retry_after_s=1.25, limit="256 images")))
    status = status_of(trailing)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(retry)
    assert (status.code, status.message) == (grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "Full.")
    assert (info.reason, info.domain, dict(info.metadata)) == ("OVERLOADED", "brainmri", {"limit": "256 images"})
    assert retry.retry_delay.ToMilliseconds() == 1250
    assert trailing["retry-after"] == "2"


def test_the_callers_fault_is_named_and_not_to_be_tried_again() -> None:
    trailing = dict(details_of(ImageUnreadable("Broken.")))
    status = status_of(trailing)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (len(status.details), info.reason, len(info.metadata)) == (1, "IMAGE_UNREADABLE", 0)
    assert "retry-after" not in trailing
