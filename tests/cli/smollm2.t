#!/bin/sh
# SmolLM2-135M-Instruct answers greedily what transformers answers. The model: FINETOOLS_SMOLLM2, or smollm2 in the data folder.
. "${0%/*}/lib.sh"
model=${FINETOOLS_SMOLLM2:-$DATA/smollm2}
golden=$ROOT/tests/golden/smollm2-greedy.jsonl
[ -f "$model/model.safetensors" ] || skip_all 'no SmolLM2 here: make one with make-smollm2 and name its folder in FINETOOLS_SMOLLM2'
grep -q "$(sha256sum <"$model/model.safetensors" | cut -c1-64)" "$golden" || skip_all 'other weights than the golden answers are of'

gen() {
    command gen -q -m "$model" --dtype f32 --temperature 0 --max-tokens 64 "$@"
}

answer() { # N: transformers' answer to the golden's record N, as its JSON string
    sed -n "$1"'s/.*"content": \(".*"\)}\], "margin".*/\1/p' "$golden"
}

# A batch: the last message of each record is transformers' answer.
gen --batch "$golden" >out.jsonl
sed -n 's/.*"response": \(".*"\), "finish".*/\1/p' out.jsonl >got
n=0
while IFS= read -r text; do
    n=$((n + 1))
    is "$text" "$(answer $n)" "record $n is answered as by transformers"
done <got
is $n "$(wc -l <"$golden" | tr -d ' ')" 'every record is answered'

# Alone, as prompts.
is "\"$(gen 'What is the capital of Peru?')\"" "$(answer 2)" 'a prompt'
is "\"$(printf '  2 + 2 =\n\n\t?' | gen)\"" "$(answer 9)" 'a prompt with space, from stdin'
is "\"$(gen --system 'You are Captain Hook, a pirate.' 'Who are you?' | sed -e ':a' -e '$!{N;ba' -e '}' -e 's/"/\\"/g' -e 's/\n/\\n/g')\"" "$(answer 11)" '--system'
finish
