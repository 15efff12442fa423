#!/bin/sh
# check-arm.sh MAKE: the unit tests on 64-bit Arm, cross-compiled and run by an emulator: all of them where the libraries are there
# for Arm too (Debian: their packages with :arm64), else those of the kernels, which need none. Says what it skips.
set -eu
gcc=aarch64-linux-gnu-gcc qemu=qemu-aarch64 libraries=yes
for program in $gcc $qemu; do
    command -v $program >/dev/null || { echo "check-arm: skipped: no $program (make deps-optional)"; exit 0; }
done
mkdir -p build-arm
if ! CC=$gcc sh make/probe.sh build-arm/probed >build-arm/log 2>&1; then
    grep -q 'Debian: lib.*-dev' build-arm/log || { cat build-arm/log >&2; exit 1; }
    libraries=no
    echo "check-arm: the kernels alone: no libraries for Arm ($(grep -c '^missing' build-arm/log) missing)"
fi
# Threads that wait give way: the emulator is slow enough.
OMP_WAIT_POLICY=passive "$1" --no-print-directory -j2 B=build-arm CC=$gcc LIBRARIES=$libraries \
    RUNNER="$qemu -L /usr/aarch64-linux-gnu" check-units
