#!/bin/sh
# full-train: what is trained and what stays, training from nothing, stored types, what is refused. Length, order, optimizer,
# watching, saving and memory are options of every trainer: lora-train.t.
. "${0%/*}/lib.sh"
. "$ROOT/tests/cli/train.sh"
has_tool full-train || skip_all 'no full-train'

make-model -q -o model
make-tokens -q -m model -o train.tok # 20 samples
make-tokens -q -m model --samples 7 --seed 1 -o dev.tok
t() { # OUT OPTIONS...
    out=$1
    shift
    full-train -q -j 1 --dtype f32 -m model -o "$out" --batch 8 --lr 1e-3 "$@" train.tok
}
loss() { # MODEL
    eval-loss -q -j 1 --dtype f32 -m "$1" train.tok | sed 's/.*"loss":\([^,]*\).*/\1/'
}
changed() { # OUT: how many tensors differ from the model's
    n=0
    for name in $(head -c 4000 model/model.safetensors | grep -aoE '"[a-z_0-9.]*\.(weight|bias)"' | tr -d '"'); do
        tensor model/model.safetensors "$name" >was
        tensor "$1/model.safetensors" "$name" >now
        cmp -s was now || n=$((n + 1))
    done
    echo $n
}

# ---- what is written ----
run full-train -j 1 --dtype f32 -m model -o plain --batch 8 --lr 1e-3 --steps 4 train.tok
is_status 0 'a run'
is "$(cat out)" '' 'nothing on stdout'
has err 'trains 22008 of 22008 parameters (100%) in 4 steps' 'the start line tells what is trained'
has err 'the model is in plain' 'the last line tells where it is'
ok 'a model folder at the top' ckpt-info --verify plain
ok 'the checkpoint is whole' ckpt-info --verify plain/checkpoint-4
ok 'and holds the same model' cmp plain/model.safetensors plain/checkpoint-4/model.safetensors
for file in config.json tokenizer.json tokenizer_config.json generation_config.json; do
    ok "$file travels along" cmp model/$file plain/$file
done
is "$(changed plain)" 21 'every tensor is trained'
ok 'it learns' sh -c "awk 'BEGIN { exit !($(loss plain) < $(loss model)) }'"
run full-train -m model -o plain --batch 8 --lr 1e-3 --steps 4 --dtype f32 train.tok
has err 'already complete' 'the same command again says that it is done'
is "$(ckpt-info --json plain | sed -n 's/.*"base": "\([^"]*\)".*/\1/p' | head -1)" \
    "$(ckpt-info --json model | sed -n 's/.*"fingerprint": "\([^"]*\)".*/\1/p')" 'it names the model it was made from'
full-train -q -j 1 -m model -o default-lr --steps 1 train.tok
is "$(logged default-lr lr)" 1e-5 'the default rate'
full-train -q -j 1 --dtype f32 -m model -o whole --batch 20 --steps 1 train.tok
ok 'the first loss is that of the model' near "$(logged whole loss)" "$(loss model)" 1e-6
t still --steps 2 --lr 0
ok '--lr 0 changes nothing' compare-tensors -q model/model.safetensors still

# ---- --train ----
t norms --steps 2 --train 'norm'
is "$(changed norms)" 5 '--train: the norms'
t last --steps 2 --train 'layers\.1\.mlp'
is "$(changed last)" 3 '--train: part of the last layer'
make-model -q --bias -o biased
run full-train -j 1 -m biased -o biases --steps 2 --train 'bias$' train.tok
has err 'trains 336 of ' '--train: the biases'
refused 'matches no tensor' '--train that matches nothing' full-train -j 1 -m model -o out.d --train 'biaz' train.tok
refused "--train: '(norm'" '--train that is no regular expression' full-train -j 1 -m model -o out.d --train '(norm' train.tok
t norms1 --steps 1 --train norm --clip 0
t all1 --steps 1 --clip 0
for part in norms1 all1; do tensor $part/model.safetensors model.layers.0.input_layernorm.weight >$part.bytes; done
ok 'a tensor trained alone goes the way it goes among others' cmp norms1.bytes all1.bytes

# ---- stored types, ties, shards ----
for type in bf16 f16; do
    make-model -q -t $type -o model-$type
    full-train -q -j 1 --dtype f32 -m model-$type -o out-$type --batch 8 --lr 1e-3 --steps 4 train.tok
    is "$(head -c 3000 out-$type/model.safetensors | grep -aoE '"dtype":"[A-Z0-9]*"' | sort -u)" "\"dtype\":\"$(echo $type | tr a-z A-Z)\"" "$type stays $type"
    ok "the values kept for going on are not rounded ($type)" sh -c \
        "head -c 9000 out-$type/checkpoint-4/optimizer.safetensors | grep -aq '\"model.norm.weight.master\":{\"dtype\":\"F32\"'"
    ok "$type: learns the same" near "$(logged out-$type loss | cut -d' ' -f4)" "$(logged plain loss | cut -d' ' -f4)" 0.01
done
make-model -q --tied -o tied
full-train -q -j 1 --dtype f32 -m tied -o out-tied --steps 4 train.tok
has out-tied/config.json '"tie_word_embeddings": true' 'a tied model stays tied'
ok 'and has no output layer' sh -c '! head -c 4000 out-tied/model.safetensors | grep -aq lm_head'
make-model -q --max-shard 20k -o shards
full-train -q -j 1 --dtype f32 -m shards -o out-shards --batch 8 --lr 1e-3 --steps 4 train.tok
ok 'a model in shards gives the same' compare-tensors -q plain/model.safetensors out-shards
# Decay multiplies by 1 - lr * decay, here about -1e6.
run full-train -q -j 1 --dtype f32 -m model-f16 -o over --train lm_head --lr 1000 --weight-decay 1000 --steps 1 train.tok
is_status 1 'a weight that grows too large for its type'
has err "tensor 'lm_head.weight': element" 'is named'
has err 'too large for the stored type F16' 'with its type'
one_line err 'in one line'
ok 'and is not written' test ! -e over/checkpoint-1 -a ! -e over/model.safetensors

# ---- from nothing ----
mkdir config && cp model/config.json model/tokenizer*.json model/generation_config.json config/
run full-train -j 1 --dtype f32 -m config -o new --init --lr 1e-2 --steps 6 --batch 8 train.tok
is_status 0 '--init'
ok 'makes a model' ckpt-info --verify new
ok 'that can be gone on from' full-train -q -j 1 -m new -o newer --steps 1 train.tok
ok 'its first loss is that of guessing' near "$(logged new loss | cut -d' ' -f1)" "$(awk 'BEGIN { print log(272) }')" 0.01
full-train -q -j 1 --dtype f32 -m config -o drawn --init --lr 0 --steps 1 train.tok
full-train -q -j 1 --dtype f32 -m config -o drawn1 --init --lr 0 --steps 1 --seed 1 train.tok
not_ok '--seed draws other weights' compare-tensors -q drawn/model.safetensors drawn1
is "$(numbers drawn/model.safetensors model.norm.weight | sort -u)" 1 'norms are 1'
deviation=$(numbers drawn/model.safetensors model.embed_tokens.weight | awk '{ s += $1 * $1 } END { print sqrt(s / NR) }')
ok 'matrices have a deviation of 0.02' near "$deviation" 0.02 0.03
sed 's/"hidden_size"/"initializer_range": 0.5, "hidden_size"/' model/config.json >config/config.json
full-train -q -j 1 --dtype f32 -m config -o drawn2 --init --lr 0 --steps 1 train.tok
deviation=$(numbers drawn2/model.safetensors model.embed_tokens.weight | awk '{ s += $1 * $1 } END { print sqrt(s / NR) }')
ok 'or initializer_range' near "$deviation" 0.5 0.03
sed 's/float32/bfloat16/' model/config.json >config/config.json
full-train -q -j 1 --dtype f32 -m config -o drawn3 --init --lr 0 --steps 1 train.tok
is "$(head -c 4000 drawn3/model.safetensors | grep -aoE '"dtype":"[A-Z0-9]*"' | sort -u)" '"dtype":"BF16"' 'the type is that of config.json'
usage '--init' '--init with --train' full-train -m config -o out.d --init --train norm train.tok
refused 'config' 'a folder without weights, and no --init' full-train -j 1 -m config -o out.d train.tok

# ---- options that are the same code, once each ----
t options --steps 4 --schedule linear --warmup 1 --weight-decay 0.1 --beta1 0.8 --beta2 0.9 --eps 1e-6 --clip 0.5 --optimizer adamw \
    --order file --rows 100 --eval dev.tok --eval-every 2 --save-every 2 --keep 1 --log-every 2 --log my.jsonl --recompute layer \
    --memory 1G --seed 3 --device cpu --summary s.json
is "$(ls -d options/checkpoint-*)" options/checkpoint-4 'options of every trainer: --keep'
is "$(grep -c '"type":"step"' my.jsonl) $(grep -c '"type":"eval"' my.jsonl)" '2 2' '--log, --log-every, --eval-every'
for setting in '"beta1":0.8' '"beta2":0.9' '"eps":1e-6' '"clip":0.5' '"weight_decay":0.1' '"schedule":"linear"' '"warmup":1.0' '"order":"file"' '"seed":3'; do
    has my.jsonl "$setting" "the log tells $setting"
done
has s.json '"eval_loss"' '--summary'
refused 'warmup: 1.0, now 2.0' 'other options for the same folder' full-train -j 1 --dtype f32 -m model -o options --batch 8 --lr 1e-3 --steps 4 \
    --schedule linear --warmup 2 --weight-decay 0.1 --beta1 0.8 --beta2 0.9 --eps 1e-6 --clip 0.5 --order file --rows 100 --seed 3 train.tok
full-train -q -j 1 -m model -o options --epochs 1 --batch-tokens 70 --restart train.tok
is "$(logged options trained | awk '{ for (i = 1; i <= NF; i++) n += $i; print n }') $(logged options epoch | sed 's/.* //')" '213 1.0' \
    '--restart, --epochs and --batch-tokens'
usage 'exclude each other' '--batch and --batch-tokens' full-train -m model -o out.d --batch 2 --batch-tokens 70 train.tok
t options --steps 1 -f -v 2>err
ok '--force' test -d options/checkpoint-1
for line in 'products  ' 'gradients of matrices  ' 'attention, backward  ' 'optimizer  ' 'between operations  '; do
    has err "$line" "-v tells the time of: $line"
done
run full-train -j 1 -m model -o out.d -n train.tok
is_status 0 '--plan'
has out 'parameters trained                              22008' 'tells what is trained'
ok 'and writes nothing' test ! -e out.d
peak=$(awk '/^peak/ { print $3 }' out)
full-train -j 1 -m model -o out.d -n --train 'layers\.1\.mlp' train.tok >out
ok 'less when less is trained' test "$(awk '/^peak/ { print $3 }' out)" -lt "$peak"

# ---- refused ----
l() { # TEXT WHAT MODEL FILE OPTIONS...
    text=$1 what=$2 model=$3 file=$4
    shift 4
    refused "$text" "$what" full-train -j 1 -m "$model" -o out.d --steps 2 "$@" "$file"
}
make-model -q --nan lm_head.weight -o nan
l "tensor 'lm_head.weight': element" 'NaN in a weight' nan train.tok
l "tensor 'lm_head.weight': element" 'NaN in a weight that is not trained' nan train.tok --train norm
broken shape model sed -i 's/"intermediate_size": 40/"intermediate_size": 41/' config.json
l 'expected shape [41, 24]' 'a tensor of the wrong shape' shape train.tok
broken type model sed -i 's/"F32"/"I32"/' model.safetensors
l 'type' 'a tensor of the wrong type' type train.tok
broken gone shards sh -c 'rm model-00002-of-*'
l 'this shard is missing' 'a missing shard' gone train.tok
broken unknown model sed -i 's/"model_type": "llama"/"model_type": "lama"/' config.json
l 'lama' 'a model type that is not known' unknown train.tok
l 'lama' 'the same with --init' unknown train.tok --init
make-tokens -q -m model --vocab 300 -o wide.tok
l "outside the model's vocabulary of 272" 'a token outside the vocabulary' model wide.tok
broken spoilt model sed -i 's/"version"/ "version"/' tokenizer.json
l 'another tokenizer' 'a token file of another tokenizer' spoilt train.tok
mkdir existing && echo mine >existing/file
run full-train -m model -o existing train.tok
is_status 1 'a folder that is no run is refused'
cp -r model before
for output in model .; do
    run full-train -f -m model -o $output train.tok
    is_status 1 "output $output is or holds an input"
    one_line err 'one line'
done
ok 'inputs are not touched' diff -r model before
usage 'one token file' 'no token file' full-train -m model -o out.d
usage '--lr' '--lr -1' full-train -m model -o out.d --lr -1 train.tok

inject=$BUILD/tests/faults/inject.so
if [ -f "$inject" ] && ! nm "$BUILD/bin/full-train" | grep -q __asan; then
    refused '5000 are free' 'a disk that is too small' env LD_PRELOAD="$inject" FAULT_FREE=5000 full-train -j 1 -m model -o out.d train.tok
    run env LD_PRELOAD="$inject" FAULT_CALL=write FAULT_AT=15 FAULT_STICKY=1 FAULT_ERRNO=ENOSPC \
        full-train -q -j 1 --dtype f32 -m model -o full --batch 8 --lr 1e-3 --steps 4 --save-every 1 train.tok
    is_status 1 'a disk that fills up on the way'
    one_line err 'one line'
    t full --steps 4 --save-every 1
    ok 'the same command then ends as if nothing had happened' cmp full/model.safetensors plain/model.safetensors
else
    skip 'no fault injector' 4
fi
finish
