#!/bin/sh
# Whole programs through the CUDA backend, on the CPU (tests/cuda-on-cpu), beside the CPU backend: the same numbers within rounding, the same bytes
# twice and after a kill, and no access of the host to device memory.
. "${0%/*}/lib.sh"
. "$ROOT/tests/cli/train.sh"
[ -f "$BUILD/lib/finetools-cuda-on-cpu.so" ] || skip_all 'the CUDA backend on the CPU is built where there is g++'
export FINETOOLS_CUDA_SO="$BUILD/lib/finetools-cuda-on-cpu.so" FINETOOLS_CUDA_PROTECT=1

make-model -q --vocab 272 --hidden 48 --heads 3 --head-dim 16 --ffn 96 -t bf16 -o model
make-tokens -q -m model --samples 6 --max 24 -o train.tok
make-tokens -q -m model --samples 3 --max 24 --seed 1 -o dev.tok
quantize -q -m model -o nf4 --method nf4 --double-quant

# ---- generation ----
for m in model nf4; do
    gen -q -m $m --device cpu --dtype f32 --max-tokens 6 hello >cpu.txt
    run gen -q -m $m --device cuda --dtype f32 --max-tokens 6 hello
    is_status 0 "gen, $m"
    ok "gen, $m: the same text" cmp out cpu.txt
done
run gen -q -m model --device cuda --max-tokens 4 hello
is_status 0 'gen, in bf16, which auto means there'

# ---- losses ----
loss_of() {
    eval-loss -q --dtype f32 "$@" dev.tok | sed -n 's/.*"loss":\([0-9.]*\).*/\1/p'
}
for m in model nf4; do
    ok "eval-loss, $m" near "$(loss_of -m $m --device cuda)" "$(loss_of -m $m --device cpu)" 1e-6
done

# ---- training ----
# step PROGRAM OUT DEVICE OPTIONS...
step() {
    program=$1 out=$2 device=$3
    shift 3
    $program -q -o "$out" --device "$device" --seed 3 --batch 3 --lr 1e-2 --steps 2 "$@" "$data"
}
data=train.tok

# Losses and norms of both steps, to 1e-5.
agree() {
    for key in loss grad_norm; do
        set -- "$1" "$2" $(logged "$1" $key) $(logged "$2" $key)
        [ $# = 6 ] && near "$3" "$5" 1e-5 && near "$4" "$6" 1e-5 || return 1
    done
}

both() { # NAME PROGRAM OPTIONS...
    name=$1 program=$2
    shift 2
    step "$program" "cpu-$name" cpu --dtype f32 "$@"
    run step "$program" "cuda-$name" cuda --dtype f32 "$@"
    is_status 0 "$program, $name"
    ok "$program, $name: losses and norms as on the CPU" agree "cpu-$name" "cuda-$name"
}

both lora lora-train -m model --dropout 0.1
both qlora lora-train -m nf4 --optimizer adamw8bit --rank 64
both recompute lora-train -m model --recompute layer --rows 30
both full full-train -m model --lr 1e-4 --weight-decay 0.1
both full8 full-train -m model --lr 1e-4 --optimizer adamw8bit

step lora-train again cuda --dtype f32 -m model --dropout 0.1
ok 'lora-train: twice the same bytes' same_run cuda-lora again
step lora-train bf16 cuda -m model
ok 'in bf16 the loss is near' near "$(logged bf16 loss | cut -d' ' -f1)" "$(logged cuda-recompute loss | cut -d' ' -f1)" 1e-2

# ---- preferences ----
make-tokens -q -m model --kind pairs --samples 6 --max 20 -o pairs.tok
make-tokens -q -m model --kind labelled --samples 6 --max 20 -o labelled.tok
data=pairs.tok
both dpo dpo-train -m model --loss sigmoid
both dpo-full dpo-train -m model --full --lr 1e-4
data=labelled.tok
both kto dpo-train -m model --loss kto
data=pairs.tok
run dpo-train -q -m model --device cuda --dtype f32 --write-ref cuda.ref pairs.tok
is_status 0 'dpo-train --write-ref'
step dpo-train from-ref cpu --dtype f32 -m model --loss sigmoid --ref-logprobs cuda.ref
ok 'dpo-train --write-ref: what training makes of them on the CPU' agree cpu-dpo from-ref
data=train.tok

# ---- activations in the host's memory ----
make-model -q --vocab 272 --layers 5 --hidden 48 --heads 3 --head-dim 16 --ffn 96 -t bf16 -o deep
step lora-train kept cuda -m deep --rows 30 --dropout 0.1 --eval dev.tok --eval-every 1
step lora-train away cuda -m deep --rows 30 --dropout 0.1 --eval dev.tok --eval-every 1 --offload activations 2>err
ok '--offload activations changes no byte' same_run kept away
data=pairs.tok
step dpo-train dpo-kept cuda -m deep --full
step dpo-train dpo-away cuda -m deep --full --offload activations
ok 'nor does it with dpo-train' same_run dpo-kept dpo-away
data=train.tok
run lora-train -m deep --device cuda --plan --rows 30 -o none train.tok
peak=$(awk '/^peak/ { print $3 }' out)
not_ok 'by default nothing goes there' grep -q 'memory of the host' out
run lora-train -m deep --device cuda --plan --rows 30 -o none --offload activations train.tok
less=$(awk '/^peak/ { print $3 }' out)
moved=$(sed -n '/^memory of the host/,$s/^activations kept for backward *\([0-9]*\) .*/\1/p' out)
ok "--plan: what leaves the device, $moved bytes, is on the host" test "$moved" -gt 0 -a "$((peak - less))" = "$moved"

# ---- merges ----
for device in cpu cuda; do
    run adapter-merge -m model -o merged-$device --check train.tok --device $device cuda-lora
    is_status 0 "adapter-merge --check on $device"
    sed -n 's/.*mean KL to the base with its adapters \([^,]*\), largest.*/\1/p' err >$device.txt
done
ok 'adapter-merge --check: the same divergence' near "$(cat cpu.txt)" "$(cat cuda.txt)" 5e-2
ok 'adapter-merge: the same model' diff -r merged-cpu merged-cuda
run adapter-merge -m model -n --check train.tok --device cuda cuda-lora
has out 'memory   of cuda, at most ' 'adapter-merge --plan tells the memory of the device'

# ---- calibration ----
for method in gptq awq; do
    for device in cpu cuda; do
        run quantize -m model -o $method-$device --method $method --group 16 --calibrate train.tok --device $device --summary $device.json
        is_status 0 "quantize --method $method on $device"
        sed -n 's/.*"mean_weight_error": \([0-9.e-]*\).*/\1/p' $device.json >$device.txt
    done
    ok "quantize --method $method: the same error" near "$(cat cpu.txt)" "$(cat cuda.txt)" 1e-3
    quantize -q -m model -o $method-again --method $method --group 16 --calibrate train.tok --device cuda
    ok "quantize --method $method: twice the same bytes" cmp $method-cuda/model.safetensors $method-again/model.safetensors
done
run quantize -m model -n --method gptq --group 16 --calibrate train.tok --device cuda
has out 'memory on cuda (bytes)' 'quantize --plan tells the memory of the device'
run env FINETOOLS_CUDA_MEMORY=100000 $BUILD/bin/quantize -m model -o out.d --method gptq --group 16 --calibrate train.tok --device cuda
is_status 1 'too little memory there'
has err ' bytes of memory on cuda, ' 'is told before anything is done'

run lora-train -m model --device cuda --plan -o none train.tok
has out 'memory on cuda (bytes)' '--plan tells the memory of the device'
has out 'may be used' 'and how much there is'

# What a plan says beforehand and what was really allocated at the most: never more, and the plan not much more.
planned() { # NAME PROGRAM OPTIONS...
    name=$1
    shift
    rm -rf planned
    run "$@" --device cuda --seed 3 --batch 3 --steps 2 -o planned --plan train.tok
    has out 'work space of the backend' "--plan, $name: what products hold"
    has out 'context and libraries' "--plan, $name: what the device's libraries hold"
    plan=$(awk '/^peak/ { print $3 }' out)
    run env FINETOOLS_CUDA_PEAK=peak "$@" -q --device cuda --seed 3 --batch 3 --steps 2 -o planned train.tok
    is_status 0 "$name runs"
    ok "$name: as much as was planned, $plan, to a twentieth" awk -v plan="$plan" '{ print; exit !($1 <= plan && $1 >= 0.95 * plan) }' peak
}
planned 'lora' lora-train -m model --dtype bf16
planned 'qlora' lora-train -m nf4 --dtype bf16 --optimizer adamw8bit
planned 'qlora in f32' lora-train -m nf4 --dtype f32
planned 'full' full-train -m model --dtype bf16

# killed after the checkpoint of its first step, and gone on with
lora-train -q -o killed --device cuda --seed 3 --batch 3 --lr 1e-2 --steps 2 --dtype f32 -m model --dropout 0.1 --save-every 1 train.tok 2>killed.err &
pid=$!
until [ -d killed/checkpoint-1 ] || ! kill -0 $pid 2>/dev/null; do sleep 0.05; done
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
lora-train -q -o killed --device cuda --seed 3 --batch 3 --lr 1e-2 --steps 2 --dtype f32 -m model --dropout 0.1 --save-every 1 train.tok
ok 'killed, and gone on with: the same adapter' cmp killed/adapter_model.safetensors cuda-lora/adapter_model.safetensors
finish
