"""The two ways to the service: HTTP by geventhttpclient, gRPC by Triton's stubs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError
from tritonclient.grpc import service_pb2_grpc

from loadtests.outcomes import NotAnswered, Refused
from loadtests.target import require_allowed

REQUEST_ID = "X-Request-Id"

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Without it all users of a process would share one connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]


@dataclass(frozen=True)
class Target:
    """Where requests go.

    Attributes:
        http: Base URL.
        grpc: Host and port.
        timeout_s: How long an answer is waited for.
        api_key: Sent with every request; empty for none.
        allow_remote: Whether it may be another machine.
    """

    http: str
    grpc: str
    timeout_s: float = 30.0
    api_key: str = ""
    allow_remote: bool = False

    def check(self) -> None:
        """Raises `ForbiddenTarget` if it is another machine and may not be."""
        for address in (self.http, self.grpc):
            require_allowed(address, allow_remote=self.allow_remote)

    @property
    def credentials(self) -> dict[str, str]:
        """Headers, and metadata of gRPC, that carry the key."""
        return {"x-api-key": self.api_key} if self.api_key else {}


@dataclass(frozen=True)
class Reply:
    """An HTTP answer with status 200.

    Attributes:
        headers: Names in lower case.
        body: All of it.
    """

    headers: Mapping[str, str]
    body: bytes


class HttpCaller:
    """One client of the HTTP interface, with connections of its own that stay open.

    Args:
        target: Where to.
        connections: Most at a time.

    Raises:
        ForbiddenTarget: The target is another machine and may not be.
    """

    def __init__(self, target: Target, connections: int = 1) -> None:
        target.check()
        self._base = urlsplit(target.http).path.rstrip("/")
        self._credentials = target.credentials
        self._client = HTTPClient.from_url(
            target.http,
            concurrency=connections,
            connection_timeout=target.timeout_s,
            network_timeout=target.timeout_s,
        )

    def get(self, path: str) -> Reply:
        """Fetches a page; raises as `post`."""
        return self._send("GET", path, b"", self._credentials)

    def post(self, path: str, body: bytes, request_id: str, headers: Mapping[str, str]) -> Reply:
        """Sends a body and returns the answer.

        Raises:
            Refused: The service has no room, and says when to come back.
            NotAnswered: Any other status than 200, or no answer.
        """
        return self._send("POST", path, body, {**headers, REQUEST_ID: request_id, **self._credentials})

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        try:
            response = self._client.request(method, self._base + path, body, dict(headers))
            content = bytes(response.read())
        except TimeoutError:
            raise NotAnswered("no answer within the timeout") from None
        except (OSError, HTTPConnectionClosed, HTTPParseError) as error:
            raise NotAnswered(f"{type(error).__name__}: {error}") from error
        status, fields = response.status_code, {name.lower(): value for name, value in response.items()}
        if status in (429, 503) and "retry-after" in fields:
            raise Refused(f"{status}")
        if status != 200:
            raise NotAnswered(f"status {status}" + (" without Retry-After" if status in (429, 503) else ""))
        return Reply(fields, content)


class GrpcCaller:
    """One client of the Open Inference Protocol over gRPC, with a connection of its own.

    Args:
        target: Where to; TLS if the HTTP interface has it.

    Raises:
        ForbiddenTarget: The target is another machine and may not be.
    """

    def __init__(self, target: Target) -> None:
        target.check()
        if urlsplit(target.http).scheme == "https":
            self._channel = grpc.secure_channel(target.grpc, grpc.ssl_channel_credentials(), _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(target.grpc, _OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._timeout_s = target.timeout_s
        self._credentials = target.credentials

    def infer(self, request: Any) -> tuple[Any, Mapping[str, str]]:
        """Sends a `ModelInferRequest`, whose id is also the id of the call.

        Returns:
            The `ModelInferResponse` and the trailing metadata.

        Raises:
            Refused: The service has no room, and says when to come back.
            NotAnswered: Any other status than OK, or no answer.
        """
        metadata = {REQUEST_ID.lower(): request.id, **self._credentials}
        try:
            answer, call = self._stub.ModelInfer.with_call(
                request, timeout=self._timeout_s, metadata=tuple(metadata.items())
            )
        except grpc.RpcError as error:
            code, trailing = error.code().name, _as_mapping(error.trailing_metadata())
            if code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE") and "retry-after" in trailing:
                raise Refused(code) from None
            raise NotAnswered(f"gRPC status {code}") from None
        return answer, _as_mapping(call.trailing_metadata())

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()


def _as_mapping(metadata: Any) -> dict[str, str]:
    return {key: value for key, value in metadata or () if isinstance(value, str)}
