#!/bin/sh
# adapter-merge: PEFT's merges, every option, what stays as it was, what is refused.
. "${0%/*}/lib.sh"
has_tool adapter-merge || skip_all 'no adapter-merge'
PATH=$BUILD/tests/tools:$PATH
golden=$ROOT/tests/golden/adapters

# refused 'text of the message' WHAT COMMAND...: status 1, one line, nothing left
refused() {
    text=$1 what=$2
    shift 2
    run "$@"
    is_status 1 "$what: refused"
    has err "$text" "$what: says why"
    one_line err "$what: in one line"
    ok "$what: nothing is left" test ! -e out.d -a -z "$(find . -maxdepth 1 -name '.out.d*')"
}

sizes='--layers 2 --hidden 8 --heads 2 --kv-heads 1 --head-dim 4 --ffn 12 --vocab 16'
for type in f32 bf16; do
    make-model -q $sizes -t $type -o $type
    make-model -q $sizes -t $type --bias -o $type-bias
    for case in plain rslora regex layers head embedding bias-all bias-lora; do
        base=$type tolerance=1e-6
        case $case in bias-*) base=$type-bias ;; esac
        # PEFT rounds an embedding's delta (below 0.25 here) to bf16 before it adds it: 2^-11, and again the sum.
        [ $case-$type = embedding-bf16 ] && tolerance=3e-3
        adapter-merge -q -m $base -o merged-$case-$type "$golden/$case"
        ok "PEFT's adapter '$case' merged into $type is PEFT's merge" \
            compare-tensors --tolerance $tolerance --base $base "$golden/$case/merged-$type.safetensors" merged-$case-$type
    done
done
adapter-merge -q -m f32 -o combined --weights 0.5,-1.25 "$golden/plain" "$golden/rslora"
ok 'two adapters with weights are their sum' \
    compare-tensors --tolerance 1e-6 --base f32 "$golden/combined/merged-f32.safetensors" combined

make-model -q -t bf16 -o model
make-adapter -q -m model -o adapter
make-adapter -q -m model --rslora --rank 3 --salt x -o second
run adapter-merge -m model -o one adapter
is_status 0 'a merge of our adapter'
is "$(cat out)" '' 'nothing on stdout'
has err '21 tensors, 14 changed' 'the last line says what was done'
for file in config.json tokenizer.json tokenizer_config.json generation_config.json; do
    ok "$file travels along" cmp model/$file one/$file
done
run adapter-merge -q -m model -o quiet adapter
is "$(cat out err)" '' '-q says nothing'
ok 'equal inputs give equal bytes' diff -r one quiet
adapter-merge -q -j 4 -m model -o four adapter
ok 'whatever the threads' diff -r one four
adapter-merge -v -m model -o verbose adapter 2>err
has err 'change 14 of 21 tensors' '-v says more'
adapter-merge -q --summary s.json -m model -o summary adapter second
has s.json '"changed": 14' '--summary counts'

# What is not changed keeps its bytes.
bytes=88000 # of tensors in bf16: half of what f32 takes
bytes=$(sed -n 's/.*"bytes": \([0-9]*\).*/\1/p' s.json | head -1)
tail -c "$bytes" model/model.safetensors >data
adapter-merge -q -m model -o zero --weights 0 adapter
ok 'a weight of 0 leaves the base' sh -c "tail -c $bytes zero/model.safetensors | cmp - data"
make-adapter -q -m model --zero -o nothing
adapter-merge -q -m model -o same nothing
ok 'a delta of zero leaves the base' sh -c "tail -c $bytes same/model.safetensors | cmp - data"
adapter-merge -q -m model -o cancelled --weights 1,-1 --dtype f32 adapter adapter
adapter-merge -q -m model -o wide --weights 0 --dtype f32 adapter
ok 'an adapter and its opposite cancel' compare-tensors -q --tolerance 1e-7 wide/model.safetensors cancelled

# Shards: in, out, and the same weights.
make-model -q -t bf16 --max-shard 20k -o shards
ok 'the sharded base has an index' test -f shards/model.safetensors.index.json
make-adapter -q -m shards -o shards-adapter
adapter-merge -q -m shards -o from-shards shards-adapter
ok 'sharding of the base does not matter' sh -c "tail -c $bytes from-shards/model.safetensors >a; tail -c $bytes one/model.safetensors | cmp - a"
adapter-merge -q -m model -o to-shards --max-shard 20k adapter
ok '--max-shard makes shards' test -f to-shards/model.safetensors.index.json
ok 'that hold the same' compare-tensors -q one/model.safetensors to-shards

# Types and ties.
adapter-merge -q -m model -o half --dtype f16 adapter
has half/config.json '"torch_dtype": "float16"' '--dtype is written to config.json'
ok 'every tensor has that type' sh -c "! head -c 3000 half/model.safetensors | grep -aq BF16"
adapter-merge -q -m model -o whole --dtype f32 adapter
adapter-merge -q -m model -o again --dtype bf16 adapter
ok '--dtype of the base is keep' diff one/config.json again/config.json
make-model -q --tied -o tied
make-adapter -q -m tied -o tied-adapter
adapter-merge -q -m tied -o still-tied tied-adapter
has still-tied/config.json '"tie_word_embeddings": true' 'a tie that is not touched stays'
ok 'and no lm_head appears' sh -c "! head -c 5000 still-tied/model.safetensors | grep -aq lm_head"
make-adapter -q -m tied --targets 'lm_head|.*q_proj' -o head-adapter
run adapter-merge -m tied -o untied head-adapter
has err 'written apart' 'an adapter of the tied output layer unties it'
has untied/config.json '"tie_word_embeddings": false' 'config.json says so'
printf '\100\0\0\0\0\0\0\0{"__metadata__":{"format":"pt"}}                                ' >none.safetensors
ok 'the embedding is not changed' sh -c "compare-tensors -q --base tied none.safetensors untied 2>&1 | grep -q 'q_proj.weight. should be'"
make-adapter -q -m tied --targets 'model.embed_tokens' -o embed-adapter
adapter-merge -q -m tied -o untied2 embed-adapter
has untied2/config.json '"tie_word_embeddings": false' 'so does an adapter of the embedding'

run adapter-merge -n -m model adapter
is_status 0 '--plan'
has out '21, 14 of them changed' '--plan says what would be written'
LD_PRELOAD=$BUILD/tests/faults/inject.so FAULT_FREE=5000 adapter-merge -n -m model adapter >out 2>err
is $? 1 '--plan: status 1 when the disk is too small'

# Refused.
make-model -q -t bf16 --salt other -o other
make-model -q -t bf16 --hidden 32 -o wider
make-adapter -q -m model --foreign -o foreign
make-adapter -q -m model --skip base_model.model.model.layers.1.mlp.up_proj.lora_B.weight -o lacking 2>err
has err "has no lora_B" 'an adapter that cannot be read is not written'
make-adapter -q -m model --targets '.*[qv]_proj' -o lacking
sed -i 's/\.\*\[qv\]_proj/.*[qvk]_proj/' lacking/adapter_config.json
cp -r adapter dora && sed -i 's/"use_dora": false/"use_dora": true/' dora/adapter_config.json
cp -r adapter config-bad && echo '{' >config-bad/adapter_config.json
cp -r adapter rank && sed -i 's/"r": 4/"r": 5/' rank/adapter_config.json
cp -r adapter cut && head -c 9000 adapter/adapter_model.safetensors >cut/adapter_model.safetensors
refused 'made for the base with fingerprint' 'an adapter of another base' adapter-merge -m other -o out.d adapter
refused 'is for a weight of' 'an adapter of another shape' adapter-merge -m wider -o out.d foreign
refused "has no lora_A and lora_B" 'an adapter without a targeted module' adapter-merge -m model -o out.d lacking
refused 'use_dora: this feature is not supported' 'DoRA' adapter-merge -m model -o out.d dora
refused 'adapter_config.json: line' 'a broken configuration' adapter-merge -m model -o out.d config-bad
refused 'do not have the rank 5' 'a wrong rank' adapter-merge -m model -o out.d rank
refused 'bytes of data' 'a cut adapter' adapter-merge -m model -o out.d cut
refused 'not an adapter folder' 'a model as adapter' adapter-merge -m model -o out.d other
refused 'no such folder' 'an adapter that is not there' adapter-merge -m model -o out.d absent
refused 'absent' 'a model that is not there' adapter-merge -m absent -o out.d adapter
cp -r model nan-copy && make-model -qf -t bf16 --nan model.layers.1.mlp.up_proj.weight -o nan-copy
refused "tensor 'model.layers.1.mlp.up_proj.weight': element 959 is not a finite number" 'a NaN in a weight' \
    adapter-merge -m nan-copy -o out.d foreign
make-model -qf -t bf16 --nan model.norm.weight -o nan-copy
refused "tensor 'model.norm.weight': element 23" 'a NaN in a weight that is copied' adapter-merge -m nan-copy -o out.d foreign
cp -r shards broken && rm broken/model-00002-of-*.safetensors
refused 'this shard is missing' 'a missing shard' adapter-merge -m broken -o out.d foreign
rm -r broken && cp -r shards broken && cp broken/model-00001-of-*.safetensors "$(ls broken/model-00002-of-*)"
refused 'is not in model-00002' 'a shard that is another' adapter-merge -m broken -o out.d foreign
rm -r broken && cp -r model broken && sed -i 's/"intermediate_size": 40/"intermediate_size": 41/' broken/config.json
refused "expected shape [41, 24]" 'a tensor of the wrong shape' adapter-merge -m broken -o out.d foreign
rm -r broken && cp -r model broken && sed -i 's/"BF16"/"I16"/g; s/{"__meta/{ "__meta/' broken/model.safetensors
refused 'broken' 'a tensor of the wrong type' adapter-merge -m broken -o out.d foreign
refused 'too large for type F16' 'a result that f16 cannot hold' adapter-merge -m model -o out.d --dtype f16 --weights 1e6 adapter
refused 'none/out: cannot create a folder beside it: the folder none does not exist' 'a folder below one that is not there' adapter-merge -m model -o none/out adapter
echo file >file
refused 'cannot create' 'a folder that cannot be written' adapter-merge -m model -o file/merged adapter

# What carries checksums is compared with them: adapters, and every tensor of a base as it is read.
last=$(($(wc -c <adapter/adapter_model.safetensors) - 1))
cp -r adapter damaged && flip damaged/adapter_model.safetensors $last 0
refused "adapter_model.safetensors: tensor 'base_model.model." 'a damaged adapter' adapter-merge -m model -o out.d damaged
has err 'is damaged: its checksum differs' 'a damaged adapter: as ckpt-info says'
cp -r adapter damaged2 && flip damaged2/adapter_model.safetensors 40 0
refused 'damaged2/adapter_model.safetensors: ' 'a damaged header of an adapter' adapter-merge -m model -o out.d damaged2
unchecked damaged/adapter_model.safetensors
run adapter-merge -q -m model -o unchecked damaged
is_status 0 'without checksums there is nothing to compare'
last=$(($(wc -c <model/model.safetensors) - 1))
cp -r model damaged-model && flip damaged-model/model.safetensors $last 0
refused "tensor 'model.norm.weight' is damaged: its checksum differs" 'a damaged tensor that is copied' adapter-merge -m damaged-model -o out.d foreign
header=$(od -A n -t u8 -N 8 model/model.safetensors | tr -d ' ')
up=$(head -c $((header + 8)) model/model.safetensors | tail -c +9 | sed -E 's/.*"model.layers.1.mlp.up_proj.weight":[^]]*\][^[]*\[([0-9]+),.*/\1/')
flip damaged-model/model.safetensors $last 0 && flip damaged-model/model.safetensors $((header + 8 + up)) 0
refused "tensor 'model.layers.1.mlp.up_proj.weight' is damaged" 'a damaged tensor that is changed' adapter-merge -m damaged-model -o out.d foreign
mkdir read-only && chmod 555 read-only
if [ "$(id -u)" = 0 ]; then
    skip 'root may write anywhere' 4
else
    refused 'cannot create' 'a read-only folder' adapter-merge -m model -o read-only/out.d adapter
fi
if [ -f "$BUILD/tests/faults/inject.so" ] && ! nm "$BUILD/bin/adapter-merge" | grep -q __asan; then
    refused 'bytes of disk, 5000 are free' 'a disk that is too small' \
        env LD_PRELOAD="$BUILD/tests/faults/inject.so" FAULT_FREE=5000 adapter-merge -m model -o out.d adapter
else
    skip 'no fault injector' 4
fi

mkdir existing
run adapter-merge -m model -o existing adapter
is_status 1 'an existing output is refused'
has err 'exists already' 'it says so'
run adapter-merge -q -f -m model -o existing adapter
is_status 0 '--force replaces it'
ok 'with the merge' diff -r one existing
ln -s model link
mkdir outer && cp -r model outer/model
cp -r model before
for output in model ./model link adapter; do
    run adapter-merge -f -m model -o $output adapter
    is_status 1 "output $output is an input"
done
run adapter-merge -f -m outer/model -o outer adapter
has err 'holds the input' 'an output that holds an input'
ok 'inputs are not touched' diff -r model before

# --check, and an adapter of our trainer.
cat >chat.jsonl <<'END'
{"chat_stream":1,"kind":"samples","tool":"t","template":{"name":"chatml","sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},"options":{}}
{"sample":["a.json",1],"spans":[["","<|im_start|>user\n"],["d","Who are you?"],["","<|im_end|>\n"],["dt","A small model"],["t","<|im_end|>"],["","\n"]]}
{"sample":["a.json",2],"spans":[["d","What is blue?"],["dt","The sky is."]]}
{"end":{"samples":2,"skipped":0}}
END
tok-encode -q -m model -o check.tok chat.jsonl
run adapter-merge -m model -o proven --check check.tok adapter
is_status 0 '--check accepts a merge'
has err 'mean KL' 'and says how far it is off'
adapter-merge -q --summary s.json -m model -o proven2 --check check.tok --dtype f32 --weights 0.5,2 adapter second
ok 'in f32 that is nearly nothing' sh -c "sed -n 's/.*\"mean_kl\": \([^,]*\).*/\1/p' s.json | awk '{ exit !(\$1 < 1e-9) }'"
refused 'mean KL' '--check that fails' adapter-merge -m model -o out.d --check check.tok --max-kl 0 --weights 3 adapter
refused 'check.tok: the scores of the base with its adapters are not finite for ' '--check of scores that overflow' \
    adapter-merge -m model -o out.d --dtype f32 --check check.tok --weights 1e30 adapter
make-tokens -q -m model --kind labelled -o labelled.tok
refused 'labelled.tok: holds labelled samples, expected samples' '--check with labelled samples' adapter-merge -m model -o out.d --check labelled.tok adapter
refused 'absent.tok' '--check without its file' adapter-merge -m model -o out.d --check absent.tok adapter
cp -r model spoilt && sed 's/"version"/ "version"/' model/tokenizer.json >spoilt/tokenizer.json
refused 'check.tok' '--check with the tokens of another tokenizer' adapter-merge -m spoilt -o out.d --check check.tok adapter
lora-train -q -m model -o trained --steps 2 --rank 4 check.tok
run adapter-merge -m model -o from-trained --check check.tok trained
is_status 0 'the adapter that lora-train makes'
ok 'it says what it was made from' sh -c 'ckpt-info trained | grep -q base_fingerprint'
refused 'made for the base' 'that adapter on another base' adapter-merge -m other -o out.d trained
refused 'with a tokenizer with hash' 'that adapter with another tokenizer' adapter-merge -m spoilt -o out.d trained

run adapter-merge -m model -o out.d
is_status 2 'no adapter is wrong usage'
run adapter-merge -m model adapter
is_status 2 'no output is wrong usage'
for weights in 1,2 x 1, nan ''; do
    run adapter-merge -m model -o out.d --weights "$weights" adapter
    is_status 2 "--weights '$weights' is wrong usage"
done

# Memory: twice the largest tensor and 64 MB, however large the model.
if nm "$BUILD/bin/adapter-merge" | grep -q __asan; then
    skip 'sanitizers need memory of their own'
else
    make-model -q -t bf16 --layers 6 --hidden 1024 --heads 8 --kv-heads 8 --head-dim 128 --ffn 2048 --vocab 4096 -o large
    make-adapter -q -m large --rank 8 -o large-adapter
    adapter-merge -q --summary s.json -m large -o large-merged large-adapter
    peak=$(sed -n 's/.*"peak_memory": \([0-9]*\).*/\1/p' s.json)
    ok "a model of 117 MB merges in $peak bytes of memory" test "$peak" -lt $((2 * 4096 * 1024 * 2 + 64000000))
    # The plan holds however large the adapters are, and however many.
    make-model -q -t bf16 --layers 4 --hidden 512 --heads 4 --kv-heads 4 --head-dim 128 --ffn 2048 --vocab 2048 -o wide-model
    make-adapter -q -m wide-model --rank 512 -o wide-adapter
    planned=$(adapter-merge -n -m wide-model --weights 1,1,1 wide-adapter wide-adapter wide-adapter | sed -n 's/^memory *at most \([0-9]*\) .*/\1/p')
    adapter-merge -q --summary s.json -m wide-model -o wide-merged --weights 1,1,1 wide-adapter wide-adapter wide-adapter
    peak=$(sed -n 's/.*"peak_memory": \([0-9]*\).*/\1/p' s.json)
    ok "three adapters of $(wc -c <wide-adapter/adapter_model.safetensors) bytes: $peak bytes of memory, $planned planned" test "$peak" -le "$planned"
    make-tokens -q -m wide-model --samples 20 --min 100 --max 200 -o wide.tok
    planned=$(adapter-merge -n -m wide-model --check wide.tok wide-adapter | sed -n 's/^memory *at most \([0-9]*\) .*/\1/p')
    adapter-merge -q --summary s.json -m wide-model -o wide-checked --check wide.tok --max-kl 1e9 wide-adapter
    peak=$(sed -n 's/.*"peak_memory": \([0-9]*\).*/\1/p' s.json)
    ok "with --check: $peak bytes of memory, $planned planned" test "$peak" -le "$planned" -a "$peak" -gt 71303168
fi
finish
