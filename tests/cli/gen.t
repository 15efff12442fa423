#!/bin/sh
# gen: what it says, every option, every bad input. The model knows four conversations by heart, so answers are known; the base that it was made
# from says gibberish, which is good for sampling. A token per byte; the context is 512 tokens.
. "${0%/*}/lib.sh"
for tool in fmt-chat tok-encode full-train lora-train adapter-merge; do
    has_tool $tool || skip_all "no $tool"
done

cat >learn.jsonl <<'END'
{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Hé ✓ 日本, one two three."}]}
{"messages":[{"role":"system","content":"Be brief"},{"role":"user","content":"hi"},{"role":"assistant","content":"No."}]}
{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Hé ✓ 日本, one two three."},{"role":"user","content":"again"},{"role":"assistant","content":"Four."}]}
{"messages":[{"role":"user","content":"again"},{"role":"assistant","content":"What?"}]}
END
long='Hé ✓ 日本, one two three.'
make-model -q --hidden 32 --heads 4 --kv-heads 2 --ffn 64 -o base &&
    fmt-chat -q -m base learn.jsonl | tok-encode -q -m base -o learn.tok &&
    full-train -q -j 1 --dtype f32 -m base -o m --steps 150 --batch 4 --lr 1e-2 learn.tok &&
    lora-train -q -j 1 --dtype f32 -m base -o a --steps 10 --rank 2 --lr 1e-2 learn.tok &&
    lora-train -q -j 1 --dtype f32 -m base -o b --steps 10 --rank 3 --lr 2e-2 --seed 1 learn.tok ||
    { report 1 'the models can be made'; finish; }

answer() { # the text of one run, errors included
    gen -q --dtype f32 "$@" 2>&1 </dev/null
}
raw() { # gibberish of the base
    answer -m base --raw --max-tokens 12 "$@" 'abc'
}
values() { # PATH FILE: the values there, in order
    awk -f "$ROOT/pipelines/json-paths.awk" "$2" | awk -F '\t' -v path="$1" '$2 == path { print $3 }'
}
sum() { # KEY: of the summary s.json
    sed -n "s/.*\"$1\": *\\([0-9.e+-]*\\).*/\\1/p" s.json
}
differ() {
    what=$1
    shift
    if [ "$1" != "$2" ]; then report 0 "$what"; else report 1 "$what"; note "both: $1"; fi
}

# prompts
run gen -q -m m hi
is_status 0 'a prompt is answered'
printf '%s\n' "$long" >want
ok 'stdout is the answer and one newline' cmp out want
is "$(cat err)" '' '-q says nothing else'
run gen -m m hi
ok 'nor is anything else on stdout without -q' cmp out want
is "$(answer -m m hi again)" "$(printf '%s\nWhat?' "$long")" 'two prompts are two conversations'
is "$(echo hi | gen -q -m m)" "$long" 'stdin is a prompt, its last newline is not part of it'
is "$(printf hi | gen -q -m m)" "$long" 'which it may lack'
gen -m m </dev/null >out 2>err
is $? 1 'a producer that wrote nothing'
is "$(cat out err)" 'gen: stdin: the prompt is empty' 'is an error'
is "$(printf 'hi\n\n' | gen -q -m m --summary s.json >out; sum prompt_tokens)" 22 'other newlines are'
run gen -v -m m hi
has err 'prompts: 21 tokens, ' '-v tells the rates'
has err 'products of few rows  ' 'and where the time went'
run gen -q -m m --summary s.json hi again
is "$(sum prompt_tokens) $(sum new_tokens) $(sum status)" '45 35 0' '--summary counts tokens'
ok 'and rates' test "$(sum new_tokens_per_second | cut -c1)" -gt 0

# the template
chat='<|im_start|>user
hi<|im_end|>
<|im_start|>assistant
'
is "$(answer -m m --raw "$chat")" "$long" '--raw: the prompt is the text itself, control tokens and all'
is "$(printf '%s\n' "$chat" | gen -q -m m --raw)" "$long" 'from stdin, too'
differ '--raw text is continued as it is' "$(answer -m m --raw hi)" "$long"
gen -q -m m --max-tokens 1 --summary s.json '<|im_end|>' >out && spelt=$(sum prompt_tokens)
gen -q -m m --max-tokens 1 --summary s.json '0123456789' >out
is "$spelt" "$(sum prompt_tokens)" 'a control token spelt by the user is text'
is "$(answer -m m --system 'Be brief' hi)" 'No.' '--system'
printf '%s' '{% for m in messages %}Q: {{ m.content }}{% endfor %}' >q.jinja
is "$(answer -m base --max-tokens 12 -t ./q.jinja abc)" "$(answer -m base --max-tokens 12 --raw 'Q: abc')" '-t FILE.jinja is the template'
is "$(answer -m m --template chatml hi)" "$long" '--template NAME'

# where answers end
is "$(answer -m m --max-tokens 1 hi)" 'H' '--max-tokens 1'
is "$(answer -m m --max-tokens 3 hi)" 'Hé' '--max-tokens 3'
is "$(answer -m m --stop ', one' hi)" 'Hé ✓ 日本' '--stop ends before its text'
is "$(answer -m m --stop 'two' --stop 'one t' hi)" 'Hé ✓ 日本, ' 'the first of several'
is "$(answer -m m --stop 'four' --stop 'three!' hi)" "$long" 'none of them: the whole, held back or not'
is "$(answer -m m --stop '本' hi)" 'Hé ✓ 日' 'a character of several bytes'

# what decides: greedy, seeds, filters
greedy=$(raw)
is "$(raw)" "$greedy" 'greedy: the same text again'
is "$(raw -j 1)" "$greedy" '-j 1'
is "$(raw -j 2)" "$greedy" '-j 2: the same'
is "$(raw --device cpu)" "$greedy" '--device cpu'
hot=$(raw --temperature 5)
differ '--temperature 5 is not greedy' "$hot" "$greedy"
is "$(raw --temperature 5)" "$hot" 'the same seed gives the same text'
is "$(raw --temperature 5 --seed 0)" "$hot" 'the seed is 0 unless given'
differ '--seed 1 gives another text' "$(raw --temperature 5 --seed 1)" "$hot"
is "$(raw --temperature 5 -j 1)" "$(raw --temperature 5 -j 2)" 'sampled text does not depend on threads'
is "$(raw --temperature 0)" "$greedy" '--temperature 0 is greedy'
is "$(raw --temperature 0 --top-k 9)" "$greedy" 'whatever the filters'
is "$(raw --temperature 5 --top-k 1)" "$greedy" '--top-k 1 leaves the most probable'
is "$(raw --temperature 5 --top-p 0)" "$greedy" '--top-p 0 leaves the most probable'
is "$(raw --temperature 5 --min-p 1)" "$greedy" '--min-p 1 leaves the most probable'
for filter in '--top-k 0' '--top-p 0.99' '--min-p 0.001'; do
    differ "$filter alone samples" "$(raw $filter)" "$greedy"
    is "$(raw $filter)" "$(raw --temperature 1 $filter)" 'at temperature 1'
done
differ '--repeat-penalty changes greedy text' "$(raw --repeat-penalty 50)" "$greedy"
is "$(raw --repeat-penalty 1)" "$greedy" '--repeat-penalty 1 does not'
ok '--dtype bf16 computes' gen -q -m m --dtype bf16 hi
is "$(gen -q -m m --dtype bf16 hi)" "$long" 'and says the same'

# generation_config.json
mkdir gc && cp m/*.json m/*.safetensors gc/
echo '{"do_sample": true, "temperature": 5.0, "max_new_tokens": 3}' >gc/generation_config.json
is "$(answer -m gc --temperature 0 hi)" 'Hé' "the model's own max_new_tokens"
is "$(answer -m gc --temperature 0 --max-tokens 40 hi)" "$long" 'an option overrides it'
cp base/model.safetensors gc/
is "$(answer -m gc --raw abc)" "$(answer -m base --raw --temperature 5 --top-k 50 --max-tokens 3 abc)" "the model's own sampling"
for bad in '{"temperature": "x"}' '[]' '{"top_k": -3}' '{'; do
    echo "$bad" >gc/generation_config.json
    run gen -m gc hi
    is_status 1 "generation_config.json $bad is an error"
    has err 'gen: gc/generation_config.json: ' 'that names the file'
    one_line err 'in one line'
done

# adapters, applied and merged
adapter-merge -q -m base -o base-a --dtype f32 a && adapter-merge -q -m base -o base-ab --dtype f32 a b
plain=$(answer -m base --max-tokens 30 hi)
with_a=$(answer -m base -a a --max-tokens 30 hi)
with_ab=$(answer -m base -a a --adapter b --max-tokens 30 hi)
differ '-a changes what the model says' "$with_a" "$plain"
is "$with_a" "$(answer -m base-a --max-tokens 30 hi)" 'as merging it does'
differ 'a second adapter changes it again' "$with_ab" "$with_a"
is "$with_ab" "$(answer -m base-ab --max-tokens 30 hi)" 'as merging both does'
make-model -q --hidden 24 -o other
run gen -m other -a a hi
is_status 1 'an adapter of another model is refused'
one_line err 'in one line'
run gen -m base -a no-such hi
is_status 1 'a missing adapter is refused'
has err 'no-such' 'by name'
cp -r a damaged-a && flip damaged-a/adapter_model.safetensors $(($(wc -c <a/adapter_model.safetensors) - 5)) 1
run gen -q -m base -a damaged-a --max-tokens 3 hi
is_status 1 'a damaged adapter is refused'
has err 'is damaged: its checksum differs' 'which the checksum tells'

# the context
fill() { # N letters
    awk -v n="$1" 'BEGIN { while (n--) printf "a" }'
}
run gen -q -m m --raw --summary s.json "$(fill 511)"
is_status 0 'a prompt of 511 tokens has room for one'
is "$(sum new_tokens)" 1 'and gets one'
run gen -q -m m --raw "$(fill 512)"
is_status 1 'one of 512 has none'
is "$(cat err)" "gen: the prompt's 512 tokens leave no room in the model's context of 512" 'which is told'
is "$(cat out)" '' 'nothing is said'
gen -q -m base --raw --max-tokens 100 --summary s.json "$(fill 500)" >out
ok 'an answer ends at the end of the context' test "$(sum new_tokens)" -le 12

# batches
cat >all.jsonl <<'END'
{"x": 1, "instruction": "hi", "output": " Hé ✓ 日本, one two three.\n"}
{"instruction": "hi", "input": "", "system": "Be brief", "output": "Yes."}
{"instruction": "again", "history": [["hi", "Hé ✓ 日本, one two three."]], "output": "Four."}
{"conversations": [{"from": "human", "value": "again"}, {"from": "gpt", "value": "What?"}]}
{"messages": [{"role": "user", "content": "again"}]}
{"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, {"role": "assistant", "content": [{"type": "text", "text": "Hé"}, {"type": "text", "text": " ✓"}]}]}
{"prompt": [{"role": "user", "content": "again"}], "completion": [{"role": "assistant", "content": "What?"}]}
{"prompt": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", "completion": "No."}
{"text": "<|im_start|>user\nagain<|im_end|>\n<|im_start|>assistant\n"}
END
run gen --dtype f32 -m m --batch all.jsonl --summary s.json -o all.out
is_status 0 'a batch of every shape'
is "$(cat out)" '' 'with -o stdout is empty'
values .response all.out >responses
printf '%s\n' "$long" 'No.' 'Four.' 'What?' 'What?' "$long" 'What?' "$long" 'What?' >want
ok 'each gets its answer, in order' cmp responses want
is "$(wc -l <all.out | tr -d ' ')" 9 'one line each'
is "$(sed -n 2p all.out)" '{"instruction": "hi", "input": "", "system": "Be brief", "output": "Yes.", "reference": "Yes.", "response": "No.", "finish": "stop", "tokens": 3}' \
    'a line is the record, the reference and the answer'
is "$(sed -n 1p all.out | cut -c1-8)" '{"x": 1,' 'whatever else the record has'
printf '%s\n' " Hé ✓ 日本, one two three. " 'Yes.' 'Four.' 'What?' 'Hé ✓' 'What?' 'No.' >want
values .reference all.out >references
ok 'references are the answers that were there' cmp references want
is "$(sed -n 5p all.out)" '{"messages": [{"role": "user", "content": "again"}], "response": "What?", "finish": "stop", "tokens": 5}' 'a record without one has none'
has err 'gen: right 4 of 7 (' 'those that equal it, but for space around, are counted'
is "$(sum records) $(sum references) $(sum right)" '9 7 4' 'also in the summary'
is "$(sum new_tokens)" "$(values .tokens all.out | awk '{ n += $1 } END { print n }')" 'with all tokens'
sed -n 5p all.jsonl >none.jsonl
run gen -m m --batch none.jsonl --summary s.json
is "$(grep -c right err) $(grep -c right s.json)" '0 0' 'without references nothing is counted'
is "$(values .response out)" 'What?' 'without -o stdout has the lines'
awk 'BEGIN { printf "[" } { printf "%s%s", sep, $0; sep = ",\n" } END { print "]" }' all.jsonl >all.json
gen -q --dtype f32 -m m --batch all.json >out
ok 'a JSON array gives the same' cmp out all.out
gen -q --dtype f32 -m m --batch - <all.jsonl >out
ok 'so does stdin' cmp out all.out
if command -v zstd >/dev/null; then
    zstd -q all.jsonl
    gen -q --dtype f32 -m m --batch all.jsonl.zst >out
    ok 'so does a compressed file' cmp out all.out
else
    skip 'no zstd'
fi
fmt-chat -q -m m --generation-prompt --records 1-7 all.jsonl | gen -q -m m --batch - >out
is "$(values .response out | tr '\n' '|')" "$(sed 7q responses | tr '\n' '|')" 'so does a stream of prompts'
is "$(sed -n 2p out | cut -c1-38)" '{"source": "all.jsonl", "record": 2, "' 'which names the source'
is "$(fmt-chat -q -m m --generation-prompt --records 1-7 all.jsonl | gen -q -m m --batch - --records 2-3 | grep -c .)" 2 'a part of a stream'
gen -q --dtype f32 -m m --batch all.jsonl --raw --records 8-9 >out
ok '--raw continues prompt and text' sh -c 'sed -n 8,9p all.out | cmp - out'
run gen -m m --batch all.jsonl --raw
has err 'all.jsonl: record 1 (line 1): no string "prompt" or "text" to continue' 'and only these'
is "$(gen -q -m m --batch all.jsonl --max-tokens 2 --records 1 | grep -o '"finish": "length", "tokens": 2')" '"finish": "length", "tokens": 2' \
    'an answer that is cut says so'
is "$(gen -q -m m --batch none.jsonl --stop t)" '{"messages": [{"role": "user", "content": "again"}], "response": "Wha", "finish": "stop", "tokens": 4}' '--stop in a batch'

# batches: the same whatever runs beside
awk 'BEGIN { for (i = 1; i <= 21; i++) { t = ""; for (k = 0; k < i * 7 % 17; k++) t = t "w" (i * k) % 9 " "; print "{\"prompt\":\"" t i "\"}" } }' >many.jsonl
sampled() {
    gen -q --dtype f32 -m base --batch many.jsonl --temperature 1 --max-tokens 20 "$@"
}
sampled >all
is "$(wc -l <all | tr -d ' ')" 21 'more records than run together'
is "$(values .prompt all)" "$(values .prompt many.jsonl)" 'are in order'
for n in 1 2 5; do
    sampled --parallel $n >out
    ok "--parallel $n: the same bytes" cmp out all
done
sampled -j 1 >out
ok '-j 1: the same bytes' cmp out all
sampled --records 4-6 >out
ok '--records 4-6: the same lines' sh -c 'sed -n 4,6p all | cmp - out'
sampled --records 20- >out
ok '--records 20-: the same lines' sh -c 'sed -n 20,21p all | cmp - out'
sampled --records 1 >out
ok '--records 1: the same line' sh -c 'sed -n 1p all | cmp - out'
gen -q --dtype f32 -m base --raw --temperature 1 --max-tokens 20 "$(values .prompt many.jsonl | sed -n 1p)" >one
values .response all | sed -n 1p >two
ok 'a prompt alone gives what it gives in a batch' sh -c 'tr "\000-\037\177" " " <one | sed "s/.$//" >x; tr "\000-\037\177" " " <two | sed "s/.$//" | cmp x -'

# batches: what is wrong
bad_batch() { # WHAT MESSAGE, of the file in
    rm -f x.out
    run gen -q -m m -o x.out --batch in
    is_status 1 "$1: status 1"
    is "$(cat err | cut -c1-${#2})" "$2" "$1: named"
    one_line err "$1: in one line"
    not_ok "$1: nothing is written" test -e x.out
}
good='{"instruction":"hi"}'
printf '%s\n{"instruction":\n' "$good" >in; bad_batch 'a damaged line' 'gen: in: record 2 (line 2): '
printf '%s\n{"q":1}\n' "$good" >in; bad_batch 'unknown keys' 'gen: in: record 2 (line 2): has none of the keys'
printf '[%s, 7]' "$good" >in; bad_batch 'a number' 'gen: in: record 2 (line 1): is not an object'
printf '[%s,' "$good" >in; bad_batch 'a cut array' 'gen: in: record 2 (line 1): the file ends inside the array'
printf '{"messages":[{"role":"assistant","content":"a"}]}' >in; bad_batch 'no question' 'gen: in: record 1 (line 1): '
printf '{"prompt":""}' >in; bad_batch 'an empty prompt' 'gen: in: record 1 (line 1): the prompt is empty'
printf '%s\n{"prompt":"%s"}' "$good" "$(fill 512)" >in; bad_batch 'a prompt without room' "gen: in: record 2 (line 2): the prompt's 512 tokens leave no room"
printf '{"messages":[{"role":"user","content":"a"}],"chosen":1}' >in; bad_batch 'a preference pair' 'gen: in: record 1 (line 1): "chosen" is not a list of messages'
: >in; bad_batch 'an empty file' 'gen: in: no records'
fmt-chat -q -m m learn.jsonl >in; bad_batch 'a stream of samples' 'gen: in: line 1: holds samples, expected prompts'
fmt-chat -q -m m --generation-prompt learn.jsonl | sed '$d' >in; bad_batch 'a stream without its end' 'gen: in: '
rm in; bad_batch 'a missing file' 'gen: in: cannot open'
run gen -m m --batch many.jsonl --records 5-22
is "$(cat err)" 'gen: many.jsonl: holds 21 records, but record 22 is asked for' 'a part past the end'
fmt-chat -q -m m --generation-prompt --records 1-7 all.jsonl >prompts
run gen -m m --batch prompts --records 8-
is "$(cat err)" 'gen: prompts: holds 7 prompts, but prompt 8 is asked for' 'of a stream as well'
run gen -m m --batch all.jsonl -o all.out
has err 'all.out: exists already; --force replaces it' 'an output that exists is refused'
ok '-f replaces it' gen -q -f -m m --batch none.jsonl -o all.out
cp none.jsonl same.jsonl
run gen -q -f -m m --batch same.jsonl -o same.jsonl
is_status 1 'an output that is the input is refused'
ok 'and the input is whole' cmp same.jsonl none.jsonl

# wrong usage
for range in 0 3-2 x 1-2-3 -; do
    run gen -m m --batch none.jsonl "--records=$range"
    is_status 2 "--records $range is wrong usage"
done
usage() { # WHAT ARGUMENTS...
    what=$1
    shift
    run gen "$@"
    is_status 2 "$what is wrong usage"
    one_line err 'told in one line'
}
usage 'no model' hi
usage 'a prompt beside --batch' -m m --batch none.jsonl hi
usage '-o without --batch' -m m -o x hi
usage '--records without --batch' -m m --records 1 hi
usage '--raw with --system' -m m --raw --system x hi
usage '--raw with a template' -m m --raw -t chatml hi
usage 'an empty --stop' -m m --stop '' hi
for option in --max-tokens=0 --temperature=-1 --temperature=nan --top-p=1.1 --min-p=-0.1 --repeat-penalty=0 --parallel=0 --parallel=17 --top-k=-1 -j0 --dtype=f64; do
    usage "$option" -m m "$option" hi
done

# models that cannot be used
refused() { # WHAT MODEL MESSAGE
    run gen -m "$2" hi
    is_status 1 "$1 is an error"
    has err "$3" 'that says so'
    one_line err 'in one line'
}
part() { # NAME FILE...: the model without these files
    mkdir "$1" && cp m/*.json m/*.safetensors "$1/" && name=$1 && shift && for file; do rm "$name/$file"; done
}
refused 'no folder' no-such 'no-such'
part no-config config.json; refused 'no config.json' no-config 'no-config/config.json'
part no-weights model.safetensors; refused 'no weights' no-weights 'no-weights'
part no-tokenizer tokenizer.json; refused 'no tokenizer' no-tokenizer 'no-tokenizer/tokenizer.json'
part no-template && sed -i 's/"chat_template"/"no_template"/' no-template/tokenizer_config.json
refused 'no chat template' no-template 'no-template: has no chat template'
is "$(answer -m no-template -t chatml hi)" "$long" 'unless one is given'
is "$(answer -m no-template --raw "$chat")" "$long" 'or --raw'
part other-template && printf '%s' '{% for m in messages %}{{ m.content }}{% endfor %}' >other-template/chat_template.jinja
fmt-chat -q -t ./other-template/chat_template.jinja learn.jsonl | tok-encode -q -m base -o other.tok
lora-train -q -j 1 -m base -o third --steps 1 --rank 2 other.tok
run gen -m base -a a -a third --max-tokens 1 hi
is_status 1 'an adapter that was trained with another template is refused'
has err 'gen: third: was trained with another chat template' 'by name'
one_line err 'in one line'
run gen -q -m base -a third --max-tokens 1 -t ./other-template/chat_template.jinja hi
is_status 0 'unless a template is named'
run gen -q -m base -a third --max-tokens 1 --raw hi
is_status 0 'or none is used'
part cut && head -c 20000 m/model.safetensors >cut/model.safetensors
refused 'a cut file of weights' cut 'cut/model.safetensors'
make-model -q --vocab 250 -o small
refused "another model's tokenizer" small "outside the model's vocabulary of 250"
make-model -q --nan lm_head.weight -o nan
refused 'a NaN among the weights' nan "are not finite: nan/model.safetensors: tensor 'lm_head.weight': element 6527 is not a finite number"
run gen -m m --device cuda:99 hi
is_status 1 'a device that is not there is an error'
one_line err 'in one line'
run gen -m m "$(printf 'a\377')"
has err 'the prompt is not valid UTF-8' 'a prompt that is not UTF-8'
printf 'a\377' | gen -m m --raw >out 2>err
has err 'is not valid UTF-8' 'also from stdin'

# the other end of the pipe
gen -m m hi >/dev/full 2>err
is $? 1 'a full disk'
is "$(cat err)" 'gen: stdout: cannot write: No space left on device' 'is named'
sh -c 'gen -m m hi >&-' 2>err
is $? 1 'a closed stdout'
one_line err 'in one line'
sh -c 'gen -m m --batch none.jsonl >/dev/full' 2>err
is $? 1 'a full disk behind a batch'
run gen -q -m m --batch none.jsonl -o /dev/full
has err 'No space left on device' 'or its output'
if command -v perl >/dev/null; then
    gen -q -m m hi hi hi hi | perl -e 'use Encode; $n = 0; while (sysread(STDIN, $b, 65536)) { $n++; eval { decode("UTF-8", $b, Encode::FB_CROAK) }; $@ and exit 1 }' 2>err
    is $? 0 'what comes through a pipe is never half a character'
    perl -e '$SIG{PIPE} = "DEFAULT"; pipe(R, W); $p = fork; if (!$p) { open(STDOUT, ">&W"); close R; close W; open(STDERR, ">err"); exec @ARGV } close W;
        close R; waitpid $p, 0; exit($? & 127)' gen -m base --raw --max-tokens 400 --temperature 1 abc
    is $? 13 'a reader that leaves ends it by SIGPIPE'
    is "$(cat err)" '' 'without a word'
else
    skip 'no perl' 3
fi

# chat at a terminal
if command -v script >/dev/null && command -v perl >/dev/null && command -v mkfifo >/dev/null; then
    mkfifo keys
    trap '' PIPE # a chat that has ended does not end the test
    begin() { # COMMAND: at a terminal whose keys come through the fifo, its screen is the file screen
        : >screen
        # A shell's background jobs do not hear Ctrl-C: this undoes it. And a shell between script(1) and the program would
        # hear it too, and some die of it when the program ends well.
        perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' timeout --foreground 120 script -qefc "exec $1" screen <keys >/dev/null 2>&1 &
        chat=$!
        exec 3>keys
    }
    see() { # TEXT N: until the screen has it N times, 30 s at most
        for i in $(seq 300); do
            [ "$(grep -aoF -- "$1" screen | wc -l)" -ge "${2:-1}" ] && return 0
            sleep 0.1
        done
        note "'$1' did not come: $(tail -5 screen)"
        return 1
    }
    type() { # a chat that has ended does not end the test
        (trap '' PIPE; printf '%b' "$1" >&3) 2>/dev/null
    }
    end() { # the chat ends by itself; the keys are let go only then, so that script(1) has no end of file to pass on
        wait $chat
        status=$?
        exec 3>&-
    }
    begin 'gen -q --dtype f32 -m m'
    see '> ' && type 'hi\n' && see 'three.'
    report $? 'chat: an answer'
    see '> ' 2 && type 'again\n' && see 'Four.'
    report $? 'the next question knows the first'
    see '> ' 3 && type '/reset\n' && see '> ' 4 && type 'again\n' && see 'What?'
    report $? '/reset forgets'
    see '> ' 5 && type '/system Be brief\n' && see '> ' 6 && type 'hi\n' && see 'No.'
    report $? '/system'
    see '> ' 7 && type '/reset\n' && see '> ' 8 && type 'hi\n' && see 'No.' 2
    report $? '/reset keeps it'
    see '> ' 9 && type '/system\n' && see '> ' 10 && type 'hi\n' && see 'three.' 2
    report $? '/system alone ends it'
    see '> ' 11 && type '/what\n' && see 'unknown command'
    report $? 'an unknown command is told'
    see '> ' 12 && type '\n' && see '> ' 13 && type 'a\0377\n' && see 'not valid UTF-8'
    report $? 'a line that is not UTF-8 is told'
    see '> ' 14 && for i in 1 2 3 4 5; do type "$(fill 90) $i\n"; see '> ' $((14 + i)); done && see 'leave no room'
    report $? 'a question without room is told'
    type '/reset\n' && see '> ' 20 && type 'hi\n' && see 'three.' 3
    report $? 'and the chat goes on'
    see '> ' 21 && type '   \n' # no question
    see '> ' 22 && type '/quit\n'
    end
    is $status 0 '/quit ends it'
    begin 'gen -q -m m'
    see '> ' && type '/exit\n'
    end
    is $status 0 '/exit ends it'
    begin 'gen -q -m m'
    see '> ' && type '\004'
    end
    is $status 0 'so does the end of input'
    begin 'gen -q -m m'
    see '> ' && type '\003'
    end
    is $status 130 'Ctrl-C between answers kills it'
    make-model -q --hidden 256 --heads 8 --kv-heads 8 --head-dim 32 --ffn 1024 --layers 12 -o slow
    echo '{"eos_token_id": 0}' >slow/generation_config.json
    whole=$(answer -m slow --temperature 1 --min-p 0.0001 --max-tokens 480 hi | wc -c)
    begin 'gen -q -m slow --temperature 1 --min-p 0.0001 --max-tokens 480'
    see '> '
    before=$(wc -c <screen)
    type 'hi\n' # the terminal echoes it
    for i in $(seq 1500); do [ "$(wc -c <screen)" -ge $((before + 5 + whole / 8)) ] && break; sleep 0.02; done
    type '\003' && see '> ' 2
    report $? 'Ctrl-C ends an answer, not the chat'
    ok 'before its time' test $(($(wc -c <screen) - before)) -lt $((whole * 3 / 4))
    type '/quit\n'
    end
    is $status 0 'which goes on'
else
    skip 'no script(1)' 17
fi
finish
