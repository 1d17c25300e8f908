#!/usr/bin/env bash
# Builds the image with buildah. The same commit on the same base gives the same image, bit by bit.
#   container/build.sh [OPTION of buildah build]...
# BASE names a base image by digest; without it, container/base.sh makes one. IMAGE is the name to give,
# localhost/brainmri by default. Prints the image's name with its digest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
image=${IMAGE:-localhost/brainmri}
base=${BASE:-$(container/base.sh)}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git describe --always --abbrev=40 --dirty --exclude '*')
# Every time in the image is that of the commit.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

buildah build --format docker --layers --timestamp "$epoch" \
    --file Containerfile --ignorefile .containerignore \
    --build-arg BASE="$base" \
    --build-arg VERSION="$version" \
    --build-arg REVISION="$revision" \
    --build-arg CREATED="$(date --utc --date="@$epoch" +%Y-%m-%dT%H:%M:%SZ)" \
    --tag "$image" --tag "$image:$version" "$@" . >&2
echo "$image@$(buildah images --format '{{.Digest}}' "$image:$version")"
