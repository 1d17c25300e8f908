import pytest

from loadtests.clients import GrpcCaller, HttpCaller, Target
from loadtests.target import ForbiddenTarget, require_allowed

HERE = ["http://127.0.0.1:3000", "http://localhost:3000", "https://127.8.9.10", "http://[::1]:3000", "127.0.0.1:3001"]
ELSEWHERE = [
    "http://10.0.0.1:3000",
    "http://192.168.1.5",
    "brainmri:3001",
    "http://0.0.0.0:3000",
    "http://localhost.example:80",
    "http://127.0.0.1@example.org/",
    "[2001:db8::1]:3001",
]


@pytest.mark.parametrize("address", HERE)
def test_this_machine_may_be_loaded(address: str) -> None:
    require_allowed(address, allow_remote=False)


@pytest.mark.parametrize("address", ELSEWHERE)
def test_another_machine_needs_the_flag(address: str) -> None:
    with pytest.raises(ForbiddenTarget, match="--allow-remote"):
        require_allowed(address, allow_remote=False)
    require_allowed(address, allow_remote=True)


@pytest.mark.parametrize("address", ["", "http://", "http://[::1"])
def test_what_names_no_host_is_refused_always(address: str) -> None:
    with pytest.raises(ForbiddenTarget, match="names no host"):
        require_allowed(address, allow_remote=True)


@pytest.mark.parametrize("caller", [HttpCaller, GrpcCaller])
@pytest.mark.parametrize(
    "target", [Target("http://10.0.0.1", "127.0.0.1:3001"), Target("http://127.0.0.1:3000", "10.0.0.1:3001")]
)
def test_no_client_can_be_made_for_another_machine(caller: type[HttpCaller | GrpcCaller], target: Target) -> None:
    with pytest.raises(ForbiddenTarget):
        caller(target)
