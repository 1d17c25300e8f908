"""The base and the image, built once for all tests that need them."""

import pytest

from tests.container.engine import BUILD_S, Engine, configured, why_not


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    return configured(tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="session")
def base(engine: Engine) -> str:
    """The name of the base image, with its digest; made of Debian packages here."""
    name = engine.run("container/base.sh", "localhost/brainmri-test-base", timeout_s=BUILD_S)
    # What an engine needs of a machine, such as namespaces, not every machine grants.
    attempt = engine.attempt("podman", "run", "--rm", "--network=host", name, "python3", "-c", "print('it runs')")
    if attempt.stdout != "it runs\n":
        pytest.skip(f"podman cannot run a container on this machine: {attempt.stderr}")
    return name


@pytest.fixture(scope="session")
def image(engine: Engine, base: str) -> str:
    """The name of the image, with its digest; it stays, as a cache for the next run."""
    return engine.run("container/build.sh", BASE=base, IMAGE="localhost/brainmri-test", timeout_s=BUILD_S)
