"""Builds of the manifests, each made once; without a kubectl that can make them these tests are skipped."""

import functools
from collections.abc import Callable

import pytest

from k8s.checks.builds import FOLDER, Build, CannotBuild, kustomize, require_kubectl, with_components

Builder = Callable[[str], Build]


@functools.cache
def _build(name: str) -> Build:
    """Builds a folder such as `overlays/local`, or the base with components: `gateway, canary`."""
    if (FOLDER / name).is_dir():
        return Build(name, kustomize(FOLDER / name))
    return Build(name, with_components(name.split(", ")))


@pytest.fixture(scope="session")
def built() -> Builder:
    try:
        require_kubectl()
    except CannotBuild as error:
        pytest.skip(str(error))
    return _build
