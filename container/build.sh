#!/usr/bin/env bash
# Builds the image with buildah. The same commit on the same base gives the same image, bit by bit.
#   container/build.sh [OPTION of buildah build]...
# BASE names a base image by digest; without it, container/base.sh makes one. IMAGE is the name to give,
# localhost/brainmri by default. PIP_CERT and PIP_INDEX_URL are handed on to pip. Prints the image's name with its digest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
image=${IMAGE:-localhost/brainmri}
base=${BASE:-$(container/base.sh)}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git describe --always --abbrev=40 --dirty --exclude '*')
committed=$(git log -1 --format=%cI)
# The time of every file, that of the base's. A fixed one, so that a layer that did not change is not pulled again.
epoch=${SOURCE_DATE_EPOCH:-1686355200}

options=()
if [[ -n ${PIP_CERT:-} ]]; then
    options+=(--build-arg PIP_CERT="$PIP_CERT" --volume "$PIP_CERT:$PIP_CERT:ro")
fi
if [[ -n ${PIP_INDEX_URL:-} ]]; then
    options+=(--build-arg PIP_INDEX_URL="$PIP_INDEX_URL")
fi

buildah build --format docker --layers --timestamp "$epoch" \
    --file Containerfile --ignorefile .dockerignore \
    --build-arg BASE="$base" \
    --build-arg VERSION="$version" \
    --build-arg REVISION="$revision" \
    --build-arg CREATED="$committed" \
    --tag "$image" --tag "$image:$version" "${options[@]}" "$@" . >&2
echo "$image@$(buildah images --format '{{.Digest}}' "$image:$version" | head -n 1)"
