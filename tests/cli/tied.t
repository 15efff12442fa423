#!/bin/sh
# config.json says that the output layer is the embedding, and the file holds a lm_head.weight as well: a copy changes nothing, other values are
# another model, in every tool.
. "${0%/*}/lib.sh"
. "$ROOT/tests/cli/train.sh"
for tool in eval-loss gen lora-train full-train adapter-merge ckpt-info; do
    has_tool $tool || skip_all "no $tool"
done

make-model -q -o apart # two matrices, and config.json says so
cp -r apart torn && sed -i 's/"tie_word_embeddings": *false/"tie_word_embeddings": true/' torn/config.json
ok 'a model whose files disagree' grep -q '"tie_word_embeddings": *true' torn/config.json
cp -r torn copied # ... and one whose two matrices are equal
tensor copied/model.safetensors model.embed_tokens.weight >table
where=$(place copied/model.safetensors lm_head.weight)
dd if=table of=copied/model.safetensors bs=65536 oflag=seek_bytes seek="${where% *}" conv=notrunc status=none
unchecked copied/model.safetensors
make-tokens -q -m apart --samples 6 -o train.tok
make-adapter -q -m apart -o adapter

# warned WHAT: the last run said one line, which names the file, and nothing else
warned() {
    is_status 0 "$1"
    one_line err "$1: one line"
    has err 'torn/model.safetensors: lm_head.weight differs from the embedding' "$1: names the file"
}

eval-loss -m apart train.tok >want 2>err
not_ok 'an honest model says nothing' grep -q differs err
run eval-loss -m torn train.tok
has err 'torn/model.safetensors: lm_head.weight differs from the embedding' 'eval-loss says so'
ok 'eval-loss: the loss is that of the two matrices' cmp want out
run eval-loss -q -m torn train.tok
is "$(cat err)" '' '-q is silent'
gen -m apart --max-tokens 8 hi >want 2>err
run gen -m torn --max-tokens 8 hi
warned gen
ok 'gen: the answer is that of the two matrices' cmp want out
run ckpt-info torn
is_status 0 'ckpt-info'
has out 'tied                     no' 'ckpt-info: not tied'
has out 'lm_head.weight differs from the embedding' 'ckpt-info says why'
ok 'in JSON, too' sh -c 'ckpt-info --json torn | grep -q "\"warning\": \"torn/model.safetensors: lm_head.weight differs"'
run adapter-merge -m torn -o merged adapter
has err 'torn/model.safetensors: lm_head.weight differs from the embedding' 'adapter-merge says so'
has merged/config.json '"tie_word_embeddings": false' 'adapter-merge: the result says what it is'
adapter-merge -q -m apart -o want-merged adapter
ok 'adapter-merge: the weights are those of the two matrices' compare-tensors -q want-merged/model.safetensors merged
ok 'and the result needs no warning' sh -c 'eval-loss -m merged train.tok 2>&1 >/dev/null | grep -vq differs'
lora-train -q -j 1 -m apart -o want-adapter --steps 2 train.tok
run lora-train -j 1 -m torn -o out-adapter --steps 2 train.tok
has err 'torn/model.safetensors: lm_head.weight differs from the embedding' 'lora-train says so'
is "$(grep -c differs err)" 1 'once'
ok 'lora-train: the adapter is that of the two matrices' \
    sh -c 'sed -nE "s/.*\"loss\":([^,]*).*/\1/p" want-adapter/log.jsonl >a; sed -nE "s/.*\"loss\":([^,]*).*/\1/p" out-adapter/log.jsonl | cmp - a'
full-train -q -j 1 -m apart -o want-full --steps 2 --lr 1e-3 train.tok
run full-train -j 1 -m torn -o out-full --steps 2 --lr 1e-3 train.tok
has err 'torn/model.safetensors: lm_head.weight differs from the embedding' 'full-train says so'
ok 'full-train trains both matrices' compare-tensors -q want-full/model.safetensors out-full
has out-full/config.json '"tie_word_embeddings": false' 'full-train: the result says what it is'

# Equal values stay tied, without a word.
eval-loss -q -m copied train.tok >want
run ckpt-info copied
has out 'tied                     yes' 'a copy of the embedding stays tied'
not_ok 'without a word' grep -q differs out
sed 's/"tie_word_embeddings": *true/"tie_word_embeddings": false/' copied/config.json >config.json
cp -r copied same && cp config.json same/
ok 'it is the same model, tied or not' sh -c 'eval-loss -q -m same train.tok | cmp - want'
full-train -q -j 1 -m copied -o trained --steps 2 --lr 1e-3 train.tok
run ckpt-info --json trained
has out '"tied": true' 'and stays so in training'
ok 'of both' sh -c 'eval-loss -q -m trained train.tok >a; ! cmp -s a want'

# A lm_head.weight of another shape has no place.
make-model -q --vocab 280 -o larger
cp -r torn odd && sed -i 's/"vocab_size": *[0-9]*/"vocab_size": 280/' odd/config.json
run eval-loss -m odd train.tok
is_status 1 'shapes that do not fit config.json are refused'
finish
