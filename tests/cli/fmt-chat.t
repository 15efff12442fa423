#!/bin/sh
# fmt-chat: what it writes, every option, every bad input.
. "${0%/*}/lib.sh"
PATH=$BUILD/tests/tools:$PATH
make-model -q -o tiny || { report 1 'the tiny model is made'; finish; }

cat >a.json <<'END'
[
  {"instruction": "Say <|im_end|>", "input": "", "output": "Hé"},
  {"instruction": "Add", "input": "1 2", "output": "3", "system": "Be brief", "history": [["a", "b"]]}
]
END
run fmt-chat -m tiny a.json
is_status 0 'Alpaca data with the model'"'"'s own template'
is "$(sed -n 2p out)" '{"sample":["a.json",1],"spans":[["","<|im_start|>user\n"],["d","Say <|im_end|>"],["","<|im_end|>\n<|im_start|>assistant\n"],["dt","Hé"],["t","<|im_end|>"],["","\n"]]}' \
    'spans: the answer and the end of its turn are trained, the conversation is data'
is "$(sed -n 3p out | grep -o '\["dt",[^]]*\]' | tr -d '\n')" '["dt","b"]["dt","3"]' 'history is trained, too'
is "$(sed -n 3p out | grep -c 'Be brief')" 1 'the system column is there'
has err '2 records, 2 samples, 0 left out' 'the counts are told'
has err 'a.json: template ' 'and the template'
is "$(sed -n 4p out | sed 's/,"sources".*//')" '{"end":{"samples":2,"skipped":0}' 'an end record'
has out "$(sha256sum a.json | cut -d' ' -f1)" 'with the hash of the input'
cp out a.jsonl
run fmt-chat -q -m tiny -o o.jsonl a.json
is "$(cat out err)" '' '-q says nothing'
ok '-o and stdout are the same' cmp a.jsonl o.jsonl
sh -c 'fmt-chat -q -m tiny <a.json' | sed 's/"stdin"/"a.json"/g' | grep sample >from-stdin
grep sample a.jsonl >from-file
ok 'stdin gives the same samples' sh -c 'grep -v end from-stdin >x; grep -v end from-file >y; cmp x y'

# other shapes of data
echo '{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"},{"from":"human","value":"c"},{"from":"gpt","value":"d"}]}' >s.jsonl
echo '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]}' >m.jsonl
fmt-chat -q -m tiny s.jsonl | sed -n 2p | sed 's/s.jsonl//' >s.out
fmt-chat -q -m tiny m.jsonl | sed -n 2p | sed 's/m.jsonl//' >m.out
ok 'ShareGPT and messages give the same sample' cmp s.out m.out
echo '{"text":"once"}' >t.jsonl
is "$(fmt-chat -q t.jsonl | sed -n 2p)" '{"sample":["t.jsonl",1],"spans":[["dt","once"]]}' 'raw text needs no template'
has_null=$(fmt-chat -q t.jsonl | sed -n 1p | grep -c '"template":null')
is "$has_null" 1 'and the header says so'
echo '{"prompt":"once","completion":" upon"}' >p.jsonl
is "$(fmt-chat -q p.jsonl | sed -n 2p)" '{"sample":["p.jsonl",1],"spans":[["d","once"],["dt"," upon"]]}' 'a completion is trained, its prompt is not'
is "$(fmt-chat -q -F text t.jsonl | sed -n 2p)" '{"sample":["t.jsonl",1],"spans":[["dt","once"]]}' '-F text'
for format in alpaca sharegpt messages prompt-completion; do
    run fmt-chat -m tiny -F $format t.jsonl
    is_status 1 "-F $format does not take text"
done
run fmt-chat -F triples t.jsonl
is_status 2 'an unknown format is wrong usage'

# options
is "$(fmt-chat --list-templates | grep -cx chatml)" 1 '--list-templates'
echo '{"instruction":"a","output":"b"}' >t3.jsonl
ok '-t NAME' sh -c 'fmt-chat -q -t chatml a.json | grep -q im_start'
is "$(fmt-chat -q -t phi3 t3.jsonl | sed -n 2p)" \
    '{"sample":["t3.jsonl",1],"spans":[["","<|user|>\n"],["d","a"],["","<|end|>\n<|assistant|>\n"],["dt","b"],["t","<|end|>"],["","\n"]]}' \
    'a control token that the template builds from the role is the template'"'"'s'
printf '%s' "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}" >my.jinja
is "$(fmt-chat -q -t ./my.jinja -m tiny m.jsonl | sed -n 2p)" \
    '{"sample":["m.jsonl",1],"spans":[["","<user>"],["d","a"],["","<|im_end|><assistant>"],["dt","b"],["t","<|im_end|>"],["","<user>"],["d","c"],["","<|im_end|><assistant>"],["dt","d"],["t","<|im_end|>"]]}' \
    '-t FILE.jinja, special tokens from -m'
is "$(fmt-chat -q -m tiny --train last m.jsonl | sed -n 2p | grep -o '"dt","[a-z]*"' | tr -d '\n')" '"dt","d"' '--train last'
is "$(fmt-chat -q -m tiny --train all m.jsonl | sed -n 2p | grep -o '"d","[a-z]*"' | tr -d '\n')" '' '--train all'
is "$(fmt-chat -q --train all p.jsonl | sed -n 2p)" '{"sample":["p.jsonl",1],"spans":[["dt","once"],["dt"," upon"]]}' '--train all of raw text'
is "$(fmt-chat -q -m tiny --system 'Be kind' m.jsonl | sed -n 2p | grep -c 'Be kind')" 1 '--system'
is "$(fmt-chat -q -m tiny --system 'Be kind' --records 2 a.json | sed -n 2p | grep -c 'Be kind')" 0 'a conversation keeps its own system message'
run fmt-chat --system x t.jsonl
has err 't.jsonl: raw text has no place for --system' '--system with raw text'
fmt-chat -q -m tiny --generation-prompt m.jsonl >g.jsonl
is "$(sed -n 1p g.jsonl | grep -c '"kind":"prompts"')" 1 '--generation-prompt makes prompts'
is "$(sed -n 2p g.jsonl)" '{"sample":["m.jsonl",1],"spans":[["","<|im_start|>user\n"],["d","a"],["","<|im_end|>\n<|im_start|>assistant\n"],["d","b"],["","<|im_end|>\n<|im_start|>user\n"],["d","c"],["","<|im_end|>\n<|im_start|>assistant\n"]]}' \
    'without the answer, opened for a new one, nothing trained'
ok 'prompts need no answer' sh -c 'echo "{\"instruction\":\"a\"}" | fmt-chat -q -m tiny --generation-prompt'
run fmt-chat --generation-prompt t.jsonl
has err 't.jsonl: record 1 (line 1): is raw text, which has no prompt' 'text has none'
is "$(fmt-chat -q -m tiny --sample 1 a.json)" '# a.json: record 1: 78 bytes, 13 trained
<|im_start|>user
Say <|im_end|><|im_end|>
<|im_start|>assistant
[[Hé<|im_end|>]]' '--sample marks what is trained'
is "$(fmt-chat -q -m tiny --sample 9 a.json | grep -c '^# ')" 2 '--sample of more than there is'
run fmt-chat -m tiny --sample 1 -o x a.json
is_status 2 '--sample writes no file'
if command -v script >/dev/null; then
    script -qec 'fmt-chat -q -m tiny --sample 1 a.json' /dev/null </dev/null >out 2>&1
    has out "$(printf '\033[32mHé')" 'in colour at a terminal'
    NO_COLOR=1 script -qec 'fmt-chat -q -m tiny --sample 1 a.json' /dev/null </dev/null >out 2>&1
    has out '[[Hé' 'not with NO_COLOR'
else
    skip 'no script' 2
fi
awk 'BEGIN { for (i = 1; i <= 3000; i++) { t = ""; for (k = 0; k < i % 31; k++) t = t "w" (i * k) % 89 " "; print "{\"instruction\":\"q" i " " t "\",\"output\":\"" t "é!\"}" } }' >many.jsonl
ok '--records' fmt-chat -q -m tiny --records 11-12 -o r.jsonl many.jsonl
is "$(grep -o '"sample":\["many.jsonl",[0-9]*' r.jsonl | grep -o '[0-9]*$' | tr '\n' ' ')" '11 12 ' 'takes those records'
is "$(fmt-chat -q -m tiny --records 2999- many.jsonl | grep -c sample..\\[)" 2 '--records FROM-'
is "$(fmt-chat -q -m tiny --records -3 many.jsonl | grep -c sample..\\[)" 3 '--records -TO'
for range in 0 5-3 x - 1-x; do
    run fmt-chat -m tiny "--records=$range" many.jsonl
    is_status 2 "--records $range is wrong usage"
done
is "$(sed -n 1p r.jsonl | grep -o '"records":[^]]*.')" '"records":[11,12]' 'the header tells them'
has r.jsonl "$(sha256sum many.jsonl | cut -d' ' -f1)" 'the hash is that of the whole file'
for range in 2999-3001 3001-; do
    rm -f x.jsonl
    run fmt-chat -q -m tiny --records $range -o x.jsonl many.jsonl
    is_status 1 "--records $range of 3000 is an error"
    is "$(cat err)" 'fmt-chat: many.jsonl: holds 3000 records, but record 3001 is asked for' 'that says how many there are'
    not_ok 'and nothing is written' test -e x.jsonl
done
ok '-j 1' fmt-chat -q -m tiny -j 1 -o one.jsonl many.jsonl
ok '-j 2' fmt-chat -q -m tiny -j 2 -o two.jsonl many.jsonl
ok '-j 1 and -j 2 give the same bytes' cmp one.jsonl two.jsonl
ok 'so does the same command again' sh -c 'fmt-chat -q -m tiny many.jsonl | cmp - one.jsonl'
is "$(grep -c 'sample":\["many' one.jsonl)" 3000 'every record is there'
printf '%s' "{{ strftime_now('%Y') }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}" >year.jinja
is "$(SOURCE_DATE_EPOCH=86400000 fmt-chat -q -m tiny -t year.jinja m.jsonl | sed -n 2p | cut -c1-52)" '{"sample":["m.jsonl",1],"spans":[["","1972<user>"],[' 'SOURCE_DATE_EPOCH is the time of templates'
SOURCE_DATE_EPOCH=x run fmt-chat -m tiny m.jsonl
is_status 2 'SOURCE_DATE_EPOCH that is no number'
if command -v zstd >/dev/null; then
    zstd -q many.jsonl
    is "$(fmt-chat -q -m tiny many.jsonl.zst | sed 's/many.jsonl.zst/many.jsonl/' | grep sample..\\[ | md5sum)" "$(grep sample..\\[ one.jsonl | md5sum)" 'compressed input'
else
    skip 'no zstd'
fi
run fmt-chat -q -m tiny --summary sum.json -o x.jsonl a.json s.jsonl
has sum.json '"records": 3' '--summary counts records over files'
has sum.json '"template_sha256"' 'and names the template'

# bad input
bad() { # WHAT TEXT, records in the file in
    rm -f x.jsonl
    run fmt-chat -q -m tiny -o x.jsonl in
    is_status 1 "$1: status 1"
    has err "fmt-chat: $2" "$1: named"
    one_line err "$1: in one line"
    not_ok "$1: nothing is written" test -e x.jsonl
}
good='{"instruction":"a","output":"b"}'
printf '%s\n{"instruction":"a","output":\n%s\n' "$good" "$good" >in; bad 'a damaged line' 'in: record 2 (line 2): '
printf '%s\n{"instruction":"a"}\n' "$good" >in; bad 'no output' 'in: record 2 (line 2): has no "output"'
printf '[%s,{"q":1}]' "$good" >in; bad 'unknown keys' 'in: record 2 (line 1): has none of the keys'
printf '[%s,' "$good" >in; bad 'a cut array' 'in: record 2 (line 1): the file ends inside the array'
printf '{"messages":[{"role":"user","content":"a"}]}' >in; bad 'nothing to train' 'in: record 1 (line 1): '
printf '{"messages":[],"chosen":1,"rejected":2}' >in; bad 'an answer that is none' 'in: record 1 (line 1): "chosen" is not a list of messages'
printf '%s\n{"text":"a"}\n' "$good" >in; bad 'raw text among conversations' 'in: record 2 (line 2): is raw text, but the first record was a conversation'
two='"conversations":[{"from":"system","value":"s"},{"from":"human","value":"a"},{"from":"gpt","value":"b"}]'
printf '{"system":"t",%s}' "$two" >in; bad 'two system texts' 'in: record 1 (line 1): has two system messages that differ'
printf '{"system":"s",%s}' "$two" >in
is "$(fmt-chat -q -t chatml in | grep -o 'start|>system' | grep -c .)" 1 'the same system text twice is one'
printf '%s' '{"text":"a\u0000b"}' >in; bad 'a NUL character' 'in: record 1 (line 1): a string holds the character NUL'
run fmt-chat -m tiny --records 3-2 a.json
has err "'3-2' ends before it begins" 'a range that ends before it begins'
printf 'a,b\n1,2\n' >in; bad 'a table' 'in: record 1 (line 1): expected JSON'
: >in; run fmt-chat -m tiny -o x.jsonl in
one_line err 'an empty file: one line'
has err 'in: no record to convert' 'an empty file'
printf '\357\273\277%s\r\n%s\r\n' "$good" "$good" >in
is "$(fmt-chat -q -m tiny in | grep -c sample..\\[)" 2 'a byte order mark and CR LF are fine'
printf '%s' "{{ raise_exception('no, said the template') }}" >raise.jinja
run fmt-chat -q -t raise.jinja -m tiny -o x.jsonl m.jsonl
has err 'm.jsonl: record 1 (line 1): ' 'a template that raises: the record is named'
has err 'no, said the template' 'and its message shown'
printf '{%% for' >broken.jinja
run fmt-chat -q -t broken.jinja -m tiny m.jsonl
has err 'broken.jinja: line 1' 'a broken template is named with its line'
run fmt-chat -t no-such-template m.jsonl
is_status 2 'an unknown template is wrong usage'
has err "'no-such-template' is neither a built-in template (--list-templates)" 'is named'
run fmt-chat m.jsonl
is_status 2 'conversations without a template'
run fmt-chat -m tiny missing.json
has err 'fmt-chat: missing.json: cannot open' 'a missing file is named'
printf '%s\n{"instruction":"a"}\nhello\n%s\n' "$good" "$good" >in
run fmt-chat -m tiny --skip-bad 2 --summary sum.json -o skip.jsonl in
is_status 0 '--skip-bad 2 takes two bad records'
has err 'left out: in: record 3 (line 3)' 'with a warning each'
has skip.jsonl '"skipped":2' 'counts them in the stream'
has sum.json '"skipped": 2' 'and in the summary'
run fmt-chat -m tiny --skip-bad 1 -o x.jsonl in
is_status 1 'one more is an error'
has err 'one bad record more than --skip-bad 1 allows' 'that says so'
run fmt-chat -q -m tiny -o o.jsonl a.json
has err 'o.jsonl: exists already; --force replaces it' 'an output that exists is refused'
ok '-f replaces it' fmt-chat -q -f -m tiny -o o.jsonl m.jsonl
cp a.json b.json
run fmt-chat -q -f -m tiny -o b.json b.json
is_status 1 'an output that is the input is refused'
ok 'and the input is whole' cmp a.json b.json
run fmt-chat -q -m tiny -o /dev/full a.json
has err 'No space left on device' 'a full disk is named'
sh -c 'fmt-chat -q -m tiny a.json >/dev/full' 2>err
is $? 1 'a full disk behind stdout'
sh -c 'fmt-chat -q -m tiny a.json >&-' 2>err
is $? 1 'a closed stdout'

# what a template leaves out without a word
left_out() { # WHAT WANTED, -t TEMPLATE, the record in the file in
    run fmt-chat -q -t "$3" --sample 1 in
    is_status 1 "$1: status 1"
    is "$(cat err)" "fmt-chat: in: record 1 (line 1): the template leaves out $2" "$1: named"
}
call='{"from":"human","value":"weather?"},{"from":"function_call","value":"{\"name\":\"f\",\"arguments\":{\"x\":1}}"},{"from":"observation","value":"of"},{"from":"gpt","value":"b"}'
tools='"tools":"[{\"name\":\"f\"}]"'
echo "{\"conversations\":[$call]}" >in; left_out 'a tool call that the template ignores' 'the tool calls of message 2' chatml
echo "{\"conversations\":[$call],$tools}" >in; left_out 'tools that the template ignores' 'the tools' chatml
ok 'a template that shows both takes it' fmt-chat -q -t qwen in
echo '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"call f","tool_calls":[{"function":{"name":"f"}}]}]}' >in
left_out 'a call whose name the content tells' 'the tool calls of message 2' chatml
ok 'is seen where it is shown' fmt-chat -q -t qwen in
printf '%s' "{% for m in messages if m.role != 'tool' %}{{ m.content }}{% endfor %}" >deaf.jinja
echo '{"messages":[{"role":"user","content":"a"},{"role":"tool","content":"x"},{"role":"assistant","content":"b"}]}' >in
left_out 'a message that the template ignores' 'message 2 (tool)' deaf.jinja
printf '%s' "{% for m in messages if m.role != 'system' %}{{ m.content.split('</think>')[-1]|trim }}{% endfor %}" >trim.jinja
printf '%s' '{"messages":[{"role":"system","content":"s"},{"role":"user","content":" "},{"role":"assistant","content":"<think>t</think>\n"},{"role":"user","content":"c"},{"role":"assistant","content":"b"}]}' >in
ok 'system messages, blanks and reasoning may go' fmt-chat -q -t trim.jinja in

# the end of a turn that the tokenizer does not have
fmt-chat -q -t alpaca a.json >strange.jsonl
has strange.jsonl '"turn_ends":["</s>"]' 'the header tells what ends turns'
run tok-encode -q -m tiny -o strange.tok strange.jsonl
is_status 1 'an end of turn that is no token is an error'
is "$(cat err)" 'tok-encode: a.json: record 1: a trained turn ends with "</s>", which is no token of this tokenizer (give fmt-chat -m DIR too, or another template)' 'that says what to do'
ok 'with the model, too, it is a token' sh -c 'fmt-chat -q -m tiny -t alpaca a.json | tok-encode -q -m tiny -o known.tok'

# a producer of records that dies: the array is not closed, and tok-encode hears of it as well
(printf '[%s,' "$good"; sh -c 'kill -9 $$') 2>/dev/null | fmt-chat -q -m tiny 2>err | tok-encode -q -m tiny -o dead.tok 2>err2
has err 'stdin: record 2 (line 1): the file ends inside the array' 'a producer that dies is noticed'
has err2 'stdin: ' 'also behind the pipe'
not_ok 'and nothing is written' test -e dead.tok
ok 'the whole road' sh -c 'fmt-chat -q -m tiny a.json | tok-encode -q -m tiny -o a.tok'
is "$(tok-decode -q -m tiny --sample 1 a.tok | sed 1d)" '<|im_start|>user
Say <|im_end|><|im_end|>
<|im_start|>assistant
[[Hé<|im_end|>]]' 'shows the same text'
is "$(tok-decode -q --ids --sample 1 a.tok | tr ' ' '\n' | grep -c '^\[*258\]*$')" 2 'a control token spelt by the user is none'
for file in alpaca_en_demo.json:999 huanhuan.json:3729 c4_demo.jsonl:300 reason_tool_use_demo_50.jsonl:50; do
    if [ -f "$DATA/${file%:*}" ]; then
        is "$(fmt-chat -q -t qwen "$DATA/${file%:*}" | grep -c '^{"sample"')" "${file#*:}" "${file%:*}"
    else
        skip 'no shared data'
    fi
done
finish
