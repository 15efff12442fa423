#!/bin/sh
# deps.sh PACKAGE...: installs the Debian packages that are not there yet, through sudo when not root. On systems without apt
# it prints the names to look for.
set -eu
if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "no apt-get here; the Debian names of what is needed: $*"
    exit 0
fi
missing=
for package; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
for package in $missing; do
    if [ "$package" = nvidia-cuda-toolkit ] && ! apt-cache show "$package" >/dev/null 2>&1; then
        echo "$package is in Debian's component non-free, which this system's list of sources leaves out;" \
            "NVIDIA's own packages do as well: cuda-nvcc-13-0 cuda-cudart-dev-13-0 libcublas-dev-13-0" >&2
        exit 1
    fi
done
# shellcheck disable=SC2086 (a list of names)
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y --no-install-recommends $missing
