"""`python -m k8s.checks FOLDER`: builds everything, judges it, and writes each object once to FOLDER for checkov."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from k8s.checks import schemas
from k8s.checks.builds import Build, CannotBuild, every_build, require_kubectl
from k8s.checks.manifest import Manifest
from k8s.checks.rules import RULES


def faults(builds: Iterable[Build]) -> Iterator[str]:
    """Yields one line for each schema and each rule that is not met."""
    valid: set[str] = set()
    for build in builds:
        for manifest in build.manifests:
            # Most objects are the same in every build.
            if (content := _content(manifest)) not in valid:
                valid.add(content)
                yield from (f"{build.name}: schema: {fault}" for fault in schemas.faults(manifest))
        for rule in RULES:
            yield from (f"{build.name}: {rule.name}: {fault}" for fault in rule.check(build))


def write_once(builds: Iterable[Build], folder: Path) -> int:
    """Writes the objects of all builds, one file for each build, those of an earlier one left out.

    Returns:
        How many objects that were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.yaml"):
        old.unlink()
    seen: set[str] = set()
    for number, build in enumerate(builds):
        new = {_content(manifest): manifest.body for manifest in build.manifests}
        bodies = [dict(body) for content, body in new.items() if content not in seen]
        seen |= new.keys()
        if bodies:
            (folder / f"{number:02d}.yaml").write_text(f"# {build.name}\n{yaml.safe_dump_all(bodies)}")
    return len(seen)


def _content(manifest: Manifest) -> str:
    return json.dumps(manifest.body, sort_keys=True)


def main() -> int:
    """Returns the exit status: 0 if nothing is wrong, or if there is no kubectl that could tell."""
    try:
        require_kubectl()
    except CannotBuild as error:
        sys.stderr.write(f"The Kubernetes manifests are not checked. {error}\n")
        return 0
    try:
        builds = list(every_build())
    except CannotBuild as error:
        sys.stderr.write(f"{error}\n")
        return 1
    found = list(faults(builds))
    for fault in found:
        sys.stderr.write(f"{fault}\n")
    objects = write_once(builds, Path(sys.argv[1]))
    versions = ", ".join(schemas.VERSIONS)
    sys.stdout.write(
        f"{len(builds)} builds, {objects} different objects, Kubernetes {versions}, {len(RULES)} rules:"
        f" {len(found)} faults\n"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
