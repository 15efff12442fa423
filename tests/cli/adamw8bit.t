#!/bin/sh
# --optimizer adamw8bit: what is kept in 8 bits, what it takes, what is recorded. That it goes on after a kill and does not depend on the
# number of threads: resume.t. That it computes what bitsandbytes does: tests/unit/adamw_8bit.c.
. "${0%/*}/lib.sh"
. "$ROOT/tests/cli/train.sh"
has_tool lora-train && has_tool full-train && has_tool dpo-train || skip_all 'no trainers'

make-model -q --hidden 48 --heads 3 --head-dim 16 --ffn 96 -o model
make-tokens -q -m model --samples 20 --max 40 -o train.tok
make-tokens -q -m model --kind pairs --samples 8 -o pairs.tok
with='-q -j 1 --dtype f32 -m model --batch 8'

full() { # OUT OPTIONS...
    out=$1
    shift
    full-train $with -o "$out" --lr 1e-3 --schedule constant --steps 12 "$@" train.tok
}
full eight --optimizer adamw8bit
full plain
ok 'full-train: it learns about as with f32' near "$(logged eight loss | cut -d' ' -f12)" "$(logged plain loss | cut -d' ' -f12)" 0.02
is "$(logged eight loss | cut -d' ' -f1)" "$(logged plain loss | cut -d' ' -f1)" 'it begins with the same loss'
ok 'the first step is the same, but for rounding' near "$(logged eight loss | cut -d' ' -f2)" "$(logged plain loss | cut -d' ' -f2)" 1e-7
not_ok 'later ones are not' test "$(logged eight loss)" = "$(logged plain loss)"
ok 'the loss goes down' awk "BEGIN { exit !($(logged eight loss | cut -d' ' -f12) < $(logged eight loss | cut -d' ' -f1)) }"

# ---- what a checkpoint has ----
O=eight/checkpoint-12/optimizer.safetensors
describes() { # TENSOR: its type and shape
    head -c 40000 $O | grep -ao '"'"$1"'":{"dtype":"[A-Z0-9]*","shape":[^]]*]' | sed 's/.*"dtype":"\([A-Z0-9]*\)","shape":/\1 /'
}
G=model.layers.0.mlp.gate_proj.weight Q=model.layers.0.self_attn.q_proj.weight
is "$(describes $G.master), $(describes $G.state1), $(describes $G.state2)" 'F32 [96,48], U8 [96,48], U8 [96,48]' 'moments of 4608 elements are codes'
is "$(describes $G.absmax1), $(describes $G.absmax2), $(describes $G.exp_avg)" 'F32 [18], F32 [18], ' 'and the largest magnitudes of 18 blocks'
is "$(describes $Q.exp_avg), $(describes $Q.exp_avg_sq), $(describes $Q.state1)" 'F32 [48,48], F32 [48,48], ' 'those of 2304 elements are f32'
is "$(describes model.embed_tokens.weight.exp_avg), $(describes lm_head.weight.state1)" 'F32 [272,48], U8 [272,48]' 'so are those of the embedding'
ok 'the first moments are near those of f32' sh -c ". $ROOT/tests/cli/train.sh
    numbers $O $Q.exp_avg >a; numbers plain/checkpoint-12/optimizer.safetensors $Q.exp_avg >b
    paste a b | awk '{ d = \$1 - \$2; s += d * d; t += \$2 * \$2 } END { exit !(t > 0 && s < 0.01 * t) }'"

# ---- memory and disk, to the byte ----
planned() { # LABEL OPTIONS...
    label=$1
    shift
    full-train -j 1 --dtype f32 -m model -o planned -n "$@" train.tok | sed -n "s/^$label  *\([0-9]*\) .*/\1/p"
}
# Twelve layers' parts of 4608 elements, q and o of 2304, k and v of 768, norms of 48; embedding and head of 13056.
coded=$((2 * 3 * 4608 + 13056)) blocks=$((2 * 3 * 18 + 51))
float=$((2 * (2 * 2304 + 2 * 768 + 2 * 48) + 48 + 13056))
up() { echo $((($1 + 63) / 64 * 64)); }
is "$(planned 'optimizer state' --optimizer adamw8bit)" $((2 * $(up $coded) + 2 * $(up $((4 * blocks))) + 8 * float)) \
    'the plan counts two bytes for each element and eight for a block of 256'
is "$(planned 'optimizer state')" $((8 * (coded + float))) 'eight bytes for each in f32'
is $(($(planned 'one checkpoint, about') - $(planned 'one checkpoint, about' --optimizer adamw8bit))) $((6 * coded - 8 * blocks)) 'a checkpoint is smaller by as much'
lora-train $with -o lora --rank 64 --steps 3 --optimizer adamw8bit train.tok
ok 'lora-train has it' sh -c "head -c 90000 lora/checkpoint-3/optimizer.safetensors | grep -aq 'gate_proj.lora_B.weight.state1\":{\"dtype\":\"U8\",\"shape\":\[96,64\]'"
dpo-train $with -o dpo --rank 64 --steps 3 --optimizer adamw8bit pairs.tok
ok 'dpo-train has it' sh -c "head -c 90000 dpo/checkpoint-3/optimizer.safetensors | grep -aq 'gate_proj.lora_B.weight.state2\":{\"dtype\":\"U8\"'"
dpo-train $with -o sync --rank 64 --steps 3 --sync-ref 2 --optimizer adamw8bit pairs.tok
ok 'beside a reference that follows' sh -c "head -c 90000 sync/checkpoint-3/optimizer.safetensors | grep -aq 'lora_B.weight.reference\":{\"dtype\":\"F32\"'"

# ---- what is recorded ----
ok 'the log says so' sh -c "head -n 1 eight/log.jsonl | grep -q '\"optimizer\":\"adamw8bit\"'"
has eight/run.json '"optimizer": "adamw8bit"' 'the record of the run'
ckpt-info eight/checkpoint-12 >info
has info 'adamw8bit' 'ckpt-info'
ok 'a checkpoint verifies' ckpt-info --verify eight/checkpoint-12
refused 'optimizer: adamw8bit, now adamw; --restart begins anew' 'a run with the other optimizer' full-train $with -o eight --lr 1e-3 --schedule constant --steps 12 train.tok
refused 'optimizer: adamw, now adamw8bit; --restart' 'and the other way' full-train $with -o plain --lr 1e-3 --schedule constant --steps 12 --optimizer adamw8bit train.tok
usage 'adamw8bit' 'an optimizer that is not there' full-train $with -o out.d --optimizer adam train.tok
full clipped --optimizer adamw8bit --clip 1e-3
not_ok '--clip acts before it' cmp -s clipped/model.safetensors eight/model.safetensors
full decay --optimizer adamw8bit --weight-decay 0.1
not_ok '--weight-decay acts on it' cmp -s decay/model.safetensors eight/model.safetensors
finish
