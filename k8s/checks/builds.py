"""Every build that an operator can apply: overlays, jobs, and each component on the base."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from k8s.checks.manifest import Manifest, Pod, pods

FOLDER = Path(__file__).resolve().parents[1]
OVERLAYS = ("local", "staging", "production")
JOBS = ("score", "score-merge", "ray")
COMPONENTS = (
    ("monitoring",),
    ("monitoring", "keda"),
    ("gateway",),
    ("gateway", "canary"),
    ("gateway", "canary", "model-volume"),
    ("ingress",),
    ("model-volume",),
    ("model-object-store",),
    ("api-keys",),
    ("gpu",),
    ("otel",),
    ("small-nodes",),
    ("loadtest",),
    # Whatever can be had together.
    (
        *("monitoring", "keda", "gateway", "canary", "ingress"),
        *("model-object-store", "api-keys", "gpu", "otel", "small-nodes", "loadtest"),
    ),
)
VARIANTS = (("production", ("monitoring", "keda", "gateway", "canary", "api-keys")),)
"""Overlays with more in their list of components, as docs/kubernetes.md tells operators to extend them."""

IMAGES = ("brainmri", "brainmri-canary", "brainmri-gpu", "brainmri-loadtest")
OLDEST_KUBECTL = (1, 27)
_TIMEOUT_S = 60


class CannotBuild(Exception):
    """kubectl is missing, too old, or refuses a build; the message says which."""


@dataclass(frozen=True)
class Build:
    """What one `kubectl apply -k` would apply.

    Attributes:
        name: Such as `overlays/production`.
        manifests: The objects, in the order of the output.
    """

    name: str
    manifests: tuple[Manifest, ...]

    @property
    def is_production(self) -> bool:
        """Tells whether it is the production overlay, alone or with other components."""
        return self.name.startswith("overlays/production")

    def of_kind(self, kind: str) -> list[Manifest]:
        """Returns the objects of one kind."""
        return [manifest for manifest in self.manifests if manifest.kind == kind]

    def pods(self) -> Iterator[Pod]:
        """Yields every template of pods."""
        for manifest in self.manifests:
            yield from pods(manifest)


def every_build() -> Iterator[Build]:
    """Yields all of them.

    Raises:
        CannotBuild: See there.
    """
    require_kubectl()
    for name in OVERLAYS:
        yield Build(f"overlays/{name}", kustomize(FOLDER / "overlays" / name))
    for name, listed in VARIANTS:
        yield Build(f"overlays/{name} with {', '.join(listed)}", overlay_with(name, listed))
    for components in COMPONENTS:
        yield Build(f"base with {', '.join(components)}", with_components(components))
    for name in JOBS:
        yield Build(f"jobs/{name}", kustomize(FOLDER / "jobs" / name))


def kustomize(folder: Path) -> tuple[Manifest, ...]:
    """Returns what `kubectl kustomize FOLDER` writes.

    Raises:
        CannotBuild: It refuses.
    """
    done = subprocess.run(  # noqa: S603 -- our own folders
        [shutil.which("kubectl") or "kubectl", "kustomize", str(folder)],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise CannotBuild(f"{folder} cannot be built: {done.stderr.strip()}")
    return tuple(Manifest(body) for body in yaml.safe_load_all(done.stdout))


def with_components(components: Sequence[str]) -> tuple[Manifest, ...]:
    """Returns the base with components.

    Args:
        components: Names of folders, in the order in which they apply.

    Raises:
        CannotBuild: kubectl refuses.
    """
    return overlay(
        {
            "components": [f"../../components/{name}" for name in components],
            "images": [{"name": name, "newName": f"localhost/{name}", "newTag": "1.0.0"} for name in IMAGES],
        }
    )


def overlay_with(name: str, components: Sequence[str]) -> tuple[Manifest, ...]:
    """Returns what an overlay would build with another list of components, and with digests for their images.

    Args:
        name: Of its folder.
        components: Names of folders, in the order in which they apply.

    Raises:
        CannotBuild: kubectl refuses.
    """
    body = yaml.safe_load((FOLDER / "overlays" / name / "kustomization.yaml").read_text())
    named = {image["name"] for image in body["images"]}
    more = [
        {"name": image, "newName": f"registry.example.com/{image}", "digest": f"sha256:{'0' * 64}"}
        for image in IMAGES
        if image not in named
    ]
    fields = {
        "components": [f"../../components/{component}" for component in components],
        "images": [*body["images"], *more],
    }
    return _built({**body, **fields}, FOLDER / "overlays" / name)


def overlay(fields: Mapping[str, object]) -> tuple[Manifest, ...]:
    """Returns what an overlay of the base would build if it were in `overlays/`.

    Args:
        fields: What its kustomization.yaml has besides namespace and base.

    Raises:
        CannotBuild: kubectl refuses.
    """
    body = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "brainmri",
        "resources": ["../../base"],
        **fields,
    }
    return _built(body)


def _built(body: Mapping[str, object], files: Path | None = None) -> tuple[Manifest, ...]:
    """Builds a kustomization.yaml as if it lay in `overlays/`, beside the files of another folder."""
    with tempfile.TemporaryDirectory(prefix="brainmri-k8s-") as temporary:
        if files is not None:
            shutil.copytree(files, temporary, dirs_exist_ok=True)
        # kustomize takes no absolute paths.
        here = os.path.relpath(FOLDER, Path(temporary).resolve())
        (Path(temporary) / "kustomization.yaml").write_text(yaml.safe_dump(dict(body)).replace("../..", here))
        return kustomize(Path(temporary))


def require_kubectl() -> None:
    """Makes sure that there is a kubectl with a kustomize that builds components.

    Raises:
        CannotBuild: There is none.
    """
    wanted = "{}.{}".format(*OLDEST_KUBECTL)
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise CannotBuild(f"There is no kubectl on the path. Install version {wanted} or later.")
    done = subprocess.run(  # noqa: S603 -- no input from outside
        [kubectl, "version", "--client", "--output", "json"],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    version = json.loads(done.stdout)["clientVersion"] if done.returncode == 0 else {}
    numbers = tuple(int(re.sub(r"\D", "", version.get(part, "0"))) for part in ("major", "minor"))
    if numbers < OLDEST_KUBECTL:
        raise CannotBuild(f"{kubectl} is of version {'.'.join(map(str, numbers))}. Install {wanted} or later.")
