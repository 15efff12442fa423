#!/bin/sh
# What every tool does with its outputs: no input is ever destroyed, a --summary that cannot be written is noticed before the work,
# what a killed process left is removed, and the memory that is reported is the tool's own.
. "${0%/*}/lib.sh"
example_files || skip_all 'no example files'
[ -d merged ] || skip_all 'not every tool is there'
cp -r model kept-model
cp -r adapter kept-adapter
cp train.tok kept.tok

# refused WHAT TEXT COMMAND...: status 1 in one line that names why; model, adapter and token file are as they were
refused() {
    what=$1 text=$2
    shift 2
    run "$@"
    is_status 1 "$what: refused"
    has err "$text" "$what: says why"
    one_line err "$what: in one line"
    ok "$what: every input is whole" sh -c 'diff -r model kept-model && diff -r adapter kept-adapter && cmp train.tok kept.tok'
}

refused '--summary that is the token file' 'train.tok: is the input train.tok' lora-train -q -m model -o new --steps 1 --summary train.tok train.tok
refused '--summary in the model' 'config.json: is the file config.json of the input model' gen -q -m model --max-tokens 2 --summary model/config.json hi
refused '--summary in an adapter of gen' 'of the input adapter' gen -q -m model -a adapter --max-tokens 2 --summary adapter/adapter_config.json hi
refused '--summary in an adapter that is merged' 'of the input adapter' adapter-merge -q -m model -o new --summary adapter/adapter_config.json adapter
refused '-f -o in the model' 'config.json: is the file config.json of the input model' eval-loss -q -f -m model -o model/config.json train.tok
refused '-f -o in the model compared with' 'of the input model' eval-loss -q -f -m merged --against model -o model/config.json train.tok
refused '-f -o in an adapter' 'of the input adapter' eval-loss -q -f -m model -a adapter -o adapter/adapter_config.json train.tok
refused '-f -o of a batch in the model' 'tokenizer.json: is the file tokenizer.json of the input model' gen -q -f -m model --batch prompts.jsonl -o model/tokenizer.json
refused '-f -o of full-train that holds the model' 'holds the input' full-train -q -f -m model -o . --steps 1 train.tok
refused '-o of fmt-chat in the model' 'of the input model' fmt-chat -q -f -m model -o model/config.json alpaca.json
refused '-o of tok-encode in the model' 'of the input model' tok-encode -q -f -m model -o model/tokenizer.json chat.jsonl
refused '--summary of tok-decode that is its input' 'is the input train.tok' tok-decode -q --summary train.tok train.tok
ln -s model alias
ln train.tok hard.tok
refused 'a link to the model' 'of the input model' gen -q -m model --max-tokens 2 --summary alias/config.json hi
refused 'a model by a link' 'of the input alias' gen -q -m alias --max-tokens 2 --summary model/config.json hi
refused 'a hard link' 'hard.tok: is the input train.tok' eval-loss -q -f -m model -o hard.tok train.tok
cp -r model linked && mv linked/config.json elsewhere.json && ln -s ../elsewhere.json linked/config.json
refused 'what a link in the model leads to' 'is the file config.json of the input linked' gen -q -m linked --max-tokens 2 --summary elsewhere.json hi
refused 'the template' 'is the input template.jinja' fmt-chat -q -f -t template.jinja -o template.jinja alpaca.json
refused 'two outputs in one file' 'is both' eval-loss -q -m model -o one --summary ./one train.tok
ok 'nothing was begun' test ! -e new -a ! -e one

# What is apart is fine: beside the model, a summary in the folder that is made, a log in OUT, devices.
mkdir work && cp -r model work/model && cp train.tok work/
ok 'outputs beside the model' sh -c 'cd work && eval-loss -q -m model -o loss.json --summary s.json train.tok'
ok 'a summary in the folder that the run makes' lora-train -q -m model -o run --steps 1 --summary run/summary.json train.tok
has run/summary.json '"status": 0' 'is there'
ok 'and again, where it is' lora-train -q -m model -o run --steps 1 --summary run/summary.json train.tok
ok 'a summary in the folder that is merged' adapter-merge -q -m model -o merged2 --summary merged2/summary.json adapter
ok 'it is there' test -s merged2/summary.json
cp -r model place && cp train.tok place/
ok 'new names in the model folder' sh -c 'cd place && lora-train -q -m . -o run --steps 1 train.tok && eval-loss -q -m . -a run -o loss.json train.tok'
ok 'devices' eval-loss -q -m model -o /dev/null --summary /dev/null train.tok

# A --summary that cannot be written.
run lora-train -q -m model -o late --steps 1 --summary missing/s.json train.tok
is_status 1 '--summary in a folder that is not there'
has err 'missing/s.json: cannot create a file beside it: the folder missing does not exist' 'is named'
ok 'before any work' test ! -e late
run lora-train -q -m model -o late --steps 1 --summary work train.tok
is_status 1 '--summary that is a folder'
ok 'is noticed before any work' test ! -e late
run eval-loss -q -m model --summary missing/s.json train.tok
is "$status $(cat out)" '1 ' 'nothing is computed'

# A process that is killed while it merges: what it left goes with the next merge into the same place.
sh -c 'exit 0' &
gone=$!
wait $gone
mkdir .third.tmp-$gone-1 .other.tmp-$gone-1 .third.tmp-$$-1
echo half >.third.tmp-$gone-1/model.safetensors
ok 'a merge' adapter-merge -q -m model -o third adapter
ok "removes what a killed one left of the same output" test ! -e .third.tmp-$gone-1
ok 'and nothing else' test -e .other.tmp-$gone-1 -a -e .third.tmp-$$-1
echo half >.loss.tmp-$gone-1
ok 'a file' eval-loss -q -m model -o loss train.tok
ok 'likewise' test ! -e .loss.tmp-$gone-1

# The memory of whoever started the tool is not its own.
if [ -r /proc/self/status ]; then
    awk 'BEGIN { x = "x"; while (length(x) < 250000000) x = x x; system("exec adapter-merge -q --summary peak.json -m model -o big adapter"); exit length(x) == 0 }'
    peak=$(sed -n 's/.*"peak_memory": \([0-9]*\).*/\1/p' peak.json)
    ok "a big parent's memory is not counted ($peak)" test "${peak:-999999999}" -lt 200000000
else
    skip 'no /proc'
fi
finish
