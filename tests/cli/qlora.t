#!/bin/sh
# QLoRA: adapters over quantized bases, and their merges.
. "${0%/*}/lib.sh"
. "$ROOT/tests/cli/train.sh"
for tool in lora-train adapter-merge eval-loss gen; do
    has_tool $tool || skip_all "no $tool"
done
PATH=$BUILD/tests/tools:$PATH

make-model -q --hidden 64 --ffn 96 --heads 4 --kv-heads 2 --head-dim 16 --bias -t bf16 -o base
make-tokens -q -m base -o train.tok
make-tokens -q -m base --samples 7 --seed 1 -o dev.tok
value() { # FILE KEY: of a line of JSON
    sed -n 's/.*"'"$2"'": *\([^,}]*\).*/\1/p' "$1" | tail -1
}
train() { # MODEL OUT OPTIONS...
    from=$1 to=$2
    shift 2
    lora-train -q --dtype f32 -m "$from" -o "$to" --batch 8 --lr 3e-3 --rank 4 "$@" train.tok
}
loss() { # MODEL OPTIONS...: over the held-out samples
    from=$1
    shift
    eval-loss -q --dtype f32 -m "$from" "$@" dev.tok | sed 's/.*"loss":\([^,]*\).*/\1/'
}
kl() { # BASE MERGED OPTIONS... ADAPTER: of a checked merge
    from=$1 to=$2
    shift 2
    rm -rf "$to" kl.json
    adapter-merge -q -m "$from" -o "$to" --summary kl.json --check dev.tok --max-kl 100 "$@" && value kl.json mean_kl
}
less() {
    awk -v x="$1" -v y="$2" 'BEGIN { exit !(x != "" && y != "" && x + 0 < y + 0) }'
}

# ---- every layout: training over it is training over its values ----
make-adapter -q -m base --zero --foreign -o nothing
make-adapter -q -m base --foreign -o foreign
adapter-merge -q -m base -o direct foreign
number=0
for layout in int8 nf4 'nf4, bf16, double' 'nf4, f16, blocks of 256' fp4 gptq 'gptq, act order' 'gptq, 2 bits' 'gptq, 3 bits' 'gptq, 8 bits' awq; do
    number=$((number + 1)) q=q$number
    make-quantized -q -m base --layout "$layout" -o $q
    adapter-merge -q -m $q -o values$number --dtype f32 nothing
    ok "$layout: the loss is that of its values" near "$(loss $q)" "$(loss values$number)" 1e-6
    train $q adapter$number -j 1 --steps 3 --bias all
    train values$number plain -j 1 --steps 3 --bias all
    is "$(echo $(logged adapter$number loss | tr ' ' '\n' | cut -c1-7))" "$(echo $(logged plain loss | tr ' ' '\n' | cut -c1-7))" "$layout: so are the losses of training"
    mkdir -p pairs && cp plain/adapter_model.safetensors pairs/model.safetensors
    ok "$layout: and the trained pairs" compare-tensors --tolerance 1e-3 adapter$number/adapter_model.safetensors pairs
    rm -rf plain

    # Merged: the values, the 16-bit model, the layout.
    ok "$layout: merged into its values in f32, nothing is lost" less "$(kl $q merged --dtype f32 adapter$number)" 1e-8
    with=$(loss $q -a adapter$number)
    ok "$layout: base and adapter predict what the merge predicts" near "$with" "$(loss merged)" 1e-5
    ok "$layout: in bf16, little" less "$(kl $q merged adapter$number)" 1e-3
    not_ok "$layout: the merge is a plain model" grep -q quantization_config merged/config.json
    not_ok "$layout: of plain tensors" sh -c "head -c 20000 merged/model.safetensors | grep -aqE 'absmax|SCB|qweight|U8'"
    back=$(kl $q requantized --requantize adapter$number)
    ok "$layout: --requantize says how much is lost ($back)" test -n "$back"
    ok "$layout: and keeps the configuration" cmp $q/config.json requantized/config.json
    ok "$layout: and the tensors" sh -c "for d in $q requantized; do head -c 30000 \$d/model.safetensors | grep -aoE '\"[a-z_0-9.A-Z]+\":\{\"dtype\":\"[A-Z0-9]+\",\"shape\":\[[0-9,]*\]' | sort >\$d.list; done; cmp $q.list requantized.list"
    ok "$layout: whatever the threads" sh -c "adapter-merge -q -j 3 -m $q -o again --requantize adapter$number && cmp again/model.safetensors requantized/model.safetensors"
    rm -rf again
    sixteen=$(kl $q on-base --base16 base adapter$number)
    ok "$layout: --base16 says how far the base is ($sixteen)" test -n "$sixteen"
    kl $q on-base --base16 base foreign >/dev/null
    ok "$layout: and is the merge into that base" compare-tensors direct/model.safetensors on-base
done
is "$number" 11 'all layouts'

# ---- equal bytes ----
same() {
    cmp "$1/adapter_model.safetensors" "$2/adapter_model.safetensors"
}
for q in 3 7; do
    train q$q one$q -j 1 --steps 4 --dropout 0.2 --rslora --bias all
    train q$q two$q -j 3 --steps 4 --dropout 0.2 --rslora --bias all --recompute layer --rows 40
    ok 'threads, splits and recomputation change no byte' same one$q two$q
    rm -r two$q/checkpoint-4 two$q/adapter_config.json
    train q$q half$q -j 1 --steps 4 --dropout 0.2 --rslora --bias all --save-every 2
    rm -r half$q/checkpoint-4 half$q/adapter_config.json half$q/adapter_model.safetensors
    train q$q half$q -j 2 --steps 4 --dropout 0.2 --rslora --bias all --save-every 2
    ok 'a run that goes on from its checkpoint ends with the same bytes' same one$q half$q
done
not_ok 'dropout and rslora show' same one3 adapter3
train q3 bf16 --dtype bf16 --steps 2
ok 'in bf16' test -f bf16/adapter_config.json

# ---- preferences ----
if has_tool dpo-train; then
    make-tokens -q -m base --kind pairs -o pairs.tok # 20 samples
    for q in 2 6; do # nf4, gptq
        prefer() { # OUT OPTIONS...
            to=$1
            shift
            dpo-train -q --dtype f32 -m q$q -o "$to" --batch 8 --lr 1e-2 --rank 4 --dropout 0.1 "$@" pairs.tok
        }
        rm -rf whole cut
        prefer whole -j 1 --steps 2 --save-every 1
        is "$(logged whole rewards/margins | cut -d' ' -f1)" 0.0 "dpo-train over q$q: the model begins as its reference"
        not_ok 'and does not stay it' test "$(logged whole rewards/margins)" = '0.0 0.0'
        (export LD_PRELOAD="$BUILD/tests/faults/inject.so" FAULT_CALL=rename FAULT_MATCH=cut/checkpoint-2 FAULT_AT=1 FAULT_KILL=1
            prefer cut -j 2 --steps 2 --save-every 1) 2>killed.err
        is "$? $(ls -d cut/checkpoint-*)" '137 cut/checkpoint-1' 'killed behind its first step'
        prefer cut -j 3 --steps 2 --save-every 1
        ok 'it goes on, and ends with the same bytes' same_run whole cut
    done
else
    skip 'no dpo-train' 8
fi

# ---- plan ----
train q3 plan --plan >plan.out
mapped=$(sed -n 's/^weights, mapped *\([0-9]*\).*/\1/p' plan.out)
header=$(od -A n -t u8 -N 8 q3/model.safetensors | tr -d ' ')
is "$mapped" "$(($(wc -c <q3/model.safetensors) - 8 - header))" '--plan counts the weights as they are stored'

# ---- what belongs together ----
refused 'made for the base with fingerprint' 'an adapter of another quantization' eval-loss -m q4 -a adapter3 dev.tok
refused 'made for the base with fingerprint' 'and of the model before it' adapter-merge -m base -o out.d adapter3
run lora-train -q --dtype f32 -m q4 -o one3 --batch 8 --lr 3e-3 --rank 4 --steps 4 --dropout 0.2 --rslora --bias all train.tok
is_status 1 'a run does not go on over another quantization'
has err 'model' 'and says what differs'
run gen -q -m q3 -a adapter3 --max-tokens 4 hi
is_status 0 'gen with an adapter over a quantized base'

# ---- refused ----
lora-train -q -m q3 -o tiny --steps 1 --lr 1e-9 train.tok
run adapter-merge -m q3 -o unmoved --requantize --summary moved.json tiny
has err "no code differs from the base's" 'an adapter below the steps of the grid: --requantize says that it is lost'
has moved.json '"codes_moved": 0.0' 'and --summary'
usage 'exclude each other' '--base16 with --requantize' adapter-merge -m q3 -o out.d --base16 base --requantize adapter3
usage 'keeps every tensor' '--requantize with --dtype' adapter-merge -m q3 -o out.d --requantize --dtype f16 adapter3
make-adapter -q -m base -o of-base
refused 'base: is not quantized, which --requantize expects' '--requantize of a plain base' adapter-merge -m base -o out.d --requantize of-base
refused 'base: is not quantized, which --base16 expects' '--base16 over a plain base' adapter-merge -m base -o out.d --base16 base of-base
refused 'is quantized (bitsandbytes), expected the model from which' '--base16 of a quantized model' adapter-merge -m q3 -o out.d --base16 q4 adapter3
make-model -q --hidden 64 --ffn 128 --heads 4 --kv-heads 2 --head-dim 16 --bias -t bf16 -o wider
refused 'wider: intermediate_size is 128, that of q3 is 96' '--base16 of another shape' adapter-merge -m q3 -o out.d --base16 wider adapter3
make-model -q --hidden 64 --ffn 96 --heads 4 --kv-heads 2 --head-dim 16 --bias --salt x -t bf16 -o other
refused 'it was not quantized from this model' '--base16 of another model' adapter-merge -m q3 -o out.d --base16 other adapter3
refused 'mean KL' '--max-kl holds for --requantize when it is given' adapter-merge -m q3 -o out.d --requantize --check dev.tok --max-kl 0 adapter3
kl q3 damaged --requantize foreign >/dev/null
poke damaged/model.safetensors model.layers.1.mlp.up_proj.weight '\377\377\377'
for mode in --dtype=bf16 --requantize; do
    refused "model.layers.1.mlp.up_proj.weight' is damaged: its checksum differs" "$mode: a damaged quantized weight" adapter-merge -m damaged -o out.d $mode foreign
done
refused 'absent' '--base16 that is not there' adapter-merge -m q3 -o out.d --base16 absent adapter3

# ---- --merge-aware: trained is what --requantize makes of it ----
for number in 1 2 6; do
    q=q$number
    train $q ordinary$number --steps 8
    train $q aware$number --merge-aware --steps 8 -j 1
    ordinary=$(kl $q merged --requantize ordinary$number) aware=$(kl $q aware-merged --requantize aware$number)
    ok "$q: at most a fifth of what an ordinary run loses is lost ($ordinary, $aware)" less "$(awk -v x="$aware" 'BEGIN { print 5 * x }')" "$ordinary"
    ok "$q: the loss beside the base is that of the merge" near "$(loss $q -a aware$number)" "$(loss aware-merged)" 1e-6
    train $q again --merge-aware --steps 8 -j 3 --rows 40 --recompute layer
    ok "$q: whatever the threads, splits and recomputation" same aware$number again
    rm -rf again
done
logged aware1 loss >aware.log && logged ordinary1 loss >ordinary.log
# Where the grid is fine, rounding to it changes little, so gradients that are those of the sum train as ever.
ok 'on a fine grid it is the ordinary training' sh -c \
    "paste -d' ' aware.log ordinary.log | awk '{ for (i = 1; i <= 8; i++) if (\$i - \$(i + 8) > 0.02 || \$(i + 8) - \$i > 0.02) exit 1 } END { exit NR != 1 || NF != 16 }'"
lora-train -q --dtype f32 -m q2 -o last --batch 20 --steps 1 --adapter aware2 --merge-aware train.tok
ok 'its first loss is that of the adapter beside the base' near "$(logged last loss)" "$(eval-loss -q --dtype f32 -m q2 -a aware2 train.tok | sed 's/.*"loss":\([^,]*\).*/\1/')" 1e-5
lora-train -q --dtype f32 -m q2 -o then --batch 8 --lr 3e-3 --steps 8 --adapter ordinary2 --merge-aware train.tok
ok 'after an ordinary run it mends what the merge loses' less "$(kl q2 merged --requantize then)" "$(kl q2 merged --requantize ordinary2)"
run adapter-merge -m q2 -o warned aware2
is_status 0 'merged otherwise'
has err 'only --requantize makes of it what was trained' 'there is a warning'
usage '--merge-aware takes no --dropout' '--merge-aware with --dropout' lora-train -m q2 -o out.d --merge-aware --dropout 0.1 train.tok
refused 'there is no grid to train for' '--merge-aware over a plain base' lora-train -m base -o out.d --merge-aware train.tok
refused 'was trained with --merge-aware of lora-train and only goes on so' 'an ordinary run from there' lora-train -m q2 -o out.d --adapter aware2 train.tok

# ---- the recipe ----
if has_tool quantize; then
    mkdir recipe && cd recipe || exit
    example_files || { report 1 'the files can be made'; finish; }
    unset MAKEFLAGS MFLAGS MAKELEVEL
    recipe() {
        run make -f "$ROOT/pipelines/qlora.mk" MODEL=model DATA=alpaca.json EVAL=messages.jsonl OUT=run LORA='--steps 3 --rank 4' "$@"
    }
    recipe
    is_status 0 'qlora.mk runs'
    is "$(grep -c '"loss"' run/loss.jsonl)" 4 'and tells four losses'
    not_ok 'its result is a plain model' grep -q quantization_config run/merged/config.json
    recipe
    is "$(grep -c . out)" 1 'a second time there is nothing to do'
    recipe MERGE=--requantize
    is_status 0 'with another merge'
    has run/merged/config.json quantization_config 'the result is in the layout of the base'
    not_ok 'and nothing is trained again' grep -q '^lora-train' out
    run gen -q -m run/merged --max-tokens 2 hi
    is_status 0 'gen takes it'
    cd .. || exit
else
    skip 'no quantize' 8
fi

# ---- memory: that of the largest tensor, and of one module in f32 ----
if nm "$BUILD/bin/adapter-merge" | grep -q __asan; then
    skip 'sanitizers need memory of their own' 2
else
    make-model -q -t bf16 --layers 6 --hidden 1024 --heads 8 --kv-heads 8 --head-dim 128 --ffn 2048 --vocab 4096 -o large
    make-quantized -q -m large --layout nf4 -o large-q
    rm -r large
    lora-train -q -m large-q -o large-adapter --steps 1 --batch 1 --rank 8 --targets q_proj,down_proj train.tok 2>/dev/null ||
        { make-tokens -q -m large-q --samples 2 -o large.tok && lora-train -q -m large-q -o large-adapter --steps 1 --batch 1 --rank 8 --targets q_proj,down_proj large.tok; }
    for mode in --dtype=bf16 --requantize; do
        rm -rf large-merged
        adapter-merge -q --summary s.json -m large-q -o large-merged $mode large-adapter
        peak=$(value s.json peak_memory)
        ok "$mode: $peak bytes" less "$peak" $((2 * 4096 * 1024 * 2 + 2048 * 1024 * 5 + 64000000))
    done
fi
finish
