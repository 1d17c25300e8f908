#!/usr/bin/env bash
# Makes the base image out of Debian packages: the C library, Python with venv, and no shell, package manager or setuid
# program. Prints its name with its digest. Needs root, mmdebstrap and buildah.
#   container/base.sh [NAME]       NAME is localhost/brainmri-base by default
# MIRROR names another Debian mirror; SOURCE_DATE_EPOCH is the time of every file (seconds, Debian 12's release by default).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=${1:-localhost/brainmri-base}
mirror=${MIRROR:-http://deb.debian.org}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1686355200}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

mmdebstrap --quiet --variant=extract \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --aptopt='APT::Install-Recommends "false"' \
    --include=base-files,libstdc++6,netbase,python3-venv \
    --extract-hook="bash $here/base_hook.sh \"\$1\"" \
    bookworm "$folder/root.tar" \
    "deb $mirror/debian bookworm main" \
    "deb $mirror/debian bookworm-updates main" \
    "deb $mirror/debian-security bookworm-security main" >&2

printf 'FROM scratch\nADD root.tar /\n' > "$folder/Containerfile"
# OCI's format, because Docker's holds the id of the container that built it.
buildah build --quiet --format oci --timestamp "$SOURCE_DATE_EPOCH" --tag "$name" "$folder" >&2
echo "$name@$(buildah images --format '{{.Digest}}' "$name" | head -n 1)"
