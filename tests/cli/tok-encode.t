#!/bin/sh
# tok-encode: what it writes, every option, every bad input. The tiny model's tokenizer has a token per byte, 256 <|endoftext|>,
# 257 <|im_start|>, 258 <|im_end|>, which is its end of text; its context is 512 tokens.
. "${0%/*}/lib.sh"
PATH=$BUILD/tests/tools:$PATH
make-model -q -o tiny || { report 1 'the tiny model is made'; finish; }

header='{"chat_stream":1,"kind":"samples","tool":"t","template":{"name":"chatml","sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},"options":{"train":"assistant"}}'
raw='{"chat_stream":1,"kind":"samples","tool":"t","template":null,"options":{}}'
end() {
    echo "{\"end\":{\"samples\":$1,\"skipped\":${2:-0}}}"
}
hi='{"sample":["a.json",7],"spans":[["","<|im_start|>"],["d","A<|im_end|>"],["","<|im_end|>"],["dt","yes"],["t","<|im_end|>"]]}'

# ids and mask
{ echo "$header"; echo "$hi"; end 1; } >hi.jsonl
run tok-encode -m tiny -o hi.tok hi.jsonl
is_status 0 'a stream becomes a token file'
has err '1 samples, 17 tokens, 4 trained' 'and the counts are told'
is "$(tok-decode -q --ids hi.tok | tail -n 1)" '257 65 60 124 105 109 95 101 110 100 124 62 258 [[121 101 115 258]]' \
    'control tokens come from the template, never from the conversation; the answer and its end are trained'
run tok-encode -q -m tiny -o hi2.tok hi.jsonl
is "$(cat out err)" '' '-q says nothing'
ok 'the same bytes again' cmp hi.tok hi2.tok
sh -c 'tok-encode -q -m tiny <hi.jsonl >hi3.tok'
ok 'through pipes the same bytes' cmp hi.tok hi3.tok

{ echo "$raw"; echo '{"sample":["t",1],"spans":[["d","q:"],["dt","a"]]}'; echo '{"sample":["t",2],"spans":[["dt","b<|im_end|>"]]}'; end 2; } >raw.jsonl
ok 'raw text' tok-encode -q -m tiny -o raw.tok raw.jsonl
is "$(tok-decode -q --ids raw.tok | grep -v '#' | head -n 1)" '113 58 [[97 258]]' 'raw text ends with the end of text, trained'
is "$(tok-decode -q --ids raw.tok | tail -n 1)" '98 [[60 124 105 109 95 101 110 100 124 62 258]]' 'the first token is not trained, control tokens spelt out stay text'

# many samples: threads, several streams, zstd
awk -v h="$header" 'BEGIN { print h; for (i = 1; i <= 3000; i++) { t = ""; for (k = 0; k < i % 47; k++) t = t "w" (i * k) % 89 " ";
    print "{\"sample\":[\"m.json\"," i "],\"spans\":[[\"d\",\"" t "?\"],[\"dt\",\"" t "\\u00e9!\"]]}" } print "{\"end\":{\"samples\":3000,\"skipped\":2}}" }' >many.jsonl
ok '-j 1' tok-encode -q -m tiny -j 1 -o one.tok many.jsonl
ok '-j 2' tok-encode -q -m tiny -j 2 -o two.tok many.jsonl
ok '-j 1 and -j 2 give the same bytes' cmp one.tok two.tok
is "$(tok-decode -q --ids one.tok | grep -c '^# sample')" 3000 'every sample is there, in order'
if command -v zstd >/dev/null; then
    zstd -q many.jsonl
    ok 'a compressed stream' tok-encode -q -m tiny -o zst.tok many.jsonl.zst
    tok-decode -q --ids zst.tok >zst.txt
    tok-decode -q --ids one.tok >one.txt
    ok 'gives the same samples' cmp zst.txt one.txt
else
    skip 'no zstd' 2
fi
cat hi.jsonl hi.jsonl >two.jsonl
ok 'two streams in one file' tok-encode -q -m tiny -o cat.tok two.jsonl
ok 'two files' tok-encode -q -m tiny -o files.tok hi.jsonl hi.jsonl
is "$(tok-decode -q --ids files.tok | md5sum)" "$(tok-decode -q --ids cat.tok | md5sum)" 'are the same samples'
run tok-encode -m tiny -o x.tok hi.jsonl raw.jsonl
has err 'raw.jsonl: was made with another template than hi.jsonl' 'streams of two templates are refused'

# --summary, --max-length, --overlong
{ echo "$header"; echo '{"sample":["l.json",1],"spans":[["","ab"],["dt","cdefgh"]]}'; echo '{"sample":["l.json",2],"spans":[["","abc"],["dt","d"]]}'; end 2 3; } >long.jsonl
run tok-encode -m tiny --max-length 4 -o x.tok long.jsonl
is_status 1 'an overlong sample is an error'
has err 'tok-encode: l.json: record 1: 8 tokens, at most 4 fit (--max-length; --overlong' 'that names it, its length and the way out'
not_ok 'and nothing is written' test -e x.tok
for how in truncate drop split; do
    run tok-encode -m tiny --max-length 4 --overlong $how --summary $how.json -o $how.tok long.jsonl
    is_status 0 "--overlong $how"
done
is "$(tok-decode -q --ids truncate.tok | grep -v '#')" '97 98 [[99 100]]
97 98 99 [[100]]' 'truncate keeps the start'
is "$(tok-decode -q --ids drop.tok | grep -v '#')" '97 98 99 [[100]]' 'drop leaves it out'
is "$(tok-decode -q --ids split.tok | grep -v '#')" '97 98 [[99 100]]
100 [[101 102 103]]
103 [[104]]
97 98 99 [[100]]' 'split trains every token once'
has err '0 dropped, 0 truncated, 1 split into 3 pieces' 'and is counted'
has err '3 records were left out by fmt-chat' 'so is what fmt-chat left out'
has drop.json '"dropped": 1' '--summary counts what was dropped'
has truncate.json '"truncated": 1' 'and truncated'
has split.json '"pieces": 3' 'and split'
has split.json '"skipped_by_fmt_chat": 3' 'and left out'
{ echo "$header"; echo '{"sample":["l.json",9],"spans":[["","abcdef"],["dt","g"]]}'; end 1; } >far.jsonl
run tok-encode -m tiny --max-length 4 --overlong truncate -o x.tok far.jsonl
has err 'l.json: record 9: nothing to train is left of its 7 tokens when truncated to 4' 'truncating the whole answer away is an error'
ok 'splitting keeps it' tok-encode -q -m tiny --max-length 4 --overlong split --summary far.json -o far.tok far.jsonl
has far.json '"pieces_without_trained": 1' 'and counts the piece without an answer'
run tok-encode -m tiny --max-length 4 --overlong drop -o x.tok far.jsonl
has err 'no sample to write' 'a file without samples is not written'
awk -v h="$header" 'BEGIN { print h; printf "{\"sample\":[\"b.json\",1],\"spans\":[[\"dt\",\""; for (i = 0; i < 513; i++) printf "x"; print "\"]]}"; print "{\"end\":{\"samples\":1,\"skipped\":0}}" }' >context.jsonl
run tok-encode -m tiny -o x.tok context.jsonl
has err '513 tokens, at most 512 fit' 'the limit is the context that config.json tells'
ok '--max-length may be above it' tok-encode -q -m tiny --max-length 1k -o big.tok context.jsonl
ok '-v tells what is dropped' sh -c "{ cat far.jsonl hi.jsonl; } | tok-encode -v -m tiny --max-length 20 --overlong drop -o v.tok"
run tok-encode -m tiny --max-length 1 -o x.tok hi.jsonl
is_status 2 '--max-length 1 is wrong usage'
run tok-encode -m tiny --overlong squeeze -o x.tok hi.jsonl
is_status 2 'an unknown --overlong is wrong usage'

# bad input: one line, status 1, nothing written
refused() { # WHAT TEXT, stream in the file in
    tok-encode -q -m tiny -o x.tok - <in >out 2>err
    is $? 1 "$1: status 1"
    has err "$2" "$1: named"
    one_line err "$1: in one line"
    not_ok "$1: nothing is written" test -e x.tok
}
{ echo "$header"; echo '{"sample":["a.json",3],"spans":[["","abc"],["d","d"]]}'; end 1; } >in; refused 'nothing to train' 'tok-encode: a.json: record 3: nothing to train in its 4 tokens'
{ echo "$header"; echo "$hi"; } >in; refused 'a producer that dies' 'stdin: ends after 1 samples without an end record'
{ echo "$header"; printf '%s' "$hi" | cut -c1-40; } >in; refused 'a producer that dies in a line' 'stdin: line 2: '
sh -c 'echo "$1"; kill -9 $$' sh "$header" >in 2>/dev/null; refused 'a producer that is killed' 'without an end record'
: >in; refused 'an empty stream' 'stdin: is empty, expected a chat stream (did the program that writes it fail?)'
{ echo "$header"; echo "$hi"; end 2; } >in; refused 'a wrong count' 'holds 1 samples, its end record says 2'
echo '[{"instruction":"a"}]' >in; refused 'chat data' 'not a chat stream (fmt-chat writes them)'
{ echo "$header" | sed 's/samples/prompts/'; end 0; } >in; refused 'prompts' 'holds prompts (fmt-chat --generation-prompt), expected samples'
{ echo "$header" | sed 's/:1,/:9,/'; end 0; } >in; refused 'a newer stream' 'version 9, this program reads version 1'
{ echo "$header"; echo '{"sample":["a",1],"spans":[["q","x"]]}'; end 1; } >in; refused 'an unknown flag' 'stdin: line 2: not a span'
{ echo "$header"; printf '{"sample":["a",1],"spans":[["t","x\377"]]}\n'; end 1; } >in; refused 'invalid UTF-8' 'stdin: line 2: invalid UTF-8'

run tok-encode -m tiny -o hi.tok hi.jsonl
is_status 1 'an output that exists is refused'
has err 'hi.tok: exists already; --force replaces it' 'and the way out named'
ok '-f replaces it' tok-encode -q -f -m tiny -o hi.tok raw.jsonl
ok 'with the new contents' cmp hi.tok raw.tok
run tok-encode -f -m tiny -o hi.jsonl hi.jsonl
is_status 1 'an output that is the input is refused'
is "$(sed -n 2p hi.jsonl)" "$hi" 'and the input is whole'
run tok-encode -m tiny -o /dev/full hi.jsonl
is_status 1 'a full disk'
has err 'No space left on device' 'is named'
sh -c 'tok-encode -q -m tiny hi.jsonl >/dev/full' 2>err
is $? 1 'a full disk behind stdout'
sh -c 'tok-encode -q -m tiny hi.jsonl >&-' 2>err
is $? 1 'a closed stdout'
run tok-encode -o x.tok hi.jsonl
is_status 2 'no -m is wrong usage'
run tok-encode -m nowhere -o x.tok hi.jsonl
has err 'nowhere' 'a missing model folder is named'
run tok-encode -m tiny -o x.tok missing.jsonl
has err 'tok-encode: missing.jsonl: cannot open' 'a missing stream is named'
mkdir no-eos && cp tiny/tokenizer.json no-eos
run tok-encode -m no-eos -o x.tok raw.jsonl
has err 'no eos_token' 'raw text needs an end of text'
echo '{"eos_token": "<|im_end|>", "model_max_length": 1000000000000000019884624838656}' >no-eos/tokenizer_config.json
ok 'which a configuration with thirty digits gives' tok-encode -q -m no-eos -o digits.tok raw.jsonl
rm no-eos/tokenizer_config.json
ok 'chats do not' tok-encode -q -m no-eos -o no-eos.tok hi.jsonl
not_ok 'nothing is left behind' sh -c 'ls -A | grep tmp-'
if command -v script >/dev/null; then
    script -qec 'tok-encode -q -m tiny hi.jsonl' /dev/null </dev/null >out 2>&1
    has out 'stdout: is a terminal; binary output goes to a file or a pipe' 'nothing binary goes to a terminal'
else
    skip 'no script'
fi
finish
