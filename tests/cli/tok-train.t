#!/bin/sh
# tok-train: what it writes, every option, every bad input. That it learns what the tokenizers library learns is held in tests/unit/bpe_train.c.
. "${0%/*}/lib.sh"
make-model -q -o tiny || { report 1 'the tiny model is made'; finish; }

awk 'BEGIN { for (i = 0; i < 300; i++) print "{\"text\":\"The apple number " i % 17 " is red.\\n Äpfel Nr. " i * 7 % 23 " sind rot.\"}" }' >c.jsonl
fmt-chat -q -F text -o c.chat c.jsonl
token() { # FILE TEXT: its id
    awk -f "$ROOT/pipelines/json-paths.awk" "$1" | awk -F '\t' -v key=".model.vocab.$2" '$2 == key { print $3 }'
}
size() {
    awk -f "$ROOT/pipelines/json-paths.awk" "$1" | grep -c '	\.model\.vocab\.'
}

run tok-train --vocab 280 -o t.json c.chat
is_status 0 'a stream becomes a tokenizer'
is "$(cat out)" '' 'stdout is empty'
is "$(sed 's/, [0-9.]* s$//' err)" 'tok-train: t.json: 280 tokens' 'the size is told'
is "$(size t.json)" 280 '--vocab is the size, all included'
is "$(token t.json '<|endoftext|>') $(token t.json '!') $(token t.json 'Ń')" '0 1 256' 'the special token, then the bytes'
ok 'then what is frequent' test "$(token t.json Ġis)" -gt 256
is "$(token t.json Ġ1)" '' 'never with a digit'
tok-train -q --vocab 280 -o again.json c.chat
ok 'the same bytes again' cmp t.json again.json
run tok-train -q --vocab 280 -o q.json c.chat
is "$(cat out err)" '' '-q says nothing'
tok-train -q --vocab 280 -o pipe.json <c.chat
ok 'stdin gives the same' cmp t.json pipe.json
tok-train -q --vocab 280 -o - c.chat >stdout.json
ok '-o - is stdout' cmp t.json stdout.json
if command -v zstd >/dev/null; then
    zstd -q c.chat
    tok-train -q --vocab 280 -o z.json c.chat.zst
    ok 'a compressed stream gives the same' cmp t.json z.json
else
    skip 'no zstd'
fi
run tok-train -o most.json c.chat
ok 'it stops when no pair occurs twice' test "$(size most.json)" -lt 400
has err "most.json: $(size most.json) tokens" 'and tells how many there are'
tok-train -q --vocab 257 -o least.json c.chat
is "$(size least.json) $(grep -c '"merges": \[$' least.json)" '257 1' 'the least are the bytes and the special token'
head -n 150 c.jsonl | fmt-chat -q >1.chat
tail -n 150 c.jsonl | fmt-chat -q >2.chat
tok-train -q --vocab 280 -o parts.json 1.chat 2.chat
ok 'two streams are one text' cmp t.json parts.json
run tok-train -q --vocab 280 --special '<|a|>' --special '<b "2">' -o s.json c.chat
is "$(token s.json '<|a|>') $(token s.json '<b "2">') $(token s.json '!') $(token s.json '<|endoftext|>')" '0 1 2 ' '--special: these and no other, in order'
run tok-train -q -f --vocab 280 --summary sum.json -o t.json c.chat
ok '-f replaces' cmp t.json again.json
has sum.json '"samples": 300' '--summary counts samples'
has sum.json "\"bytes\": $(tok-train -q --vocab 257 -o - --summary /dev/stderr c.chat 2>&1 >/dev/null | sed -n 's/.*"bytes": \([0-9]*\).*/\1/p')" 'and bytes'
has sum.json '"vocab": 280' 'and the size'

# what it is for: the text survives
cp -r tiny trained && cp most.json trained/tokenizer.json && sed -i 's/<|im_end|>/<|endoftext|>/g' trained/tokenizer_config.json
run tok-encode -q -m trained -o t.tok c.chat
is_status 0 'tok-encode takes it'
tok-decode -q -m trained t.tok | grep -v '^#' | tr -d '[]' | head -n 4 >text
printf 'The apple number 0 is red.\n Äpfel Nr. 0 sind rot.<|endoftext|>\nThe apple number 1 is red.\n Äpfel Nr. 7 sind rot.<|endoftext|>\n' >want
ok 'and the text comes back' cmp text want
is "$(tok-decode -q --ids t.tok | grep -v '#' | head -n 1 | wc -w)" 18 'in few tokens, each digit one of its own'

# what is wrong
bad() { # WHAT MESSAGE ARGUMENTS...
    what=$1 want=$2
    shift 2
    rm -f x.json
    run tok-train -q -o x.json "$@"
    is_status 1 "$what: status 1"
    has err "tok-train: $want" "$what: named"
    one_line err "$what: in one line"
    not_ok "$what: nothing is written" test -e x.json
}
bad 'no room for the bytes' 'a vocabulary of 257 cannot hold 2 special tokens and 256 bytes' --vocab 257 --special '<a>' --special '<b>' c.chat
bad 'a special token twice' "special token '<a>': given twice" --special '<a>' --special '<a>' c.chat
bad 'an empty special token' 'special token 2: is empty' --special '<a>' --special '' c.chat
bad 'one that is not UTF-8' 'special token 1: not valid UTF-8' --special "$(printf '\377<')" c.chat
bad 'one that names a byte' "special token 'a': a single character" --special a c.chat
bad 'one that is a word' "special token 'The': the text has it as a word" --special The c.chat
bad 'a missing file' 'nosuch: cannot open' nosuch
bad 'not a stream' 'c.jsonl: line 1: not a chat stream (fmt-chat writes them)' c.jsonl
sed '$d' c.chat >cut.chat
bad 'a cut stream' 'cut.chat: ' cut.chat
sed '3s/red/rod/' c.chat >changed.chat
bad 'a changed stream' 'changed.chat: ' changed.chat
fmt-chat -q -m tiny --generation-prompt >prompts.chat <<'END'
{"instruction":"a"}
END
bad 'a stream of prompts' 'prompts.chat: line 1: holds prompts' prompts.chat
: >empty
bad 'an empty file' 'empty: is empty, expected a chat stream' empty
bad 'empty stdin' 'stdin: is empty'
run tok-train -q -o t.json c.chat
has err 't.json: exists already; --force replaces it' 'an output that exists is refused'
cp c.chat same.chat
run tok-train -q -f -o same.chat same.chat
is_status 1 'an output that is the input is refused'
ok 'and the input is whole' cmp same.chat c.chat
run tok-train -q -o /dev/full c.chat
has err 'No space left on device' 'a full disk is named'
sh -c 'tok-train -q -o - c.chat >/dev/full' 2>err
is $? 1 'also behind stdout'
run tok-train c.chat
is_status 2 'no -o is wrong usage'
for n in 256 0 x 17M; do
    run tok-train --vocab $n -o x.json c.chat
    is_status 2 "--vocab $n is wrong usage"
done
finish
