#!/bin/sh
# ckpt-info: every kind of file and folder, and damage of every kind.
. "${0%/*}/lib.sh"
has_tool ckpt-info || skip_all 'no ckpt-info'
PATH=$BUILD/tests/tools:$PATH

# damaged WHAT PATH 'text'
damaged() {
    run ckpt-info --verify "$2"
    is_status 1 "$1 is noticed"
    has err "$3" "$1: says what is wrong"
    one_line err "$1: in one line"
}

make-model -q -t bf16 -o model
make-model -q -t f16 --tied --max-shard 20k -o shards
make-adapter -q -m model --bias none -o adapter
adapter-merge -q -m model -o merged adapter

run ckpt-info model
is_status 0 'a model folder'
for line in 'kind                     model' 'type                     llama' 'parameters               22008' 'layers                   2' \
    'model.layers.*.mlp.up_proj.weight  BF16 [40, 24]  (2 times)' 'tied                     no'; do
    has out "$line" "it shows '$line'"
done
run ckpt-info --json model
has out '"parameters": 22008' '--json: numbers'
has out '"model.layers.1.mlp.up_proj.weight": "BF16 [40, 24]"' '--json: every tensor'
run ckpt-info shards
has out 'tied                     yes' 'a sharded and tied model'
run ckpt-info merged
has out 'adapter-merge' 'a merged model shows its provenance'
run ckpt-info --verify merged
is_status 0 'it verifies'
has out 'every checksum agrees' 'by its checksums'
run ckpt-info --verify -j 1 shards
is_status 0 'so do shards'
run ckpt-info adapter
is_status 0 'an adapter'
has out 'trainable                2816' 'its trained parameters'
has out 'trainable_share          0.113439' 'and their share'
run ckpt-info adapter/adapter_model.safetensors
has out 'kind                     safetensors' 'a file of tensors'
run ckpt-info --verify "$ROOT/tests/golden/adapters/rslora"
is_status 0 'an adapter of PEFT verifies'
has out 'no checksums in these files' 'without checksums, and it says so'
is "$(ckpt-info -q --json model | sed -n 's/.*"parameters": //p')" 22008, 'the example of the page'

# Damage. A bit in each part of the file: length of the header, header, first and last tensor.
size=$(wc -c <merged/model.safetensors)
for place in 0 60 400 2000 5000 $((size / 2)) $((size - 1)); do
    rm -rf broken && cp -r merged broken
    flip broken/model.safetensors $place 3
    run ckpt-info --verify broken
    is_status 1 "a flipped bit at byte $place is noticed"
    one_line err "a flipped bit at byte $place: one line"
done
rm -rf broken && cp -r merged broken && flip broken/model.safetensors $((size - 1)) 0
damaged 'a bit of a tensor' broken 'is damaged: its checksum differs'
rm -rf broken && cp -r merged broken && head -c $((size - 1)) merged/model.safetensors >broken/model.safetensors
damaged 'a file that is cut' broken 'bytes of data'
rm -rf broken && cp -r merged broken && printf x >>broken/model.safetensors
damaged 'a file that has grown' broken 'bytes of data'
rm -rf broken && cp -r merged broken && echo >>broken/generation_config.json
damaged 'a changed file beside the weights' broken 'has changed since it was written'
rm -rf broken && cp -r merged broken && rm broken/tokenizer.json
damaged 'a missing file beside the weights' broken 'has been removed'
rm -rf broken && cp -r adapter broken && flip broken/adapter_model.safetensors 9000 1
damaged 'a bit of an adapter' broken 'is damaged'
rm -rf broken && cp -r shards broken && flip "$(ls broken/model-00002-of-*)" 3000 6
damaged 'a bit of a shard' broken 'damaged'
rm -rf broken && cp -r shards broken && rm "$(ls broken/model-00002-of-*)"
damaged 'a missing shard' broken 'this shard is missing'
rm -rf broken && cp -r shards broken && cp "$(ls broken/model-00001-of-*)" broken/model.safetensors
damaged 'a part where the whole should be' broken 'is missing, expected as config.json describes'
rm -rf broken && cp -r model broken && sed -i 's/"vocab_size": 272/"vocab_size": 273/' broken/config.json
damaged 'a configuration that does not fit' broken 'expected shape [273, 24]'
if has_tool lora-train && has_tool tok-encode; then
    make-tokens -q -m model --samples 4 -o four.tok
    lora-train -q -j 1 -m model -o finished --steps 1 four.tok
    rm finished/adapter_model.safetensors
    damaged 'a missing file of a complete run' finished 'finished: the run is complete and adapter_model.safetensors, a part of its result, is missing'
else
    skip 'no lora-train' 3
fi
make-model -q --nan lm_head.weight -o nan
damaged 'a NaN' nan "tensor 'lm_head.weight': element 6527 is not a finite number"
cp -r "$ROOT/tests/golden/adapters/plain" foreign && flip foreign/adapter_model.safetensors 20 0
damaged 'a bit in the header of a foreign file' foreign 'foreign'

cat >chat.jsonl <<'END'
{"chat_stream":1,"kind":"samples","tool":"t","template":{"name":"chatml","sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},"options":{}}
{"sample":["a.json",1],"spans":[["","<|im_start|>user\n"],["d","Who are you?"],["","<|im_end|>\n"],["dt","A small model"],["t","<|im_end|>"],["","\n"]]}
{"sample":["a.json",2],"spans":[["d","What is blue?"],["dt","The sky is."]]}
{"end":{"samples":2,"skipped":0}}
END
run ckpt-info chat.jsonl
is_status 0 'a chat stream'
has out 'samples                  2' 'its samples'
head -n 3 chat.jsonl >cut.jsonl
damaged 'a cut chat stream' cut.jsonl 'cut.jsonl'
sed 's/"kind":"samples"/"kind":"prompts"/; s/\["dt*",[^]]*\],*//g; s/\["t",[^]]*\],*//g' chat.jsonl | sed '3s/.*/{"sample":["a.json",2],"spans":[["","x"]]}/' >prompts.jsonl
run ckpt-info prompts.jsonl
has out 'holds                    prompts' 'a stream of prompts'
tok-encode -q -m model -o train.tok chat.jsonl
run ckpt-info --verify train.tok
is_status 0 'a token file'
has out 'trained_tokens           25' 'its trained tokens'
head -c 200 train.tok >cut.tok
damaged 'a cut token file' cut.tok 'cut.tok'
cp train.tok bad.tok && flip bad.tok 300 2
damaged 'a bit of a token file' bad.tok 'bad.tok'

make-tokens -q -m model --kind pairs --samples 3 -o pairs.tok
run ckpt-info pairs.tok
is "$(sed -n '2,6s/  */ /p' out)" 'holds pairs
pairs 3
prompt_tokens 17
chosen_tokens 28
rejected_tokens 27' 'a file of pairs'
make-tokens -q -m model --kind labelled --samples 3 -o labelled.tok
run ckpt-info --json labelled.tok
has out '"holds": "labelled samples"' 'labelled samples'
has out '"desirable": 2' 'how many are desirable'
lora-train -q -m model -o run --steps 2 --save-every 1 --rank 4 train.tok
run ckpt-info --verify run
is_status 0 'a training run'
has out 'complete' 'how it stands'
has out 'base_fingerprint' 'and its adapter'
checkpoint=$(ls -d run/checkpoint-* | head -1)
run ckpt-info --verify "$checkpoint"
is_status 0 'a checkpoint'
has out 'total_steps' 'how far it is'
flip "$checkpoint/optimizer.safetensors" 3000 5
damaged 'a bit of a checkpoint' "$checkpoint" 'optimizer.safetensors'
damaged 'a bit of a checkpoint in the run' run 'optimizer.safetensors'
full-train -q -m model -o full --steps 1 train.tok
run ckpt-info --verify full
is_status 0 'a full training run'
has out 'every checksum agrees' 'its model has checksums'
if command -v zstd >/dev/null; then
    zstd -q chat.jsonl && run ckpt-info chat.jsonl.zst
    is_status 0 'a compressed chat stream'
else
    skip 'no zstd'
fi

run ckpt-info absent
is_status 1 'nothing there'
has err 'no such file or folder' 'says so'
mkdir empty
run ckpt-info empty
has err 'holds no model.safetensors' 'an empty folder'
echo hello >text
run ckpt-info text
has err 'neither a token file nor reference log-probabilities nor a chat stream' 'another file'
run ckpt-info
is_status 2 'no path is wrong usage'
run ckpt-info model adapter
is_status 2 'two paths are wrong usage'
sh -c 'ckpt-info model >/dev/full' 2>err
is $? 1 'a full disk behind stdout is noticed'
finish
