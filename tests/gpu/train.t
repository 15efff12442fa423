#!/bin/sh
# Training on a GPU: as on the CPU, the same bytes twice, and after a kill. FINETOOLS_CUDA_SO names the backend; FINETOOLS_GPU_SMALL=1: sizes for
# the emulator.
. "${0%/*}/../cli/lib.sh"
. "$ROOT/tests/cli/train.sh"
if [ -n "${FINETOOLS_GPU_SMALL:-}" ]; then
    shape='--layers 1 --hidden 32 --heads 2 --kv-heads 1 --head-dim 16 --ffn 48' longest=16 batch=4 steps=4 many=8
else
    shape='--layers 4 --hidden 512 --heads 8 --kv-heads 2 --head-dim 64 --ffn 1408' longest=400 batch=16 steps=20 many=200
fi
make-model -q --arch qwen3 $shape -t bf16 -o model
make-tokens -q -m model --samples 200 --max $longest -o train.tok
make-tokens -q -m model --samples 20 --max $longest --seed 1 -o dev.tok

base=model
train() { # OUT PROGRAM DEVICE OPTIONS...
    out=$1 program=$2 device=$3
    shift 3
    $program -q --device "$device" -m "$base" -o "$out" --batch $batch --lr 1e-3 --seed 7 "$@" train.tok
}

# The losses of each step, within a share.
as_cpu() { # SHARE PROGRAM OPTIONS...
    share=$1 program=$2
    shift 2
    rm -rf of-cpu of-gpu
    train of-cpu "$program" cpu --steps $steps "$@" && train of-gpu "$program" cuda --steps $steps "$@" || return 1
    echo "$(logged of-cpu loss)" | tr ' ' '\n' >cpu.losses
    echo "$(logged of-gpu loss)" | tr ' ' '\n' >gpu.losses
    [ "$(wc -l <gpu.losses)" = $steps ] || { echo "$(wc -l <gpu.losses) steps"; return 1; }
    paste cpu.losses gpu.losses | while read -r cpu gpu; do
        near "$cpu" "$gpu" "$share" || { echo "cpu $cpu, gpu $gpu"; return 1; }
    done
}
ok "lora-train: $steps steps in f32 as on the CPU" as_cpu 1e-3 lora-train --dtype f32 --dropout 0.1
ok "full-train: $steps steps in f32" as_cpu 1e-3 full-train --dtype f32
ok "lora-train: $steps steps in bf16" as_cpu 2e-2 lora-train --dtype bf16
ok "full-train: $steps steps in bf16, its state in 8 bits" as_cpu 2e-2 full-train --dtype bf16 --optimizer adamw8bit
base=model-nf4
quantize -q -m model -o $base --method nf4 --double-quant
ok "lora-train over NF4: $steps steps" as_cpu 2e-2 lora-train --dtype bf16
base=model

twice() { # PROGRAM OPTIONS...
    program=$1
    shift
    rm -rf one two
    train one "$program" cuda --steps $steps "$@" && train two "$program" cuda --steps $steps "$@" && same_run one two
}
ok 'lora-train: the same bytes twice' twice lora-train --dtype bf16 --dropout 0.1 --bias all
ok 'full-train: the same bytes twice' twice full-train --dtype bf16

# Killed behind its first checkpoint, and started again.
survives() { # PROGRAM OPTIONS...
    program=$1
    shift
    rm -rf whole killed
    train whole "$program" cuda --save-every 2 --steps $many "$@" || return 1
    (exec "$program" -q --device cuda -m "$base" -o killed --batch $batch --lr 1e-3 --seed 7 --save-every 2 --steps $many "$@" train.tok) &
    pid=$!
    waits=0
    while [ ! -d killed/checkpoint-2 ] && [ $waits -lt 6000 ] && ! grep -q '^State:.*Z' /proc/$pid/status; do
        sleep 0.01
        waits=$((waits + 1))
    done
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ $? = 137 ] || { echo 'it ended before'; return 1; }
    train killed "$program" cuda --save-every 2 --steps $many "$@" && same_run whole killed
}
ok 'lora-train: killed and started again, the same bytes' survives lora-train --dtype bf16 --dropout 0.1
ok 'full-train: killed and started again, the same bytes' survives full-train --dtype bf16

loss() { # DEVICE
    eval-loss -q --device "$1" --dtype f32 -m model dev.tok | sed 's/.*"loss":\([^,]*\).*/\1/'
}
ok 'eval-loss: as on the CPU' near "$(loss cpu)" "$(loss cuda)" 1e-4
gen -q --device cpu --dtype f32 -m model --raw --max-tokens 24 'abcdefgh' >cpu.text
gen -q --device cuda --dtype f32 -m model --raw --max-tokens 24 'abcdefgh' >gpu.text
ok 'gen: the same text as on the CPU' cmp cpu.text gpu.text

if command -v compute-sanitizer >/dev/null && [ -z "${FINETOOLS_GPU_SMALL:-}" ]; then
    for check in memcheck racecheck synccheck; do
        rm -rf out.d
        ok "compute-sanitizer, $check" compute-sanitizer --tool $check --error-exitcode 9 lora-train -q --device cuda -m model -o out.d --batch 2 --steps 1 train.tok
    done
else
    skip 'no compute-sanitizer' 3
fi
finish
