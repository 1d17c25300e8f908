#!/usr/bin/env bash
# Builds the image with buildah. The same commit on the same base gives the same layers, bit by bit.
#   container/build.sh [OPTION of buildah build]...
# BASE names a base image, by digest only; without it, container/base.sh makes one. IMAGE is the name to give,
# localhost/brainmri by default. pip uses the certificates that it uses here (PIP_CERT, pip.conf), and PIP_INDEX_URL.
# Prints the image's name with its digest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
image=${IMAGE:-localhost/brainmri}
if [[ -n ${BASE:-} && ! $BASE =~ @sha256:[0-9a-f]{64}$ ]]; then
    # A tag is another image tomorrow.
    echo "BASE=$BASE is not pinned: name it as IMAGE@sha256:DIGEST with the 64 hexadecimal digits that skopeo inspect" \
        "--format '{{.Digest}}' docker://IMAGE:TAG prints, or leave BASE out and a base is made." >&2
    exit 2
fi
tools=(git buildah)
[[ -n ${BASE:-} ]] || tools+=(mmdebstrap)
for tool in "${tools[@]}"; do
    command -v "$tool" >/dev/null && continue
    echo "$tool is not installed, and the image is built with it: apt-get install ${tools[*]} (Debian, Ubuntu)." >&2
    exit 2
done
base=${BASE:-$(container/base.sh)}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git describe --always --abbrev=40 --dirty --exclude '*')
committed=$(git log -1 --format=%cI)
# The time of every file, that of the base's. A fixed one, so that a layer that did not change is not pulled again.
epoch=${SOURCE_DATE_EPOCH:-1686355200}

options=()
certificates=${PIP_CERT:-$(python3 -m pip config list 2>/dev/null | sed -n "s/^global.cert='\(.*\)'$/\1/p" || true)}
if [[ -n $certificates ]]; then
    options+=(--build-arg PIP_CERT="$certificates" --volume "$certificates:$certificates:ro")
fi
if [[ -n ${PIP_INDEX_URL:-} ]]; then
    options+=(--build-arg PIP_INDEX_URL="$PIP_INDEX_URL")
fi

# Labels that change come from here: with a build argument in a LABEL, buildah 1.28 takes an older layer for the same.
buildah build --format docker --layers --timestamp "$epoch" \
    --file Containerfile --ignorefile .dockerignore \
    --build-arg BASE="$base" \
    --label org.opencontainers.image.version="$version" \
    --label org.opencontainers.image.revision="$revision" \
    --label org.opencontainers.image.created="$committed" \
    --label org.opencontainers.image.base.name="$base" \
    --tag "$image" --tag "$image:$version" "${options[@]}" "$@" . >&2
echo "$image@$(buildah images --format '{{.Digest}}' "$image:$version" | head -n 1)"
