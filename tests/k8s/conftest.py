"""Builds of the manifests, each made once; without a kubectl that can make them these tests are skipped."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from k8s.checks.builds import (
    FOLDER,
    Build,
    CannotBuild,
    kustomize,
    overlay_with,
    require_kubectl,
    with_components,
)

Builder = Callable[[str], Build]


@functools.cache
def _build(name: str) -> Build:
    """Builds a folder such as `overlays/local`, one with other components, `overlays/production with keda`, or the base
    with components: `gateway, canary`.
    """
    if (FOLDER / name).is_dir():
        return Build(name, kustomize(FOLDER / name))
    folder, _, components = name.rpartition(" with ")
    listed = components.split(", ")
    return Build(name, overlay_with(Path(folder).name, listed) if folder else with_components(listed))


@pytest.fixture(scope="session")
def built() -> Builder:
    try:
        require_kubectl()
    except CannotBuild as error:
        pytest.skip(str(error))
    return _build
