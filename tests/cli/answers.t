#!/bin/sh
# Pairs and labelled samples come out as TRL cuts them: the goldens of tests/golden/make_answers.py.
. "${0%/*}/lib.sh"
golden=$ROOT/tests/golden/answers
base=$ROOT/pipelines/base-model/model

encode() { # MODEL FILE
    fmt-chat -q -m "$1" --train all "$2" | tok-encode -q -m "$1" --max-length 1M | tok-decode -q --json -
}

for name in chat implicit text bare kto kto-text; do
    encode "$base" "$golden/$name.json" >got
    ok "$name: as TRL" cmp got "$golden/$name.jsonl"
done

# Without --train all, what the template puts behind the end of the turn is not trained; nothing else changes.
fmt-chat -q -m "$base" "$golden/chat.json" | tok-encode -q -m "$base" | tok-decode -q --json - >got
is "$(sed 's/1,0\]/1,1]/g' got | cmp - "$golden/chat.jsonl" && grep -c '1,0\].*1,0\]' got)" 4 'the end of the turn is trained, the newline behind it is not'

while read -r hash tokenizer file; do
    folder=$DATA/tokenizers/$tokenizer
    [ "$tokenizer" = smollm2 ] && folder=${FINETOOLS_SMOLLM2:-$DATA/smollm2}
    if [ -f "$folder/tokenizer.json" ] && [ -f "$DATA/$file" ]; then
        is "$(encode "$folder" "$DATA/$file" | sha256sum | cut -c1-64)" "$hash" "$file with the tokenizer of $tokenizer"
    else
        skip "no $file or no tokenizer of $tokenizer"
    fi
done <"$golden/demo.sha256"
finish
