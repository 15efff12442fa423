#!/bin/sh
# models.sh RESULTS [PART...]: how fast whole programs are on a GPU, on random models of the shapes that people train. Appends to RESULTS a line for each figure: key, value,
# share of the ceiling (- where there is none). The ceilings are the lines `copy` (GB/s) and `product` (TFLOP/s) that tests/gpu/speed wrote there.
# Parts: lora qlora full decode (all). FINETOOLS_CUDA_SO names the backend; BUILD the build folder; models go to a folder of TMPDIR, 20 GB.
# FINETOOLS_GPU_SMALL=1: sizes for the emulator.
set -eu
results=$1
shift
BUILD=${BUILD:-$(cd "$(dirname "$0")/../.." && pwd)/build}
PATH=$BUILD/bin:$BUILD/tests/tools:$PATH
parts=${*:-lora decode qlora full}
work=$(mktemp -d "${TMPDIR:-/tmp}/finetools-gpu.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

if [ -n "${FINETOOLS_GPU_SMALL:-}" ]; then
    large='--layers 1 --hidden 32 --heads 2 --kv-heads 1 --head-dim 16 --ffn 48 --vocab 272' billion=$large
    length=16 samples=2 steps=3 prompt=12 answer=4 group=16
else
    large='--layers 32 --hidden 4096 --heads 32 --kv-heads 32 --head-dim 128 --ffn 11008 --vocab 32000'     # Llama 7B
    billion='--layers 16 --hidden 2048 --heads 32 --kv-heads 8 --head-dim 64 --ffn 8192 --vocab 32000' # Llama 3.2 1B, a smaller vocabulary
    length=2048 samples=8 steps=8 prompt=2048 answer=64 group=128
fi

value() { sed -n 's/.*"'"$1"'": *\([0-9.e+-]*\).*/\1/p' "$2" | head -1; }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
of() { awk -v key="$1" '$1 == key { print $2 }' "$results" | tail -1; } # a figure from before
result() { printf '%s %s %s\n' "$1" "$2" "${3:--}" | tee -a "$results"; }
share() { awk "BEGIN { if (${2:-0} > 0) printf \"%.3f\", ($1) / ($2); else print \"-\" }"; }
now() { date +%s.%N; }

random_model() { # OUT SHAPE...
    out=$1
    shift
    make-model -q -t bf16 --scale 0.1 "$@" -o "$out"
}

# Tokens a second of the steps after the second, as a share of the products that they need.
training() { # KEY MODEL PROGRAM OPTIONS...
    key=$1 model=$2
    shift 2
    rm -rf "$work/out"
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 200 >"$work/memory" 2>&1 &
    watcher=$!
    "$@" -q --device cuda -m "$model" -o "$work/out" --steps $steps --batch $samples --dtype bf16 --save-every 1000 --summary "$work/train.json" "$work/train.tok"
    rate=$(grep '"type":"step"' "$work/out/log.jsonl" | sed '1,2d; s/.*"tokens_per_second":\([0-9.]*\).*/\1/' | median)
    result "$key" "$rate" "$(share "$(value flops_per_token "$work/train.json") * $rate" "$(of product) * 1e12")"
    kill $watcher 2>/dev/null || true
    most=$(awk '$1 + 0 > most { most = $1 } END { print most * 1.048576e-3 }' "$work/memory")
    [ "$most" = 0 ] || result "$key.memory" "$most"
}

# From the start of the program to the end of its first step, beside reading the weights.
first_step() {
    began=$(now)
    cat "$work"/7b/*.safetensors | wc -c >"$work/bytes"
    read_s=$(now | awk "{ print \$1 - $began }")
    rm -rf "$work/out"
    make-tokens -q --samples 1 --min $length --max $length --vocab 259 --all -m "$work/7b" -o "$work/one.tok"
    began=$(now)
    lora-train -q --device cuda -m "$work/7b" -o "$work/out" --steps 1 --batch 1 --dtype bf16 "$work/one.tok"
    # what comes behind the step is not counted
    after=$(awk -F'"time":' '/"type":"step"/ { s = $2 + 0 } /"type":"end"/ { e = $2 + 0 } END { print e - s }' "$work/out/log.jsonl")
    result start "$(now | awk "{ print \$1 - $began - $after }")"
    result start.read "$read_s"
}

decode() { # KEY MODEL: one token after another; the share counts the bytes of the weights
    gen -q --device cuda -m "$2" --raw --max-tokens $answer --summary "$work/gen.json" "abc" >/dev/null
    rate=$(value new_tokens_per_second "$work/gen.json")
    result "$1" "$rate" "$(share "$rate * $(cat "$2"/*.safetensors | wc -c)" "$(of copy) * 1e9")"
}

prefill() {
    text=$(awk "BEGIN { for (i = 0; i < $prompt; i++) printf \"%c\", 97 + i % 26 }")
    gen -q --device cuda -m "$work/7b" --raw --max-tokens 1 --summary "$work/gen.json" "$text" >/dev/null
    rate=$(value prompt_tokens_per_second "$work/gen.json")
    weights=$(cat "$work"/7b/*.safetensors | wc -c) # two bytes and two operations each
    result prefill "$rate" "$(share "$rate * $weights" "$(of product) * 1e12")"
}

for part in $parts; do
    case $part in
    lora | qlora | decode)
        if [ ! -d "$work/7b" ]; then
            random_model "$work/7b" $large
            make-tokens -q --samples $samples --min $length --max $length --vocab 259 --all -m "$work/7b" -o "$work/train.tok"
        fi
        ;;
    esac
    case $part in
    lora)
        training lora "$work/7b" lora-train
        first_step
        ;;
    decode)
        decode decode "$work/7b"
        prefill
        quantize -q -m "$work/7b" -o "$work/gptq" --method rtn --group $group
        decode decode.gptq "$work/gptq"
        rm -rf "$work/gptq"
        ;;
    qlora)
        quantize -q -m "$work/7b" -o "$work/nf4" --method nf4 --double-quant
        training qlora "$work/nf4" lora-train
        decode decode.nf4 "$work/nf4"
        rm -rf "$work/nf4"
        ;;
    full)
        rm -rf "$work/7b"
        random_model "$work/1b" $billion
        make-tokens -q -f --samples $samples --min $length --max $length --vocab 259 --all -m "$work/1b" -o "$work/train.tok"
        training full "$work/1b" full-train --keep 1
        ;;
    esac
done
