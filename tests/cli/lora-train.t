#!/bin/sh
# lora-train: what every option does, what is refused, what is left behind.
. "${0%/*}/lib.sh"
. "$ROOT/tests/cli/train.sh"
has_tool lora-train || skip_all 'no lora-train'

make-model -q -o model
make-tokens -q -m model -o train.tok # 20 samples
make-tokens -q -m model --samples 7 --seed 1 -o dev.tok
ckpt-info --json model >model.json
t() { # OUT OPTIONS...: a short run; steps of 8, 8 and 4 samples
    out=$1
    shift
    lora-train -q -j 1 --dtype f32 -m model -o "$out" --batch 8 --lr 1e-2 "$@" train.tok
}

# ---- what is written ----
run lora-train -j 1 --dtype f32 -m model -o plain --batch 8 --lr 1e-2 --steps 4 train.tok
is_status 0 'a run'
is "$(cat out)" '' 'nothing on stdout'
has err 'trains 11264 of 33272 parameters (33.9%) in 4 steps' 'the start line tells what is trained'
has err 'the adapter is in plain' 'the last line tells where it is'
is "$(ls plain | tr '\n' ' ')" 'README.md adapter_config.json adapter_model.safetensors checkpoint-4 log.jsonl run.json ' 'the folder'
ok 'a PEFT folder at the top' ckpt-info --verify plain
ok 'the checkpoint is whole' ckpt-info --verify plain/checkpoint-4
ok 'and holds the same adapter' cmp plain/adapter_model.safetensors plain/checkpoint-4/adapter_model.safetensors
is "$(logged plain step)" '1 2 3 4' 'a line of the log for each step'
is "$(grep -c '"type":"start"' plain/log.jsonl)$(tail -n 1 plain/log.jsonl | grep -c '"type":"end","status":0')" 11 'and for start and end'
has plain/run.json '"status": "complete"' 'the record says it is complete'
is "$(ckpt-info --json plain | sed -n 's/.*"base_fingerprint": "\([^"]*\)".*/\1/p' | head -1)" \
    "$(sed -n 's/.*"fingerprint": "\([^"]*\)".*/\1/p' model.json)" 'the adapter names its base'
run lora-train --dtype f32 -m model -o plain --batch 8 --lr 1e-2 --steps 4 train.tok
is_status 0 'the same command again'
has err 'already complete' 'says that it is done'
run lora-train -q -j 1 --dtype f32 -m model -o quiet --batch 8 --lr 1e-2 --steps 4 train.tok
is "$(cat out err)" '' '-q says nothing'
ok 'equal commands, equal bytes' cmp plain/adapter_model.safetensors quiet/adapter_model.safetensors
run lora-train -v -j 1 -m model -o verbose --batch 8 --lr 1e-2 --steps 1 train.tok
is_status 0 '-v'
rm plain/adapter_config.json
t plain --steps 4
ok 'a result that was taken away is written again from its checkpoint' ckpt-info --verify plain

# ---- the adapter ----
t rank --steps 1 --rank 4
has rank/adapter_config.json '"r": 4' '--rank'
is "$(numbers rank/adapter_model.safetensors base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight | wc -l | tr -d ' ')" 96 'is the height of A'
t alpha --steps 1 --alpha 64
ok '--alpha scales the gradient of B' near "$(logged alpha grad_norm)" "$(echo "$(logged plain grad_norm)" | awk '{ print 2 * $1 }')" 1e-6
has alpha/adapter_config.json '"lora_alpha": 64' 'and is in the configuration'
t rslora --steps 1 --rslora
ok '--rslora divides by the root of the rank' near "$(logged rslora grad_norm)" "$(logged plain grad_norm | awk '{ print 4 * $1 }')" 1e-6
has rslora/adapter_config.json '"use_rslora": true' 'and is in the configuration'
t dropout --steps 4 --dropout 0.5
is "$(logged dropout loss | cut -d' ' -f1)" "$(logged plain loss | cut -d' ' -f1)" '--dropout: nothing to see while B is 0'
not_ok 'then it shows' test "$(logged dropout loss)" = "$(logged plain loss)"
has dropout/adapter_config.json '"lora_dropout": 0.5' 'and is in the configuration'
targets() { # WHAT MODULES: of the run `out`
    is "$(head -c 20000 "$out/adapter_model.safetensors" | grep -aoE 'layers\.[0-9]+\.[a-z_.]+lora_A|lm_head.lora_A' | sed 's/.lora_A//; s/layers.//; s/[a-z]*_*[a-z]*\.\([a-z]*_proj\)$/\1/' | sort | tr '\n' ' ')" "$2 " "$1"
}
t targets --steps 1 --targets q_proj,v_proj
targets '--targets: names' '0.q_proj 0.v_proj 1.q_proj 1.v_proj'
t targets2 --steps 1 --targets '.*\.1\.mlp\..*_proj'
targets '--targets: a regular expression' '1.down_proj 1.gate_proj 1.up_proj'
t targets3 --steps 1 --targets all-linear
t targets4 --steps 1
ok '--targets all-linear is the default' cmp targets3/adapter_model.safetensors targets4/adapter_model.safetensors
targets '--targets all-linear' "$(for l in 0 1; do for m in down gate k o q up v; do echo $l.${m}_proj; done; done | tr '\n' ' ' | sed 's/ $//')"
make-model -q --bias -o biased
for bias in none all lora_only; do
    lora-train -q -j 1 -m biased -o bias-$bias --steps 1 --targets q_proj --bias $bias train.tok
    is "$(grep -aoE '(q_proj\.base_layer|[a-z]_proj)\.bias' bias-$bias/adapter_model.safetensors | sort -u | wc -l | tr -d ' ')" \
        "$(case $bias in none) echo 0 ;; all) echo 7 ;; *) echo 1 ;; esac)" "--bias $bias"
done
t from --steps 1 --adapter targets --lr 0
ok '--adapter starts from its values' cmp from/adapter_model.safetensors from/checkpoint-1/adapter_model.safetensors
for part in A B; do
    name=base_model.model.model.layers.1.self_attn.v_proj.lora_$part.weight
    tensor targets/adapter_model.safetensors $name >was
    tensor from/adapter_model.safetensors $name >now
    ok "$part is what it was" cmp was now
done
lora-train -q -j 1 --dtype f32 -m model -o from2 --steps 1 --batch 20 --adapter targets train.tok
ok 'and the first loss is that of the adapter' near "$(logged from2 loss)" \
    "$(eval-loss -q -j 1 --dtype f32 -m model -a targets train.tok | sed 's/.*"loss":\([^,]*\).*/\1/')" 1e-6
for option in '--rank 4' '--alpha 4' '--targets q_proj' '--rslora' '--bias all'; do
    usage '--adapter brings its own' "--adapter with $option" lora-train -m model -o out.d --adapter targets $option train.tok
done

# ---- length and order ----
t epochs --epochs 2
is "$(logged epochs step)" '1 2 3 4 5 6' '--epochs'
is "$(logged epochs epoch)" '0.4 0.8 1.0 1.4 1.8 2.0' 'the log tells the part done'
t half --epochs 0.5
is "$(logged half step)" '1 2' '--epochs 0.5 is rounded up to whole steps'
lora-train -q -j 1 -m model -o three train.tok
is "$(logged three step)" '1 2 3 4 5 6' 'three epochs of steps of 16 by default'
lora-train -q -j 1 -m model -o batch --batch 5 --epochs 1 train.tok
is "$(logged batch step)" '1 2 3 4' '--batch'
lora-train -q -j 1 -m model -o tokens --batch-tokens 60 --epochs 1 --order file train.tok
ok '--batch-tokens: every step but the last of an epoch has so many' sh -c "for n in $(logged tokens trained | sed 's/ [0-9]*$//'); do [ \$n -ge 60 ] || exit 1; done"
is "$(logged tokens trained | awk '{ for (i = 1; i <= NF; i++) n += $i; print n }')" 213 'and none is lost'
usage 'exclude each other' '--batch and --batch-tokens' lora-train -m model -o out.d --batch 4 --batch-tokens 60 train.tok
usage 'exclude each other' '--steps and --epochs' lora-train -m model -o out.d --steps 4 --epochs 1 train.tok
lora-train -q -j 1 -m model -o file --batch 1 --epochs 1 --order file train.tok
lora-train -q -j 1 -m model -o random --batch 1 --epochs 1 train.tok
lora-train -q -j 1 -m model -o seed --batch 1 --epochs 1 --seed 1 train.tok
offset=$(($(wc -c <train.tok) - 96 - 160))
tail -c +$((offset + 1)) train.tok | head -c 160 | od -A n -v -t u8 -w8 | while read -r at; do
    tail -c +$((at + 1)) train.tok | head -c 4 | od -A n -t u4 | tr -d ' '
done >lengths
is "$(logged file tokens)" "$(tr '\n' ' ' <lengths | sed 's/ $//')" '--order file'
not_ok '--order random is another' test "$(logged random tokens)" = "$(logged file tokens)"
not_ok '--seed: yet another' test "$(logged seed tokens)" = "$(logged random tokens)"
is "$(logged random tokens | tr ' ' '\n' | sort -n | tr '\n' ' ')" "$(sort -n lengths | tr '\n' ' ')" 'of the same samples'
t rows --steps 4 --rows 30
has rows/log.jsonl '"rows":30' '--rows'
is "$(logged rows loss)" "$(logged plain loss)" 'it changes no loss'

# ---- the optimizer ----
is "$(logged plain lr)" '0.01 0.00853553391 0.005 0.00146446609' '--lr and --schedule cosine'
t linear --steps 4 --schedule linear
is "$(logged linear lr)" '0.01 0.0075 0.005 0.0025' '--schedule linear'
t constant --steps 4 --schedule constant --optimizer adamw
is "$(logged constant lr)" '0.01 0.01 0.01 0.01' '--schedule constant'
t warmup --steps 4 --schedule constant --warmup 2
is "$(logged warmup lr)" '0.0 0.005 0.01 0.01' '--warmup in steps'
t share --steps 4 --schedule constant --warmup 0.5
is "$(logged share lr)" "$(logged warmup lr)" '--warmup as a share'
lora-train -q -j 1 -m model -o default-lr --steps 1 train.tok
is "$(logged default-lr lr)" 0.0002 'the default rate'
# The first step leaves A alone, whose gradient is 0 while B is; only decay moves it.
A=base_model.model.model.layers.0.mlp.up_proj.lora_A.weight B=base_model.model.model.layers.0.mlp.up_proj.lora_B.weight
t still --steps 1
t decay --steps 1 --lr 0.5 --weight-decay 1
numbers still/adapter_model.safetensors $A >a.was
numbers decay/adapter_model.safetensors $A >a.now
ok '--weight-decay takes lr times decay of the value' sh -c \
    "paste a.was a.now | awk '{ d = \$1 / 2 - \$2; if (d > 1e-7 || d < -1e-7) exit 1 } END { exit NR != 384 }'"
moments() { # OUT STEP WHICH: all moments of a checkpoint, squared or not
    for name in $(head -c 40000 "$1/checkpoint-$2/optimizer.safetensors" | grep -aoE '"base_model[^"]*\.'"$3"'"' | tr -d '"'); do
        numbers "$1/checkpoint-$2/optimizer.safetensors" "$name"
    done
}
t bare --steps 1 --beta1 0 --beta2 0 --clip 0 --eps 0.01
norm=$(logged bare grad_norm)
ok '--beta1 0: the first moment is the gradient' near "$(moments bare 1 exp_avg | awk '{ s += $1 * $1 } END { print sqrt(s) }')" "$norm" 1e-5
ok '--beta2 0: the second is its square' near "$(moments bare 1 exp_avg_sq | awk '{ s += $1 } END { print sqrt(s) }')" "$norm" 1e-5
ok '--clip 0 does not clip' awk "BEGIN { exit !($norm > 1) }"
numbers bare/checkpoint-1/optimizer.safetensors $B.exp_avg >g
numbers bare/adapter_model.safetensors $B >b
ok '--eps stands beside the root of the second moment' sh -c \
    "paste g b | awk '{ g = \$1; a = g < 0 ? -g : g; d = \$2 + 0.01 * g / (a + 0.01); if (d > 1e-8 || d < -1e-8) exit 1; if (a) n++ } END { exit !n }'"
t clip --steps 1 --beta1 0 --clip 1e-3
is "$(logged clip grad_norm)" "$norm" '--clip: the log tells the norm before it'
ok '--clip: the gradient after it has this norm' near "$(moments clip 1 exp_avg | awk '{ s += $1 * $1 } END { print sqrt(s) }')" 1e-3 1e-4
t beta --steps 2 --beta1 0.5 --beta2 0.5
not_ok '--beta1 and --beta2 change the second step' cmp -s beta/adapter_model.safetensors still/adapter_model.safetensors

# ---- watching and saving ----
t eval --epochs 2 --eval dev.tok
is "$(sed -n 's/.*"type":"eval","step":\([0-9]*\).*/\1/p' eval/log.jsonl | tr '\n' ' ')" '3 6 ' '--eval: at the end of every epoch'
ok 'its loss is that of eval-loss' near "$(sed -n 's/.*"eval_loss":\([^,]*\).*/\1/p' eval/log.jsonl | tail -1)" \
    "$(eval-loss -q -j 1 --dtype f32 -m model -a eval dev.tok | sed 's/.*"loss":\([^,]*\).*/\1/')" 1e-6
t every --steps 5 --eval dev.tok --eval-every 2
is "$(sed -n 's/.*"type":"eval","step":\([0-9]*\).*/\1/p' every/log.jsonl | tr '\n' ' ')" '2 4 5 ' '--eval-every, and the last step'
usage 'needs --eval' '--eval-every without --eval' lora-train -m model -o out.d --eval-every 2 train.tok
t saved --steps 5 --save-every 2 --keep 9
is "$(cd saved && ls -d checkpoint-* | tr '\n' ' ')" 'checkpoint-2 checkpoint-4 checkpoint-5 ' '--save-every, and the last step'
t keep --steps 5 --save-every 1
is "$(cd keep && ls -d checkpoint-* | tr '\n' ' ')" 'checkpoint-4 checkpoint-5 ' 'two checkpoints stay'
t keep1 --steps 5 --save-every 1 --keep 1
is "$(cd keep1 && ls -d checkpoint-* | tr '\n' ' ')" 'checkpoint-5 ' '--keep'
t logging --steps 5 --log-every 2
is "$(logged logging step)" '2 4 5' '--log-every, and the last step'
t logging1 --steps 5
ok 'a line tells the mean loss of its steps' near "$(logged logging loss | cut -d' ' -f2)" "$(logged logging1 loss | awk '{ printf "%.9f", ($3 + $4) / 2 }')" 1e-7
is "$(logged logging tokens | cut -d' ' -f2)" "$(logged logging1 tokens | awk '{ print $3 + $4 }')" 'and all their tokens'
t elsewhere --steps 2 --log my.jsonl
is "$(grep -c '"type":"step"' my.jsonl)" 2 '--log'
ok 'the folder has no other' test ! -e elsewhere/log.jsonl
refused 'exists already' '--log with a file that is there' lora-train -m model -o out.d --log my.jsonl train.tok
refused 'missing/log: cannot create: the folder missing does not exist' '--log in a folder that is not there' lora-train -m model -o out.d --log missing/log train.tok
refused 'is the input' '--log that is an input' lora-train -m model -o out.d --log train.tok train.tok
run lora-train -q -j 1 -m model -o piped --steps 2 --log - train.tok
is "$(grep -c '"type":"step"' out)" 2 '--log - is stdout'
cp -r keep other && echo mine >other/notes
refused "lr: 0.01, now 0.02" 'other options for the same folder' lora-train -j 1 -m model -o other --batch 8 --steps 5 --lr 0.02 --dtype f32 train.tok
refused 'data: ' 'other data for the same folder' lora-train -j 1 -m model -o other --batch 8 --steps 5 --lr 1e-2 --dtype f32 dev.tok
refused 'was made by lora-train' 'a folder of another program' full-train -m model -o other train.tok
ok 'nothing is touched' sh -c "rm -f other/.lock; diff -r keep other | grep -v 'Only in other: notes' | wc -l | grep -qx 0"
t other --steps 5 --lr 0.02 --restart
is "$(logged other step)" '1 2 3 4 5' '--restart begins anew'
ok 'and leaves what is not of the run' test -f other/notes
t other --steps 1 -f
ok '--force leaves nothing' test -d other/checkpoint-1 -a ! -e other/checkpoint-5
run lora-train -q -j 1 -m model -o summed --steps 3 --summary s.json --eval dev.tok train.tok
for key in '"tool": "lora-train"' '"status": 0' '"steps": 3' '"tokens": ' '"loss": ' '"eval_loss": ' '"peak_memory": '; do
    has s.json "$key" "--summary has $key"
done

# ---- memory ----
run lora-train -j 1 -m model -o out.d --plan train.tok
is_status 0 '--plan'
ok 'writes nothing' test ! -e out.d
for key in 'peak, about' 'optimizer state' 'one checkpoint' 'FLOPs per step' 'time, about' 'steps                                               6'; do
    has out "$key" "--plan tells '$key'"
done
peak=$(awk '/^peak/ { print $3 }' out)
run lora-train -j 1 -m model -o out.d -n --recompute layer train.tok
less=$(awk '/^peak/ { print $3 }' out)
has out 'activations computed again                        yes' '--recompute layer is planned'
ok 'and takes less' test "$less" -lt "$peak"
lora-train -j 1 -m model -o planned -n --rank 4096 --rows 64 --steps 2 train.tok >out
planned=$(awk '/^peak/ { print $3 }' out)
for part in 'a run' 'and one that goes on from a checkpoint'; do
    run lora-train -q -j 1 -m model -o planned --rank 4096 --rows 64 --steps 2 --summary planned.json train.tok
    if nm "$BUILD/bin/lora-train" | grep -q __asan; then
        skip 'sanitizers take memory of their own' 1
    else
        ok "$part takes what the plan says" test "$(sed -n 's/.*"peak_memory": \([0-9]*\).*/\1/p' planned.json)" -lt $((planned * 105 / 100))
    fi
    rm planned/adapter_model.safetensors
done
run lora-train -j 1 -m model -o out.d -n --memory "$(((peak + less) / 2))" train.tok
has out 'activations computed again                        yes' '--recompute auto does so when --memory is short'
run lora-train -j 1 -m model -o out.d -n --memory "$(((peak + less) / 2))" --recompute none train.tok
is_status 1 '--recompute none does not'
run lora-train -j 1 -m model -o out.d -n --memory 1M train.tok
is_status 1 '--plan: status 1 when it does not fit'
refused 'of memory' 'too little memory' lora-train -j 1 -m model -o out.d --memory 1M train.tok
refused "--offload activations: device 'cpu' works in the host's memory" '--offload on the CPU' lora-train --device cpu -m model -o out.d --offload activations train.tok
usage '--offload activations and --recompute layer exclude each other' '--offload with --recompute' \
    lora-train -m model -o out.d --offload activations --recompute layer train.tok
t off --steps 4 --offload none
ok '--offload none is the default' cmp off/adapter_model.safetensors quiet/adapter_model.safetensors
t recompute --steps 4 --recompute layer
ok '--recompute changes no byte' cmp recompute/adapter_model.safetensors quiet/adapter_model.safetensors
t none --steps 4 --recompute none --memory 1G
ok 'nor does --recompute none' cmp none/adapter_model.safetensors quiet/adapter_model.safetensors
t bf16 --steps 4 --dtype bf16
has bf16/log.jsonl '"dtype":"bf16"' '--dtype bf16'
not_ok 'is another arithmetic' cmp -s bf16/adapter_model.safetensors quiet/adapter_model.safetensors
ok 'with about the same loss' near "$(logged bf16 loss | cut -d' ' -f1)" "$(logged plain loss | cut -d' ' -f1)" 0.02
t cpu --steps 4 --device cpu
ok '--device cpu' cmp cpu/adapter_model.safetensors quiet/adapter_model.safetensors
lora-train -q -j 1 -m model -o seed1 --dtype f32 --batch 8 --lr 1e-2 --steps 4 --seed 1 --order file train.tok
lora-train -q -j 1 -m model -o seed0 --dtype f32 --batch 8 --lr 1e-2 --steps 4 --seed 0 --order file train.tok
not_ok '--seed draws another A' cmp -s seed1/adapter_model.safetensors seed0/adapter_model.safetensors

# ---- stored types and shards ----
for type in bf16 f16; do
    make-model -q -t $type -o model-$type
    lora-train -q -j 1 --dtype f32 -m model-$type -o on-$type --batch 8 --lr 1e-2 --steps 4 train.tok
    ok "weights stored as $type" near "$(logged on-$type loss | cut -d' ' -f4)" "$(logged plain loss | cut -d' ' -f4)" 0.01
done
make-model -q --max-shard 20k -o shards
lora-train -q -j 1 --dtype f32 -m shards -o on-shards --batch 8 --lr 1e-2 --steps 4 train.tok
is "$(logged on-shards loss)" "$(logged quiet loss)" 'a model in shards'

# ---- refused ----
l() { # TEXT WHAT MODEL FILE OPTIONS...
    text=$1 what=$2 model=$3 file=$4
    shift 4
    refused "$text" "$what" lora-train -j 1 -m "$model" -o out.d --steps 2 "$@" "$file"
}
make-tokens -q -m model --kind pairs -o pairs.tok
l 'pairs.tok: holds pairs, expected samples (dpo-train takes these' 'pairs' model pairs.tok
l 'pairs.tok: holds pairs' '--eval with pairs' model train.tok --eval pairs.tok
make-model -q --nan model.layers.1.mlp.up_proj.weight -o nan
l "tensor 'model.layers.1.mlp.up_proj.weight': element 959 is not a finite number" 'NaN in a weight' nan train.tok
broken inf model poke model.safetensors model.embed_tokens.weight '\000\000\200\177'
l "tensor 'model.embed_tokens.weight': element 0 is not a finite number" 'infinity in a weight that is not used' inf train.tok
broken shape model sed -i 's/"intermediate_size": 40/"intermediate_size": 41/' config.json
l 'expected shape [41, 24]' 'a tensor of the wrong shape' shape train.tok
broken type model sed -i 's/"F32"/"I32"/' model.safetensors
l 'type' 'a tensor of the wrong type' type train.tok
broken gone shards sh -c 'rm model-00002-of-*'
l 'this shard is missing' 'a missing shard' gone train.tok
broken twice shards sh -c 'cp model-00001-of-* "$(ls model-00002-of-*)"'
l 'is not in model-00002' 'a shard that is another' twice train.tok
broken cut model sh -c 'head -c 50000 model.safetensors >x && mv x model.safetensors'
l 'bytes of data' 'a cut model' cut train.tok
broken without model sed -i '/"model_type"/d' config.json
l 'model_type: missing' 'a field of config.json that is absent' without train.tok
for field in vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads; do
    broken "no-$field" model sed -i "s/\"$field\"/\"_$field\"/" config.json
    l "no-$field/config.json: $field: missing, expected a whole number" "without $field" "no-$field" train.tok
done
broken capped model sed -i 's/^{/{"final_logit_softcapping": 30.0,/' config.json
l 'capped/config.json: final_logit_softcapping: found 30' 'a field that changes the arithmetic' capped train.tok
broken scaled model sed -i 's/^{/{"attention_multiplier": 0.5,/' config.json
l 'scaled/config.json: attention_multiplier: found 0.5' 'one that is not known at all' scaled train.tok
broken unknown model sed -i 's/"model_type": "llama"/"model_type": "lama"/' config.json
l 'lama' 'a model type that is not known' unknown train.tok
broken act model sed -i 's/"silu"/"relu6"/' config.json
l 'relu6' 'an activation that is not known' act train.tok
broken config model sh -c 'echo "{" >config.json'
l 'config.json: line' 'a broken config.json' config train.tok
l 'absent' 'a model that is not there' absent train.tok
l 'absent.tok: cannot open' 'a token file that is not there' model absent.tok
make-tokens -q -m model --vocab 300 -o wide.tok
l 'token' 'a token outside the vocabulary' model wide.tok
grep -qE 'record [1-9][0-9]*: token [0-9]+ is outside the model.s vocabulary of 272' err
report $? 'it names record, token and vocabulary'
broken spoilt model sed -i 's/"version"/ "version"/' tokenizer.json
l 'another tokenizer' 'a token file of another tokenizer' spoilt train.tok
head -c 500 train.tok >cut.tok
l 'cut.tok' 'a cut token file' model cut.tok
cp train.tok damaged.tok && printf '\001' | dd of=damaged.tok bs=1 seek=300 conv=notrunc status=none
l 'damaged.tok' 'a damaged token file' model damaged.tok
: >empty.tok
l 'empty.tok' 'an empty token file' model empty.tok
{
    echo '{"chat_stream":1,"kind":"samples","tool":"t","template":{"name":"chatml","sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},"options":{}}'
    echo '{"end":{"samples":0,"skipped":0}}'
} | tok-encode -q -m model -o none.tok 2>/dev/null
[ -f none.tok ] && l 'no sample' 'a token file without samples' model none.tok || skip 'tok-encode writes no file without samples'
make-tokens -q -m model --samples 3 --min 600 --max 700 -o long.tok
l 'long.tok: sample 1: holds' 'a sample longer than the positions' model long.tok
l 'absent.tok' 'an --eval file that is not there' model train.tok --eval absent.tok
l 'another tokenizer' 'an --eval file of another tokenizer' spoilt train.tok --eval dev.tok
l 'q_roj' '--targets that names no module' model train.tok --targets q_roj
l 'matches no linear module' '--targets that matches none' model train.tok --targets 'x.*y'
l "'(q_proj'" '--targets that is no regular expression' model train.tok --targets '(q_proj'
l 'cuda' 'a GPU that is not there' model train.tok --device cuda:99
make-model -q --salt other -o other-model
l 'made for the base' 'an adapter of another base' other-model train.tok --adapter rank
make-model -q --hidden 32 -o wider
make-adapter -q -m model --foreign -o foreign
l 'is for a weight of [24, 40]' 'an adapter of another shape' wider train.tok --adapter foreign
l 'absent' 'an adapter that is not there' model train.tok --adapter absent
broken adapter-nan foreign poke adapter_model.safetensors base_model.model.model.layers.0.mlp.up_proj.lora_A.weight '\000\000\300\177'
l 'is damaged: its checksum differs' 'damage in an adapter' model train.tok --adapter adapter-nan
unchecked adapter-nan/adapter_model.safetensors
l 'is not a finite number' 'NaN in an adapter' model train.tok --adapter adapter-nan

mkdir existing && echo mine >existing/file
run lora-train -m model -o existing train.tok
is_status 1 'a folder that is no run is refused'
one_line err 'in one line'
is "$(cat existing/file)" mine 'and left alone'
echo mine >file.txt
run lora-train -f -m model -o file.txt train.tok
is "$status $(cat file.txt)" '1 mine' 'so is a file, even with --force'
cp -r model before
ln -s model link
for output in model ./model link .; do
    run lora-train -f -m model -o $output train.tok
    is_status 1 "output $output is or holds an input"
    one_line err 'one line'
done
run lora-train -f -m model -o rank --adapter rank train.tok
is_status 1 'the output is --adapter'
ok 'inputs are not touched' diff -r model before
refused 'missing/out: cannot make the folder: the folder missing does not exist' 'a folder below one that is not there' lora-train -j 1 -m model -o missing/out train.tok
refused 'cannot make the folder: file.txt is not a folder' 'a folder in a file' lora-train -j 1 -m model -o file.txt/out train.tok
mkdir read-only && chmod 555 read-only
if [ "$(id -u)" = 0 ]; then
    skip 'root may write anywhere'
else
    refused 'cannot make the folder' 'a read-only folder' lora-train -j 1 -m model -o read-only/out train.tok
fi
usage 'the model, is missing' 'no model' lora-train -o out.d train.tok
usage 'OUT, the folder' 'no output' lora-train -m model train.tok
usage 'one token file' 'no token file' lora-train -m model -o out.d
usage 'one token file' 'two token files' lora-train -m model -o out.d train.tok dev.tok
for option in '--rank 0' '--dropout 1' '--epochs 0' '--steps 0' '--batch 0' '--lr -1' '--beta1 1' '--beta2 1' '--clip -1' '--keep 0' \
    '--log-every 0' '--schedule sine' '--bias some' '--warmup -1' '--dtype f8' '--device tpu' '--memory 0'; do
    usage "${option% *}" "$option" lora-train -m model -o out.d $option train.tok
done
run sh -c 'lora-train -j 1 -m model -o out.d -n train.tok >&-'
is_status 1 '--plan to a closed stdout fails'
run sh -c 'lora-train -j 1 -m model -o out.d -n train.tok >/dev/full'
is_status 1 'and to a full one'
run sh -c 'lora-train -q -j 1 -m model -o unheard --steps 1 train.tok >&-'
is_status 0 'training has nothing to say on stdout'

# ---- a loss that is no number ----
make-model -q -o hot
poke hot/model.safetensors lm_head.weight '\377\377\177\177\377\377\177\177\377\377\177\177\377\377\177\177'
run lora-train -j 1 -m hot -o diverged --dtype f32 --steps 2 train.tok
is_status 3 'a run that diverges has status 3'
has err 'is no finite number' 'and says why'
has err 'there is no checkpoint before it' 'and what is left'
has diverged/run.json '"status": "diverged"' 'the record says so'
has diverged/log.jsonl '"status":3' 'and the log'
run lora-train -j 1 -m model -o undefined --dtype f32 --steps 3 --save-every 1 --eps 0 train.tok
is_status 3 'so has one whose update is no number (0 / 0)'
has err 'step 1: an updated weight is no finite number, first seen in '"'base_model" 'which names the tensor'
ok 'and nothing of it is kept' test ! -e undefined/checkpoint-1 -a ! -e undefined/adapter_model.safetensors

# ---- the disk ----
inject=$BUILD/tests/faults/inject.so
if [ -f "$inject" ] && ! nm "$BUILD/bin/lora-train" | grep -q __asan; then
    refused '5000 are free' 'a disk that is too small' env LD_PRELOAD="$inject" FAULT_FREE=5000 lora-train -j 1 -m model -o out.d train.tok
    run env LD_PRELOAD="$inject" FAULT_CALL=write FAULT_AT=12 FAULT_STICKY=1 FAULT_ERRNO=ENOSPC \
        lora-train -q -j 1 --dtype f32 -m model -o full --batch 8 --lr 1e-2 --steps 4 --save-every 1 train.tok
    is_status 1 'a disk that fills up on the way'
    one_line err 'one line'
    has err 'No space left on device' 'that says so'
    t full --steps 4 --save-every 1
    ok 'the same command then ends as if nothing had happened' cmp full/adapter_model.safetensors quiet/adapter_model.safetensors
else
    skip 'no fault injector' 5
fi
finish
