#!/bin/sh
# gpu-carry.sh BUILD OUT: all that `make check-gpu` runs, in one folder: programs, the backend, tests, and the libraries that a bare machine may lack. There:
# sh OUT/tests/gpu/check-gpu.sh
set -eu
build=$1 out=$2
rm -rf "$out"
mkdir -p "$out/build/bin" "$out/build/lib/needed" "$out/build/tests/unit" "$out/build/tests/tools" "$out/build/tests/gpu" "$out/tests/gpu" "$out/tests/cli" "$out/tests/golden"
cp tests/gpu/*.sh tests/gpu/*.t "$out/tests/gpu"
cp tests/cli/lib.sh tests/cli/train.sh "$out/tests/cli"
cp tests/golden/quantize.txt "$out/tests/golden"
cp "$build/lib/finetools-cuda.so" "$out/build/lib"
for program in "$build"/bin/* "$build"/tests/unit/kernels_* "$build"/tests/tools/* "$build/tests/gpu/speed"; do
    case $program in *.[od]) continue ;; esac
    strip -o "$out/build/${program#"$build/"}" "$program"
done
for program in "$out"/build/bin/*; do ldd "$program"; done | awk '$3 ~ /^\// { print $3 }' | sort -u |
    grep -vE '/(libc|libm|libdl|libpthread|librt)\.so' | while read -r library; do cp -L "$library" "$out/build/lib/needed"; done
du -sm "$out" | awk '{ print $2 ": " $1 " MB"; exit $1 > 64 }'
