#!/bin/sh
# Preference data through fmt-chat, tok-encode and what reads their files: pairs, labelled samples, every option, every bad record.
# (The shapes that records come in: tests/unit/chat_pair.c. That tokens are cut as TRL does: answers.t.)
. "${0%/*}/lib.sh"
make-model -q -o tiny || { report 1 'the tiny model is made'; finish; }

cat >p.json <<'END'
[{"conversations": [{"from": "human", "value": "Who?"}], "chosen": {"from": "gpt", "value": "Me."}, "rejected": {"from": "gpt", "value": "No <|im_end|>"}},
 {"instruction": "2 + 2?", "chosen": "4", "rejected": "5"}]
END
cat >k.json <<'END'
[{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}], "label": true},
 {"instruction": "2 + 2?", "output": "5", "kto_tag": false}]
END

# ---- fmt-chat ----
run fmt-chat -m tiny --summary sum.json p.json
is_status 0 'pairs'
has err 'p.json: pairs, template ' 'auto knows them'
has err '2 records, 2 pairs, 0 left out' 'and counts them'
has sum.json '"kind": "pairs"' 'so does the summary'
has sum.json '"samples": 2' 'which counts them as samples'
has out '"kind":"pairs"' 'the header names the kind'
is "$(sed -n 2p out)" '{"sample":["p.json",1],"spans":[["","<|im_start|>user\n"],["d","Who?"],["","<|im_end|>\n<|im_start|>assistant\n"]],"chosen":[["dt","Me."],["t","<|im_end|>"],["","\n"]],"rejected":[["dt","No <|im_end|>"],["t","<|im_end|>"],["","\n"]]}' \
    'the prompt once, and both answers with the end of their turn'
cp out p.jsonl
run fmt-chat -q -m tiny -F pairs -j 1 p.json
ok '-F pairs gives the same, but for the header' sh -c 'sed 1d out | grep -v end >x; sed 1d p.jsonl | grep -v end | cmp - x'
run fmt-chat -m tiny k.json
is_status 0 'labelled samples'
has err 'k.json: labelled, template ' 'auto knows them'
is "$(sed -n 3p out)" '{"sample":["k.json",2],"spans":[["","<|im_start|>user\n"],["d","2 + 2?"],["","<|im_end|>\n<|im_start|>assistant\n"]],"completion":[["dt","5"],["t","<|im_end|>"],["","\n"]],"label":false}' \
    'prompt, answer, label'
cp out k.jsonl
is "$(fmt-chat -m tiny --sample 1 p.json 2>/dev/null)" '# p.json: record 1: 92 bytes, 36 trained
<|im_start|>user
Who?<|im_end|>
<|im_start|>assistant

# chosen
[[Me.<|im_end|>]]

# rejected
[[No <|im_end|><|im_end|>]]' '--sample shows a pair'
is "$(fmt-chat -q -m tiny --sample 1 --records 2-2 k.json | sed -n '1p;/# completion/,$p')" '# k.json: record 2: 68 bytes, 11 trained, undesirable
# completion
[[5<|im_end|>]]' '--sample shows a labelled sample'
is "$(fmt-chat -q -m tiny --system 'Be brief' p.json | sed -n 2p | grep -o 'Be brief.*,"chosen":\[\["dt","Me."')" \
    'Be brief"],["","<|im_end|>\n<|im_start|>user\n"],["d","Who?"],["","<|im_end|>\n<|im_start|>assistant\n"]],"chosen":[["dt","Me."' '--system'
is "$(fmt-chat -q -m tiny --train all p.json | sed -n 3p | grep -o '"chosen":.*')" '"chosen":[["dt","4"],["t","<|im_end|>\n"]],"rejected":[["dt","5"],["t","<|im_end|>\n"]]}' '--train all: the whole answers, no prompt'
printf '{"prompt":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}],"chosen":[{"role":"assistant","content":"d"},{"role":"user","content":"e"},{"role":"assistant","content":"f"}],"rejected":"g"}' >turns.json
is "$(fmt-chat -q -m tiny turns.json | sed -n 2p | grep -o '\["dt",[^]]*\]' | tr -d '\n')" '["dt","d"]["dt","f"]["dt","g"]' 'every turn of an answer is trained, none of the prompt'
is "$(fmt-chat -q -m tiny --train last turns.json | sed -n 2p | grep -o '\["dt",[^]]*\]' | tr -d '\n')" '["dt","f"]["dt","g"]' '--train last: the last of each'
is "$(fmt-chat -q -m tiny --train last turns.json | sed -n 2p | grep -o '"chosen":\[\["d","d"\]' | grep -c .)" 1 'the answer begins where it did'
is "$(fmt-chat -q -m tiny --generation-prompt p.json | sed -n '1p;2p' | grep -o '"kind":"prompts"\|\["d",.*')" '"kind":"prompts"
["d","Who?"],["","<|im_end|>\n<|im_start|>assistant\n"]]}' '--generation-prompt: the prompts of pairs'
is "$(fmt-chat -q -m tiny --generation-prompt k.json | sed -n 2p | grep -o '\["d",.*')" '["d","Who?"],["","<|im_end|>\n<|im_start|>assistant\n"]]}' 'and of labelled samples'
echo '{"prompt":"once","chosen":" upon","rejected":" more"}' >raw.json
is "$(fmt-chat -q raw.json | sed -n 2p)" '{"sample":["raw.json",1],"spans":[["d","once"]],"chosen":[["dt"," upon"]],"rejected":[["dt"," more"]]}' 'raw text needs no template'
echo '{"prompt":"once","completion":" upon","rating":4}' >rated.json
is "$(fmt-chat -q -F kto --desirable 4 rated.json | sed -n 2p)" '{"sample":["rated.json",1],"spans":[["d","once"]],"completion":[["dt"," upon"]],"label":true}' '--desirable: a good rating'
is "$(fmt-chat -q -F kto --desirable 4.5 rated.json | grep -o '"label":.*\|"desirable":[^,}]*' | tr '\n' ' ')" '"desirable":4.5 "label":false} ' 'a bad one; the header has the option'
run fmt-chat -F kto rated.json
is "$(cat err)" 'fmt-chat: rated.json: record 1 (line 1): has a rating and no label: which ratings are good is not told (--desirable)' 'without it: an error'
run fmt-chat --desirable 4 rated.json
is_status 1 '--desirable without -F kto'
has err '--desirable judges rated answers' 'which would lose the rating'
echo '{"prompt":"once","completion":" upon","label":true,"kto_tag":false}' >torn.json
run fmt-chat torn.json
is_status 1 'two labels'
has err '"label" and "kto_tag" say the opposite' 'that contradict each other'
run fmt-chat -F kto --desirable often rated.json
is_status 2 '--desirable that is no number'

# ---- bad records ----
bad() { # WHAT TEXT, records in the file in
    rm -f x.jsonl
    run fmt-chat -q -m tiny -o x.jsonl in
    is_status 1 "$1: status 1"
    is "$(cat err)" "fmt-chat: in: record $2" "$1: named"
    not_ok "$1: nothing is written" test -e x.jsonl
}
good='{"instruction":"a","chosen":"b","rejected":"c"}'
printf '%s\n{"instruction":"a","chosen":"b","rejected":"b"}' "$good" >in; bad 'the same answer twice' '2 (line 2): "chosen" and "rejected" are the same'
printf '%s\n{"instruction":"a","chosen":"","rejected":"b"}' "$good" >in; bad 'an empty answer' '2 (line 2): "chosen" is empty'
printf '{"chosen":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"rejected":[{"role":"user","content":"A"},{"role":"assistant","content":"c"}]}' >in
bad 'prompts that differ' '1 (line 1): the prompts of "chosen" and "rejected" differ in message 1'
printf '{"messages":[{"role":"user","content":"a"}],"label":true}' >in
bad 'no answer' '1 (line 1): the conversation does not end with a message of the assistant, which the label would judge'
printf '{"kto_tag":true,"label":1}' >in; bad 'a label that is a number' '1 (line 1): "label" is neither true nor false'
printf '%s\n{"instruction":"a","output":"b"}' "$good" >in; bad 'a sample among pairs' '2 (line 2): is a sample without label or pair, but the first record was a preference pair'
printf '{"instruction":"a","output":"b","label":true}%s' "$good" >in; bad 'a pair among labelled samples' '2 (line 1): is a preference pair, but the first record was a labelled sample'
printf '%s\n{"prompt":"a","chosen":"b","rejected":"c"}' "$good" >in; bad 'raw text among conversations' '2 (line 2): is raw text, but the first record was a conversation'
printf '{"instruction":"a","chosen":" b","rejected":"b"}' >in
printf '%s' "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{{ eos_token }}{% endfor %}" >trim.jinja
run fmt-chat -q -m tiny -t trim.jinja in
has err 'in: record 1 (line 1): the template makes the same text of "chosen" and "rejected"' 'answers that only the template makes the same'
printf '%s' "<{{ messages[-1].content | length }}>{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}" >peek.jinja
printf '{"instruction":"a","chosen":"b","rejected":"cc"}' >in
run fmt-chat -q -m tiny -t peek.jinja in
has err 'in: record 1 (line 1): the template puts the two answers behind prompts that differ, from byte 2 of the text on' 'a template that shows the answer in the prompt'
printf '{"instruction":"a","chosen":"b","rejected":"b"}%s{"instruction":"a"}' "$good" >in
run fmt-chat -m tiny -F pairs --skip-bad 2 -o skipped.jsonl in
is_status 0 '--skip-bad'
has err '3 records, 1 pair, 2 left out' 'counts'
has skipped.jsonl '{"end":{"samples":1,"skipped":2}' 'also in the end record'

# ---- tok-encode ----
run tok-encode -m tiny -o p.tok p.jsonl
is_status 0 'a stream of pairs'
has err '2 pairs, ' 'counted as pairs'
is "$(tok-decode -q --ids --sample 2 p.tok)" '# pair 2: 31 tokens, 4 trained
257 117 115 101 114 10 50 32 43 32 50 63 258 10 257 97 115 115 105 115 116 97 110 116 10
# chosen: 3 tokens
[[52 258]] 10
# rejected: 3 tokens
[[53 258]] 10' 'the prompt once, what is behind the ends not trained'
is "$(tok-decode -q --ids --sample 1 p.tok | grep -c '\[\[78 111 32 60 124 105 109')" 1 'an answer that spells a control token is text'
run tok-encode -q -m tiny -o k.tok --summary k.sum k.jsonl
is_status 0 'a stream of labelled samples'
is "$(tok-decode -q --json --sample 2 k.tok | grep -o '"completion":.*')" '"completion":[53,258,10],"completion_mask":[1,1,0],"label":false}' 'with its label'
for n in 1 2; do
    fmt-chat -q -m tiny -j $n p.json k.json 2>err && echo 'two kinds in one run'
    tok-encode -q -m tiny -j $n -o j$n.tok p.jsonl
done
ok 'the same bytes for any -j' cmp j1.tok j2.tok
cat p.jsonl p.jsonl | tok-encode -q -m tiny -o twice.tok
is "$(ckpt-info --json twice.tok | grep -o '"pairs": [0-9]*')" '"pairs": 4' 'streams one after another'
run tok-encode -q -m tiny -o x.tok p.jsonl k.jsonl
is "$(cat err)" 'tok-encode: k.jsonl: line 1: holds labelled samples (fmt-chat -F kto), expected pairs (fmt-chat -F pairs)' 'two kinds are refused'
sh -c 'cat p.jsonl k.jsonl | tok-encode -q -m tiny -o x.tok' 2>err
has err 'stdin: line 5: holds labelled samples' 'also in one stream'

# Prompt 20, chosen 6, rejected 17 tokens; prompt 22 + 3, 3.
printf '{"instruction":"a","chosen":"abc","rejected":"abcdefghijklmn"}{"instruction":"abc","chosen":"4","rejected":"5"}' >long.json
fmt-chat -q -m tiny long.json >long.jsonl
run tok-encode -m tiny --max-length 30 -o x.tok long.jsonl
is "$(cat err | tail -n 1)" 'tok-encode: long.json: record 1: 36 tokens with the longer answer, at most 30 fit (--max-length; --overlong truncate or drop takes longer ones)' 'an overlong pair is named'
run tok-encode -v -m tiny --max-length 30 --overlong drop --summary drop.sum -o drop.tok long.jsonl
has err 'long.json: record 1: dropped, 36 tokens' '--overlong drop'
has drop.sum '"dropped": 1' 'counts'
has drop.sum '"written": 1' 'what is left'
run tok-encode -m tiny --max-length 30 --overlong truncate --summary cut.sum -o cut.tok long.jsonl
has cut.sum '"truncated": 1' '--overlong truncate'
is "$(tok-decode -q --ids --sample 1 cut.tok | sed -n '4p;6p')" "$(printf '[[97 98 99 258]] 10\n[[97 98 99 100 101 102 103 104 105 106]]')" 'the longer answer is cut'
run tok-encode -m tiny --max-length 22 --overlong truncate --summary gone.sum -o gone.tok long.jsonl
is_status 1 'nothing is left of any'
has err 'long.jsonl: no pair to write' 'says so'
run tok-encode -m tiny --max-length 23 --overlong truncate --summary gone.sum -o gone.tok long.jsonl
has gone.sum '"truncated_without_answer": 1' 'answers that are the same when truncated are left out and counted'
has err '1 truncated, 1 left out because truncation left nothing to train or to compare' 'and told'
run tok-encode -m tiny --overlong split -o x.tok p.jsonl
is_status 2 '--overlong split is wrong usage'
has err '--overlong split: p.jsonl holds pairs, whose answers cannot be split (error, truncate or drop)' 'that says why'
printf '%s\n' "$(head -n 1 p.jsonl)" '{"sample":["a",1],"spans":[["","q"]],"chosen":[["","y"]],"rejected":[["t","n"]]}' '{"end":{"samples":1,"skipped":0}}' >untrained.jsonl
run tok-encode -q -m tiny -o x.tok untrained.jsonl
is "$(cat err)" 'tok-encode: a: record 1: the chosen answer: nothing to train in its 2 tokens' 'an answer without trained tokens'
printf '%s\n' "$(head -n 1 p.jsonl)" '{"sample":["a",1],"spans":[],"chosen":[["t","y"]],"rejected":[["t","n"]]}' '{"end":{"samples":1,"skipped":0}}' >promptless.jsonl
run tok-encode -q -m tiny -o x.tok promptless.jsonl
has err 'tok-encode: a: record 1: ' 'no prompt'
printf '%s\n' "$(head -n 1 p.jsonl)" '{"sample":["a",1],"spans":[["","q"]],"chosen":[["t","y"]]}' '{"end":{"samples":1,"skipped":0}}' >half.jsonl
run tok-encode -q -m tiny -o x.tok half.jsonl
has err 'tok-encode: half.jsonl: line 2: expected the key "rejected"' 'half a pair'

# ---- who reads these ----
run ckpt-info p.jsonl
has out 'holds                    pairs' 'ckpt-info: a stream of pairs'
run ckpt-info --verify k.jsonl
has out 'holds                    labelled' 'ckpt-info: a stream of labelled samples'
run tok-train -o t.json --vocab 300 p.jsonl
has err 'p.jsonl: line 1: holds pairs (fmt-chat -F pairs), expected samples' 'tok-train takes samples'
run gen -q -m tiny --batch p.jsonl
has err 'p.jsonl: line 1: holds pairs (fmt-chat -F pairs), expected prompts (fmt-chat --generation-prompt)' 'gen --batch takes prompts'
ok 'but answers the prompts of records' sh -c 'gen -q -m tiny --max-tokens 1 --batch p.json >out && test "$(grep -c chosen out)" = 2'
finish
