#!/bin/sh
# check-gpu.sh [PART...]: what holds on the GPU of this machine, and how fast it is. `make check-gpu` runs it; or it runs from the folder that
# `make CUDA=1 CUDA_ARCHS=90a gpu-carry` fills, which needs neither network nor compiler. Parts (all): ops train speed lora decode qlora full.
#   RESULTS            the page to write (gpu-results.md)
#   FINETOOLS_CUDA_SO  the backend ($BUILD/lib/finetools-cuda.so)      FINETOOLS_GPU_SMALL=1   sizes for the emulator
# What a part does not reach says "not yet measured" on the page. Ends with 1 when a test failed.
set -u
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=${BUILD:-$ROOT/build}
RESULTS=${RESULTS:-gpu-results.md}
FINETOOLS_CUDA_SO=${FINETOOLS_CUDA_SO:-$BUILD/lib/finetools-cuda.so}
FINETOOLS_TEST_DEVICE=cuda
parts=${*:-ops train speed lora decode qlora full}
failed=0
[ -f "$FINETOOLS_CUDA_SO" ] || { echo "check-gpu: no $FINETOOLS_CUDA_SO; make CUDA=1 comes first" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/finetools-check.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'page; exit 130' INT TERM HUP
: >"$work/figures"
: >"$work/tests"

# Libraries that were carried along, and cuBLAS where the loader does not look.
found=
for folder in /usr/local/cuda*/lib64 /usr/lib/*-linux-gnu /opt/*/.venv/lib/python3*/site-packages/nvidia/c*/lib /usr/lib/python3/dist-packages/nvidia/c*/lib; do
    for library in "$folder"/libcublasLt.so.1[23]; do
        [ -e "$library" ] && found=$found:$folder
    done
done
LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}:$BUILD/lib/needed$found
export BUILD FINETOOLS_CUDA_SO FINETOOLS_TEST_DEVICE LD_LIBRARY_PATH

wanted() {
    case " $parts " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

# A program that speaks TAP.
passes() { # NAME PROGRAM...
    name=$1
    shift
    echo "== $name"
    began=$(date +%s)
    (cd "$ROOT" && exec "$@") >"$work/out" 2>&1 </dev/null
    status=$?
    grep -aE '^(not ok|Bail|# )' "$work/out" | head -20
    good=$(grep -acE '^ok ' "$work/out") bad=$(grep -acE '^(not ok|Bail)' "$work/out")
    if [ $status != 0 ] || [ "$bad" != 0 ] || [ "$good" = 0 ]; then
        failed=1
        tail -5 "$work/out"
        echo "| $name | **failed**: $good of $((good + bad)), status $status |" >>"$work/tests"
    else
        echo "| $name | $good pass, $(($(date +%s) - began)) s |" >>"$work/tests"
    fi
}

figure() { # KEY: value and share
    awk -v key="$1" -v digits="${2:-%.3g}" '$1 == key { value = sprintf(digits, $2); share = $3 } END {
        if (value == "") print "not yet measured |"
        else if (share == "-" || share == "") print value " |"
        else printf "%s | %.0f %%\n", value, 100 * share }' "$work/figures"
}

row() { # WORK KEY UNIT TARGET
    echo "| $1, $3 | $(figure "$2" "${5:-%.3g}") | $4 |"
}

page() {
    {
        echo '# What holds on a GPU, and how fast it is'
        echo
        echo "Written by \`make check-gpu\` on $(date +%Y-%m-%d), version $("$BUILD/bin/lora-train" --version | sed -n '1s/.* //p'): $device."
        echo 'Shares are of what this device did at most in the same run: a large copy, a large product of bf16.'
        echo
        echo '| tests | |'
        echo '|---|---|'
        cat "$work/tests"
        echo
        echo '| work | measured | share | wanted |'
        echo '|---|---|---|---|'
        row 'copy of 2 GB' copy GB/s ''
        row 'product of bf16, 8192^3' product TFLOP/s ''
        for key in rmsnorm add_rmsnorm rmsnorm_backward rope swiglu swiglu_backward add dropout adamw clip cross_entropy; do
            row "$key" $key GB/s '85 %'
        done
        row 'attention forward, 8k causal, head 128' attention TFLOP/s "70 % of FlashAttention-2's"
        row 'attention backward' attention_backward TFLOP/s "55 % of FlashAttention-2's"
        row 'attention of one query, 8 caches of 8k' attention_decode GB/s '85 %'
        row 'LoRA SFT, Llama 7B shape, bf16, rank 16 all-linear, 8 x 2048' lora tokens/s '60 %' %.0f
        row '- its memory' lora.memory GB ''
        row 'QLoRA NF4, the same' qlora tokens/s '90 % of the rate above' %.0f
        row '- its memory' qlora.memory GB '8'
        row 'full training, 1B shape' full tokens/s '55 %' %.0f
        row '- its memory' full.memory GB ''
        row 'decode, batch 1, bf16' decode tokens/s '85 % of bandwidth'
        row 'decode, batch 1, NF4' decode.nf4 tokens/s '85 % of bandwidth'
        row 'decode, batch 1, GPTQ' decode.gptq tokens/s '85 % of bandwidth'
        row 'prefill, 2048 tokens' prefill tokens/s '60 %' %.0f
        row 'start to first step, 7B' start s 'reading + 2 s'
        row '- reading the weights' start.read s ''
    } >"$RESULTS"
    cat "$RESULTS"
}

# Without a device every part would say so.
"$BUILD/tests/gpu/speed" || exit 1

device=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -1 | sed 's/, /, driver /')
device=${device:-no NVIDIA driver}
if wanted ops; then
    for program in "$BUILD"/tests/unit/kernels_*; do
        case $program in *.[od]) continue ;; esac
        passes "$(basename "$program")" "$program"
    done
fi
wanted train && passes 'training' sh "$ROOT/tests/gpu/train.t"
if wanted speed; then
    "$BUILD/tests/gpu/speed" "$work/figures" || failed=1
fi
for part in lora decode qlora full; do
    wanted $part && models="${models:-} $part"
done
if [ -n "${models:-}" ]; then
    sh "$ROOT/tests/gpu/models.sh" "$work/figures" $models || failed=1
fi
page
exit $failed
