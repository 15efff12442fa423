#!/bin/sh
# The CUDA backend on the CPU (tests/cuda-on-cpu): the tests of operations through it, and how programs find it.
. "${0%/*}/lib.sh"
emulated=$BUILD/lib/finetools-cuda-on-cpu.so

# no backend
run gen -m "$ROOT/pipelines/base-model/model" --device cuda hi
if [ ! -f "$BUILD/lib/finetools-cuda.so" ]; then
    has err "device 'cuda': there is no CUDA backend: no finetools-cuda.so in ../lib" 'no backend beside the program'
fi
is_status 1 'and that is an error'
one_line err 'in one line'

# built, and no GPU here
built=$BUILD/lib/finetools-cuda.so
if [ ! -f "$built" ]; then
    skip 'the CUDA backend is not built (make CUDA=1)'
elif [ -e /dev/nvidiactl ] || [ -e /dev/dxg ]; then
    skip 'there is a driver'
else
    has err "device 'cuda': there is no NVIDIA driver (no libcuda.so.1)" 'no driver'
    run gen -m "$ROOT/pipelines/base-model/model" --max-tokens 1 hi
    is_status 0 'auto takes the CPU then'
    is "$(cat err)" '' 'and says nothing'
fi
if [ -f "$built" ]; then
    mkdir old
    ln -s "$BUILD/tests/faults/old_driver.so" old/libcuda.so.1
    run env LD_LIBRARY_PATH=old gen -m "$ROOT/pipelines/base-model/model" --device cuda hi
    has err "device 'cuda': the NVIDIA driver is too old: it is for CUDA 11.4, expected" 'a driver that is too old'
    one_line err 'in one line'
    run env LD_LIBRARY_PATH=old gen -m "$ROOT/pipelines/base-model/model" --max-tokens 1 hi
    is_status 0 'auto takes the CPU then'
    nm -D --defined-only "$built" | awk '$3 !~ /^finetools_cuda_/' >names
    is "$(cat names)" '' 'it exports nothing but how it is opened'
fi

export FINETOOLS_CUDA_SO="$SCRATCH/none.so"
run gen -m "$ROOT/pipelines/base-model/model" --device cuda hi
has err "device 'cuda': $SCRATCH/none.so: cannot open" 'a backend that is not there'
one_line err 'in one line'
echo text >none.so
run gen -m "$ROOT/pipelines/base-model/model" --device cuda:3 hi
has err "device 'cuda:3': $SCRATCH/none.so" 'a file that is no backend'
one_line err 'in one line'
run gen -m "$ROOT/pipelines/base-model/model" --max-tokens 1 hi
is_status 0 'auto takes the CPU then'
unset FINETOOLS_CUDA_SO

if [ ! -f "$emulated" ]; then
    skip 'the CUDA backend on the CPU is built where there is g++'
    finish
    exit
fi

# beside the program
mkdir -p there/bin there/lib/finetools
cp "$BUILD/bin/gen" there/bin
ln -s "$emulated" there/lib/finetools/finetools-cuda.so
if there/bin/gen -m "$ROOT/pipelines/base-model/model" --device cuda:7 hi 2>err; then status=0; else status=$?; fi
is_status 1 'a device that is not there'
has err "device 'cuda:7': there is 1 device" 'says how many there are'

export FINETOOLS_CUDA_SO="$emulated" FINETOOLS_TEST_DEVICE=cuda
operations() { # PROGRAM ORDER
    (cd "$ROOT" && FINETOOLS_CUDA_PROTECT=1 FINETOOLS_CUDA_ORDER=$2 "$BUILD/tests/unit/$1" </dev/null) >out 2>err && status=0 || status=$?
    is_status 0 "$1, blocks and warps $2"
    [ "$status" = 0 ] || grep -hE '^(not ok|Bail|# )|^cuda-on-cpu' out err | sed 's/^/# /'
    not_ok "$1: every operation is there" grep -q 'not on the device' out
}
for program in kernels_rows kernels_matmul kernels_few kernels_requantize adamw_8bit; do
    operations $program forwards
    operations $program backwards
done
operations kernels_attention backwards
operations kernels_quantized backwards
finish
