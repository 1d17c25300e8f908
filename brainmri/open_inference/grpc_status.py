"""Errors as gRPC statuses, with the details that clients and their retry policies read."""

import math
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from brainmri.errors import BrainMRIError, retry_after, status_of

DOMAIN = "brainmri"

_DETAILS = "grpc-status-details-bin"


def code_of(error: BrainMRIError) -> Any:
    """Returns the `grpc.StatusCode` of an error."""
    return grpc.StatusCode[status_of(error).grpc]


def details_of(error: BrainMRIError) -> list[tuple[str, str | bytes]]:
    """Returns the trailing metadata of an error.

    `grpc-status-details-bin` carries a `google.rpc.Status` with an `ErrorInfo` that names the error's code and limit,
    and a `RetryInfo` where trying again has a chance; then `retry-after` says it in whole seconds, too.

    Source: https://google.aip.dev/193; https://grpc.github.io/grpc/core/md_doc_statuscodes.html.
    """
    info = error_details_pb2.ErrorInfo(reason=error.code.upper(), domain=DOMAIN)
    if error.limit is not None:
        info.metadata["limit"] = error.limit
    status = status_pb2.Status(code=code_of(error).value[0], message=error.message, details=[_packed(info)])
    trailing: list[tuple[str, str | bytes]] = []
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(math.ceil(error.retry_after_s * 1e3))
        status.details.append(_packed(retry))
        trailing.append(("retry-after", str(retry_after(error))))
    return [*trailing, (_DETAILS, status.SerializeToString())]


def _packed(message: Any) -> Any:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
