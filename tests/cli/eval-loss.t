#!/bin/sh
# eval-loss: the loss, adapters, divergence, every option, what is refused.
. "${0%/*}/lib.sh"
. "$ROOT/tests/cli/train.sh"
has_tool eval-loss || skip_all 'no eval-loss'

make-model -q -o model
make-tokens -q -m model -o test.tok
e() {
    eval-loss -q -j 1 --dtype f32 "$@"
}
value() { # KEY: of a line on stdin
    sed 's/.*"'"$1"'":\([^,}]*\).*/\1/'
}

run eval-loss -j 1 --dtype f32 -m model test.tok
is_status 0 'a model'
one_line out 'one line'
is "$(sed -E 's/:[0-9.e-]+/:X/g' out)" '{"tokens":X,"loss":X,"perplexity":X}' 'of these keys'
has err '20 samples, 340 tokens, 213 trained' 'stderr tells what was read'
is "$(value tokens <out)" 213 'tokens are those that bear loss'
loss=$(value loss <out)
ok 'perplexity is exp(loss)' near "$(value perplexity <out)" "$(awk "BEGIN { printf \"%.9f\", exp($loss) }")" 1e-7
cp out plain
run eval-loss -q -j 1 --dtype f32 -m model test.tok
ok '-q: the same line' cmp out plain
is "$(cat err)" '' 'and nothing else'
e -j 2 -m model test.tok >out
ok '-j changes no byte' cmp out plain
e -v --seed 5 --device cpu -m model test.tok >out 2>err
ok 'nor do -v, --seed, --device cpu' cmp out plain
has err 'cross entropy  ' '-v tells where the time went'
for rows in 24 50 1; do
    ok "--rows $rows changes rounding only" near "$(e --rows $rows -m model test.tok | value loss)" "$loss" 1e-6
done
make-model -q --max-shard 20k -o shards
ok 'shards do not matter' near "$(e -m shards test.tok | value loss)" "$loss" 0
ok '--dtype bf16 is about the same' near "$(eval-loss -q -j 1 --dtype bf16 -m model test.tok | value loss)" "$loss" 0.02
not_ok 'but is not' test "$(eval-loss -q -j 1 --dtype bf16 -m model test.tok | value loss)" = "$loss"

# The mean is over all tokens, not over samples or packs: the samples of two files weigh by their tokens.
cat >chat.jsonl <<'END'
{"chat_stream":1,"kind":"samples","tool":"t","template":{"name":"chatml","sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},"options":{}}
{"sample":["a.json",1],"spans":[["d","Who are you?"],["dt"," A small model that tests are made with."]]}
{"sample":["a.json",2],"spans":[["d","What is blue?"],["dt"," Sky."]]}
{"end":{"samples":2,"skipped":0}}
END
for part in 2 3; do
    sed -n "1p; ${part}p; \$s/\"samples\":2/\"samples\":1/p" chat.jsonl | tok-encode -q -m model -o $part.tok
    e -m model $part.tok >$part.line
done
tok-encode -q -m model -o both.tok chat.jsonl
ok 'the mean is over tokens' near "$(e -m model both.tok | value loss)" \
    "$(cat 2.line 3.line | sed 's/.*"tokens":\([0-9]*\),"loss":\([0-9.]*\).*/\1 \2/' | awk '{ n += $1; s += $1 * $2 } END { printf "%.9f", s / n }')" 1e-7

# ---- -o, --summary ----
run eval-loss -q -j 1 --dtype f32 -m model -o line.json test.tok
ok '-o writes the line to a file' cmp line.json plain
is "$(cat out)" '' 'and not to stdout'
run eval-loss -q -m model -o line.json test.tok
is_status 1 'an output that exists is refused'
one_line err 'in one line'
ok 'and left alone' cmp line.json plain
run eval-loss -q -j 1 --dtype f32 -m shards -f -o line.json test.tok
is_status 0 '--force replaces it'
e -o - -m model test.tok >out
ok '-o - is stdout' cmp out plain
e --summary s.json -m model test.tok >out
has s.json '"loss": ' '--summary has the result'
has s.json '"tool": "eval-loss"' 'and the program'

# ---- adapters ----
make-adapter -q -m model -o first
make-adapter -q -m model --salt b --rank 3 --rslora -o second
adapter-merge -q -m model -o merged first
adapter-merge -q -m model -o merged2 first second
ok '-a: as the merged model' near "$(e -m model -a first test.tok | value loss)" "$(e -m merged test.tok | value loss)" 1e-6
ok 'two adapters add up' near "$(e -m model -a first --adapter second test.tok | value loss)" "$(e -m merged2 test.tok | value loss)" 1e-6
not_ok 'an adapter changes the loss' test "$(e -m model -a first test.tok | value loss)" = "$loss"

# ---- --against ----
run eval-loss -q -j 1 --dtype f32 -m model --against model test.tok
is "$(value mean_kl <out) $(value max_kl <out)" '0.0 0.0' '--against itself: no divergence'
is "$(value loss <out)" "$loss" 'and the same loss'
e -m merged --against model test.tok >out
ok '--against another: some' awk "BEGIN { exit !($(value mean_kl <out) > 0 && $(value max_kl <out) >= $(value mean_kl <out)) }"
is "$(e -m model -a first --against merged test.tok | value mean_kl | awk '{ print ($1 < 1e-9) }')" 1 'base and adapter against the merged model: none'
is "$(e -m model --against model test.tok | sed 's/.*"mean_kl_error"/"mean_kl_error"/')" '"mean_kl_error":0.0,"max_kl":0.0,"top1_agreement":1.0}' 'of itself all agree'
ok 'it is not symmetric' sh -c "! [ '$(value mean_kl <out)' = '$(e -m model --against merged test.tok | value mean_kl)' ]"

# ---- --text: windows, held against transformers (tests/golden/make_perplexity.py) ----
G=$ROOT/tests/golden/perplexity.json TEXT=$ROOT/tests/golden/perplexity.txt
make-model -q -t bf16 -o bf16
make-model -q --salt other -o others
cp -r model bos
sed -i 's/"post_processor":null/"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<|endoftext|>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"<|endoftext|>":{"id":"<|endoftext|>","ids":[256],"tokens":["<|endoftext|>"]}}}/' bos/tokenizer.json
golden() { # KEY [N]: the N-th number there
    sed -n 's|^"'"$1"'": ||p' "$G" | tr -d '[ ]' | tr ',' '\n' | grep . | sed -n "${2:-1}p"
}
text() { # OPTIONS...
    e --text "$TEXT" "$@"
}
protocol() { # KEY WINDOW WHAT OPTIONS...
    key=$1 window=$2 what=$3
    shift 3
    text "$@" >out
    is "$(value tokens <out)" "$(golden "$key $window" 1)" "$what: as many tokens count as in transformers"
    ok "$what: with the same loss" near "$(value loss <out)" "$(golden "$key $window" 2)" 1e-6
}
protocol plain 64 'windows of 64' -m model --window 64
protocol plain 300 'windows of 300' -m model --window 300
protocol plain_bos 64 'a tokenizer that begins texts' -m bos --window 64
protocol half 64 '--half' -m model --window 64 --half
protocol half 51 '--half of an odd window' -m model --window 51 --half
protocol half 4 '--half of the least even one' -m model --window 4 --half
protocol half_bos 64 '--half: each window begins as texts do' -m bos --window 64 --half
for w in 64/24 64/64 100/33 409/300 64/17; do
    protocol stride "$w" "--stride, $w" -m model --window "${w%/*}" --stride "${w#*/}"
done
ok "what the loop of transformers' documentation prints is near that" near "$(value loss <out)" "$(golden loop)" 1e-3
text -m model --window 64 --stride 64 >out
ok '--stride of a window: the rest of the text counts as well' test "$(value tokens <out)" -gt "$(golden "plain 64" 1)"
text -m model >out
is "$(text -m model --window 512)" "$(cat out)" 'the default window: the positions of a small model'
text -m model --window 64 --rows 64 >out
ok '--rows does not matter' near "$(value loss <out)" "$(golden "plain 64" 2)" 1e-6
zstd -q "$TEXT" -o text.zst
is "$(e -m model --window 64 --text text.zst)" "$(text -m model --window 64)" 'a compressed text'
is "$(e -m model --window 64 --text - <"$TEXT")" "$(text -m model --window 64)" 'a text from stdin'
printf 'a<|im_end|>b<|im_end|>c' >special
is "$(e -m model --window 2 --text special | value tokens) $(e -m model --window 6 --half --text special | value tokens)" '2 6' \
    'the name of a special token is one token, and text to --half, as in llama.cpp'
run eval-loss -j 1 --dtype f32 -m model --text "$TEXT" --window 64
has err '21 windows, 1344 tokens, 1323 count' 'stderr tells of windows'
for other in bf16 others; do
    text -m $other --window 64 --against model --layers >out
    golden_name=$other
    [ $other = bf16 ] || golden_name=other
    for key in mean_kl:2e-4 mean_kl_error:2e-3 max_kl:2e-4 top1_agreement:1e-9; do
        set -- $(echo $key | tr : ' ')
        ok "$other: $1" near "$(value "$1" <out)" "$(golden "$golden_name $1")" "$2"
    done
    ok "$other: --layers" near "$(sed 's/.*"layer_errors":\[\([^,]*\),.*/\1/' out)" "$(golden "$golden_name layer_errors" 1)" 2e-5
    ok "$other: and the last one" near "$(sed 's/.*"layer_errors":.*,\([^]]*\)\].*/\1/' out)" "$(golden "$golden_name layer_errors" 2)" 2e-5
done
e -v -m bf16 --against model --layers test.tok >out 2>err
has err 'layer  relative squared error' '-v: the layers as a table'
is "$(eval-loss -q -j 2 --dtype f32 -m bf16 --against model --layers test.tok)" "$(cat out)" '-j changes no byte of these'
is "$(e -m model --against model --layers test.tok | sed 's/.*"layer_errors"/"layer_errors"/')" '"layer_errors":[0.0,0.0]}' 'no layer is far from itself'
usage 'exclude each other' '--text and a token file' eval-loss -m model -o out.d --text "$TEXT" test.tok
usage '--window needs --text' '--window without a text' eval-loss -m model -o out.d --window 64 test.tok
usage '--stride needs --text' '--stride without a text' eval-loss -m model -o out.d --stride 64 test.tok
usage '--half needs --text' '--half without a text' eval-loss -m model -o out.d --half test.tok
usage '--half and --stride' '--half and --stride' eval-loss -m model -o out.d --half --stride 8 --text "$TEXT"
usage 'at least 3' '--half of too short a window' eval-loss -m model -o out.d --half --window 2 --text "$TEXT"
usage '--stride 65 is more than a window' 'a stride beyond the window' eval-loss -m model -o out.d --stride 65 --window 64 --text "$TEXT"
usage '--window' 'a window of one token' eval-loss -m model -o out.d --window 1 --text "$TEXT"
usage '--layers needs --against' '--layers without a model' eval-loss -m model -o out.d --layers test.tok
x() { # TEXT WHAT OPTIONS...
    text=$1 what=$2
    shift 2
    refused "$text" "$what" eval-loss -j 1 -m model -o out.d "$@"
}
x 'the model has 512 positions' 'a window beyond the positions' --window 513 --text "$TEXT"
head -c 63 "$TEXT" >short
x 'holds 63 tokens, expected at least 64, a window' 'a text shorter than a window' --window 64 --text short
x 'holds 63 tokens, expected at least 64, two windows' 'a text shorter than two' --window 32 --half --text short
is "$(e -m model --window 64 --stride 64 --text short | value tokens)" 62 '--stride takes a shorter one'
: >nothing
x 'holds 0 tokens' 'an empty text' --stride 8 --text nothing
printf 'a\377b' >bytes
x 'bytes: byte 1: is not UTF-8 text' 'no text' --text bytes
x 'absent' 'a text that is not there' --text absent
make-model -q --layers 3 -o deeper
x '2 layers of width 24 and 3' '--layers and a deeper model' --against deeper --layers test.tok

# ---- refused ----
make-tokens -q -m model --kind pairs -o pairs.tok
run eval-loss -m model pairs.tok
is_status 1 'pairs'
is "$(cat err)" 'eval-loss: pairs.tok: holds pairs, expected samples (dpo-train takes these; samples come from fmt-chat without -F pairs or kto)' 'are no samples'
l() { # TEXT WHAT MODEL FILE OPTIONS...
    text=$1 what=$2 model=$3 file=$4
    shift 4
    refused "$text" "$what" eval-loss -j 1 -m "$model" -o out.d "$@" "$file"
}
make-model -q --nan model.layers.0.mlp.up_proj.weight -o nan
l "tensor 'model.layers.0.mlp.up_proj.weight': element 959 is not a finite number" 'NaN in a weight' nan test.tok
l "nan/model.safetensors: tensor" 'NaN in a weight of --against' model test.tok --against nan
broken shape model sed -i 's/"intermediate_size": 40/"intermediate_size": 41/' config.json
l 'expected shape [41, 24]' 'a tensor of the wrong shape' shape test.tok
broken gone shards sh -c 'rm model-00002-of-*'
l 'this shard is missing' 'a missing shard' gone test.tok
l 'absent' 'a model that is not there' absent test.tok
l 'absent' '--against one that is not there' model test.tok --against absent
l 'absent.tok' 'a token file that is not there' model absent.tok
make-tokens -q -m model --vocab 300 -o wide.tok
l "outside the model's vocabulary of 272" 'a token outside the vocabulary' model wide.tok
broken spoilt model sed -i 's/"version"/ "version"/' tokenizer.json
l 'another tokenizer' 'a token file of another tokenizer' spoilt test.tok
l 'another tokenizer' '--against a model of another tokenizer' model test.tok --against spoilt
make-model -q --vocab 280 -o larger
l 'has a vocabulary of 280' '--against a model of another vocabulary' model test.tok --against larger
make-tokens -q -m model --samples 3 --min 600 --max 700 -o positions.tok
l 'positions' 'a sample longer than the positions' model positions.tok
make-model -q --salt other -o other
l 'made for the base' 'an adapter of another base' other test.tok -a first
l 'absent' 'an adapter that is not there' model test.tok -a absent
broken adapter-nan first poke adapter_model.safetensors base_model.model.model.layers.0.mlp.up_proj.lora_A.weight '\000\000\300\177'
l 'is damaged: its checksum differs' 'damage in an adapter' model test.tok -a adapter-nan
unchecked adapter-nan/adapter_model.safetensors
l 'is not a finite number' 'NaN in an adapter' model test.tok -a adapter-nan
head -c 500 test.tok >cut.tok
l 'cut.tok' 'a cut token file' model cut.tok
: >empty.tok
l 'empty.tok' 'an empty token file' model empty.tok
l 'cuda' 'a GPU that is not there' model test.tok --device cuda:99
cp test.tok before
run eval-loss -q -f -j 1 -m model -o test.tok test.tok
is_status 1 'the output is the input'
one_line err 'one line'
ok 'which is not touched' cmp before test.tok
usage 'the model, is missing' 'no model' eval-loss -o out.d test.tok
usage 'one token file' 'no token file' eval-loss -m model -o out.d
usage 'one token file' 'two token files' eval-loss -m model -o out.d test.tok both.tok
usage '--rows' '--rows 0' eval-loss -m model -o out.d --rows 0 test.tok
run sh -c 'eval-loss -q -j 1 -m model test.tok >&-'
is_status 1 'a closed stdout fails'
one_line err 'in one line'
run sh -c 'eval-loss -q -j 1 -m model test.tok >/dev/full'
is_status 1 'so does a full one'
one_line err 'in one line'
run eval-loss -q -j 1 -m model -o none/line test.tok
is_status 1 'so does a folder that is not there'

make-model -q -o hot
poke hot/model.safetensors lm_head.weight '\377\377\177\177\377\377\177\177\377\377\177\177\377\377\177\177'
run eval-loss -q -j 1 --dtype f32 -m hot test.tok
is_status 3 'a loss that is no number has status 3'
has out '"loss":null' 'and is null'
one_line err 'with one line'
finish
