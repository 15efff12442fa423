#!/bin/sh
# tok-decode: every option, every bad input.
. "${0%/*}/lib.sh"
PATH=$BUILD/tests/tools:$PATH
make-model -q -o tiny || { report 1 'the tiny model is made'; finish; }
cat >chat.jsonl <<'END'
{"chat_stream":1,"kind":"samples","tool":"t","template":{"name":"chatml","sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},"options":{}}
{"sample":["a.json",1],"spans":[["","<|im_start|>user\n"],["d","Hé?"],["","<|im_end|>\n"],["dt","Yes"],["t","<|im_end|>"],["","\n"]]}
{"sample":["a.json",2],"spans":[["d","ab"],["dt","c"],["d","d"],["dt","e"]]}
{"end":{"samples":2,"skipped":0}}
END
tok-encode -q -m tiny -o a.tok chat.jsonl || { report 1 'the token file is made'; finish; }

run tok-decode -m tiny a.tok
is_status 0 'text'
is "$(cat out)" '# sample 1: 17 tokens, 4 trained
<|im_start|>user
Hé?<|im_end|>
[[Yes<|im_end|>]]

# sample 2: 5 tokens, 2 trained
ab[[c]]d[[e]]' 'trained tokens are marked'
has err 'a.tok: 2 samples, 22 tokens, 6 trained, longest 17, vocabulary 259' 'what is in the file'
run tok-decode --ids a.tok
is "$(tail -n 1 out)" '97 98 [[99]] 100 [[101]]' '--ids'
cp out ids
run tok-decode a.tok
ok 'without -m the ids are shown' cmp out ids
has err 'text needs -m DIR' 'and why'
run tok-decode --json a.tok
is "$(tail -n 1 out)" '{"sample":2,"ids":[97,98,99,100,101],"mask":[0,0,1,0,1]}' '--json'
run tok-decode --json -m tiny --sample 2 a.tok
is "$(cat out)" '{"sample":2,"ids":[97,98,99,100,101],"mask":[0,0,1,0,1],"text":"abcde"}' '--json with text, --sample'
run tok-decode -q --sample 1 -m tiny a.tok
is "$(wc -l <out) $(wc -c <err)" '5 0' '-q says nothing else'
sh -c 'tok-decode -q --ids - <a.tok' >out
ok 'from a pipe' cmp out ids
ok '--summary' tok-decode -q --summary s.json a.tok
has s.json '"trained_tokens": 6' 'the summary counts'
run tok-decode -v a.tok
is_status 0 '-v'
if command -v script >/dev/null; then
    script -qec 'tok-decode -q --ids a.tok' /dev/null </dev/null >out 2>&1
    has out "$(printf '\033[32m99\033[0m')" 'colour at a terminal'
    NO_COLOR=1 script -qec 'tok-decode -q --ids a.tok' /dev/null </dev/null >out 2>&1
    has out '[[99]]' 'none with NO_COLOR'
else
    skip 'no script' 2
fi

# Pairs and labelled samples: the prompt once, each answer by itself.
make-tokens -q -m tiny --kind pairs --samples 2 --min 4 --max 6 --seed 3 -o pairs.tok
run tok-decode --ids --sample 2 pairs.tok
is "$(cat out)" '# pair 2: 6 tokens, 4 trained
198 201
# chosen: 2 tokens
[[204 207]]
# rejected: 2 tokens
[[198 195]]' 'a pair'
has err 'pairs.tok: 2 pairs, 14 tokens, 9 trained, longest 6' 'what is in the file'
run tok-decode --json --sample 2 pairs.tok
is "$(cat out)" '{"sample":2,"prompt":[198,201],"prompt_mask":[0,0],"chosen":[204,207],"chosen_mask":[1,1],"rejected":[198,195],"rejected_mask":[1,1]}' 'as JSON'
ok 'the summary of pairs' tok-decode -q --summary p.json pairs.tok
has p.json '"kind": "pairs"' 'tells the kind'
make-tokens -q -m tiny --kind labelled --samples 2 --min 4 --max 6 --seed 3 -o labelled.tok
run tok-decode labelled.tok
is "$(cat out)" '# sample 1: 6 tokens, 3 trained, desirable
95 97 99
# completion: 3 tokens
[[101 103 105]]
# sample 2: 4 tokens, 2 trained, undesirable
198 201
# completion: 2 tokens
[[198 195]]' 'labelled samples'
run tok-decode --json --sample 1 labelled.tok
is "$(cat out)" '{"sample":1,"prompt":[95,97,99],"prompt_mask":[0,0,0],"completion":[101,103,105],"completion_mask":[1,1,1],"label":true}' 'as JSON'

run tok-decode --sample 3 a.tok
has err 'a.tok: no sample 3, it holds 2' 'a sample that is not there'
is_status 1 'is an error'
run tok-decode --sample 0 a.tok
is_status 2 'samples count from 1'
run tok-decode --ids --json a.tok
is_status 2 '--ids and --json exclude each other'
run tok-decode
is_status 2 'no file'
run tok-decode a.tok a.tok
is_status 2 'two files'
run tok-decode missing.tok
has err 'tok-decode: missing.tok: cannot open' 'a missing file is named'
run tok-decode chat.jsonl
has err 'chat.jsonl: not a token file (tok-encode writes them)' 'another file is refused'
head -c 100 a.tok >cut.tok
run tok-decode cut.tok
has err 'cut.tok: truncated' 'a cut file is refused'
is "$(cat out)" '' 'before anything is shown'
{ head -c 500 a.tok; printf 'X'; tail -c +502 a.tok; } >changed.tok
run tok-decode changed.tok
is_status 1 'a changed file is refused'
has err 'changed.tok: damaged' 'and said to be damaged'
: >empty.tok
run tok-decode empty.tok
has err 'empty.tok: is empty' 'an empty file is refused'
mkdir other && sed 's/<|im_start|>/<|im_begin|>/' tiny/tokenizer.json >other/tokenizer.json
run tok-decode -m other a.tok
is_status 1 'another tokenizer is refused'
has err 'a.tok: was made with another tokenizer' 'and named'
sh -c 'tok-decode -q a.tok >/dev/full' 2>err
is $? 1 'a full disk'
sh -c 'tok-decode -q a.tok >&-' 2>err
is $? 1 'a closed stdout'
finish
