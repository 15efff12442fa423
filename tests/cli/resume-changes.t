#!/bin/sh
# Going on with a run when something around it has changed: options that may differ, inputs that may not, files that were
# damaged, moved or taken away. What is not to be used is refused or named; what is gone on with ends in the same bytes.
. "${0%/*}/lib.sh"
. "$ROOT/tests/cli/train.sh"
has_tool lora-train && has_tool full-train || skip_all 'no trainers'

make-model -q -o model
make-tokens -q -m model --samples 30 -o train.tok
make-tokens -q -m model --samples 9 --min 30 --max 60 --seed 1 -o dev.tok

lora() { # OUT OPTIONS...
    out=$1
    shift
    lora-train -q -j 1 --dtype f32 -m model -o "$out" --lr 1e-2 "$@" train.tok
}

# ---- rows and --eval ----
lora bare --batch 2 --steps 6
lora measured --batch 2 --steps 6 --eval dev.tok
ok '--eval with longer samples changes no byte of the training' diff -r bare/checkpoint-6 measured/checkpoint-6
rm bare/adapter_model.safetensors
run lora bare --batch 2 --steps 6 --eval dev.tok
is_status 0 '--eval may be added to a run' && ok 'and it ends in the same bytes' cmp bare/adapter_model.safetensors measured/adapter_model.safetensors
for n in 1 24; do
    lora-train -j 1 -m model -o planned --plan --rows $n train.tok >plan
    is "$(awk '/^rows at once, at most/ { print $6 }' plan)" $n "--rows $n is planned"
done
lora part1 --steps 1 --batch 30 --order file --rows 1
lora part24 --steps 1 --batch 30 --order file --rows 24
ok 'parts of one sample sum to the bits of parts of several' cmp part1/checkpoint-1/optimizer.safetensors part24/checkpoint-1/optimizer.safetensors

# ---- the log of a run that was stopped ----
# term_at FILE PATTERN COMMAND...: in the background, asked to stop once the file has the pattern; leaves $status
term_at() {
    file=$1 pattern=$2
    shift 2
    "$@" 2>term.err &
    pid=$!
    while kill -0 $pid 2>/dev/null && ! grep -q "$pattern" "$file" 2>/dev/null; do sleep 0.01; done
    kill -TERM $pid
    wait $pid
    status=$?
}
same_log() {
    timeless "$1/log.jsonl" >log.1
    timeless "$2/log.jsonl" >log.2
    cmp log.1 log.2
}
seldom="lora-train -q -j 1 --dtype f32 -m model --batch 8 --steps 400 --log-every 300 --save-every 20"
$seldom -o seldom train.tok
term_at seldom-stopped/run.json '"step": 20' $seldom -o seldom-stopped train.tok
is_status 75 'a run is stopped before the first line of a step'
$seldom -o seldom-stopped train.tok
ok 'its log is that of a run that was not stopped' same_log seldom seldom-stopped

# ---- a stop within an evaluation ----
make-tokens -q -m model --samples 8000 --seed 2 -o large.tok
measure="lora-train -q -j 1 --dtype f32 -m model --batch 4 --steps 10 --lr 1e-2"
often='--eval large.tok --eval-every 5'
$measure -o whole $often train.tok
for at in 5 10; do
    term_at left$at/log.jsonl "\"step\":$at," $measure -o left$at $often train.tok
    is_status 75 "stopped in the evaluation of step $at"
    has left$at/checkpoint-$at/trainer_state.json '"eval_pending": true' 'which is left to be made'
    cp -r left$at dropped$at
    inject=$BUILD/tests/faults/inject.so
    if [ -f "$inject" ] && ! nm "$BUILD/bin/lora-train" | grep -q __asan; then
        for n in 3 4; do
            cp -r left$at killed
            LD_PRELOAD=$inject FAULT_CALL=write FAULT_AT=$n FAULT_KILL=1 $measure -o killed $often train.tok 2>killed.err
            $measure -o killed $often train.tok
            ok "and killed at the next write $n: there is one line for every evaluation" same_log whole killed
            rm -rf killed
        done
    else
        skip 'no fault injector' 2
    fi
    $measure -o left$at $often train.tok
    ok 'it is made, in the same words' same_log whole left$at
    ok 'the last checkpoint is that of a run that was not stopped' diff -r whole/checkpoint-10 left$at/checkpoint-10
    run $measure -o dropped$at train.tok
    is_status 0 '--eval may be dropped instead'
    ok 'to the same adapter' cmp whole/adapter_model.safetensors dropped$at/adapter_model.safetensors
    ok 'and the same last checkpoint' diff -r whole/checkpoint-10 dropped$at/checkpoint-10
    is "$(grep -c '"eval"' dropped$at/log.jsonl)" $((at / 10)) 'with no more evaluations'
done

# ---- --log ----
# A run as a kill would leave it: its last checkpoint is that of step 4, and the log ends at step 5. $reference is the whole one.
step="lora-train -q -j 1 --dtype f32 -m model --batch 4 --steps 6 --lr 0.003333333333333 --save-every 2 --keep 9"
$step -o reference train.tok
interrupted() { # OUT [LOG]
    rm -rf "$1"
    cp -r reference "$1" && rm -r "$1/checkpoint-6" "$1/adapter_model.safetensors" || return 1
    sed -i 's/"status": "complete"/"status": "running"/' "$1/run.json"
    sed -i '/"step":6,/,$d' "$1/log.jsonl"
    [ -z "$2" ] || mv "$1/log.jsonl" "$2"
}
log_is_whole() { # FILE
    timeless reference/log.jsonl >log.1
    timeless "$1" >log.2
    cmp log.1 log.2
}
interrupted way
run $step -o way --log way.jsonl train.tok
is_status 0 '--log may be given when a run goes on'
ok 'the lines so far come with it' log_is_whole way.jsonl
ok 'and are no longer in the folder' test ! -e way/log.jsonl
interrupted same same.jsonl
run $step -o same --log same.jsonl train.tok
ok 'the same --log again goes on with the file' log_is_whole same.jsonl
interrupted foreign
echo precious >precious.txt
run $step -o foreign --log precious.txt train.tok
is_status 1 'a --log that is there and is no log is refused'
has err 'precious.txt: is not the log of the run in foreign; give another --log or move it away' 'with the reason'
is "$(cat precious.txt)" precious 'and left alone'
lora other --steps 1
cp other/log.jsonl other.jsonl
run $step -o foreign --log other.jsonl train.tok
is_status 1 'the log of another run is refused'
ok 'and left alone' cmp other.jsonl other/log.jsonl
run $step -o foreign --restart --log precious.txt train.tok
is "$status $(cat precious.txt)" '1 precious' '--restart replaces no such file'
$step -o foreign train.tok
ok 'nothing else was touched' log_is_whole foreign/log.jsonl
run $step -o foreign -f --log precious.txt train.tok
is_status 0 '--force does'
ok 'with its own log' log_is_whole precious.txt
interrupted swapped && cp other.jsonl swapped/log.jsonl
run $step -o swapped train.tok
is_status 1 'the log of another run in the folder is not cut either'
run $step -o fresh/ --log fresh/log.jsonl train.tok
is_status 0 '--log with the name that is usual, in a folder that is not there yet'
ok 'is the log' log_is_whole fresh/log.jsonl
run $step -o fresh2 --log ./fresh2/steps.jsonl train.tok
ok 'so is another .jsonl beside it' log_is_whole fresh2/steps.jsonl
mkdir taken
for name in run.json .lock adapter_model.safetensors adapter_config.json checkpoint-2/log.jsonl .x.tmp-1.jsonl .jsonl; do
    run $step -o taken --log taken/$name train.tok
    is_status 1 "--log OUT/$name is refused"
    one_line err 'in one line'
    run $step -o absent --log absent/$name train.tok
    is "$status $(ls -d absent 2>/dev/null)" '1 ' 'also when OUT is not there'
done
is "$(ls -A taken)" '' 'and nothing is written'
ln -s taken alias
run $step -o taken --log alias/run.json train.tok
is_status 1 'also through a link'
run $step -o taken --log alias train.tok
is_status 1 'a folder is no log'

# ---- a damaged log ----
# mended WHAT TEXT: the interrupted run in `hurt`, whose log was changed, goes on, warns once, and ends in the same bytes
mended() {
    run lora-train ${step#lora-train -q} -o hurt train.tok
    is_status 0 "$1: goes on"
    is "$(grep 'hurt/log.jsonl' err)" "lora-train: hurt/log.jsonl: $2" "$1: a warning"
    ok "$1: the same adapter" cmp hurt/adapter_model.safetensors reference/adapter_model.safetensors
}
interrupted hurt && sed -i '3s/.*/nonsense/' hurt/log.jsonl
mended 'a damaged line' '1 damaged line left out, the first is line 3'
is "$(logged hurt step)" '1 3 4 5 6' 'the others are kept'
interrupted hurt && sed -i '4s/\(.*\)/{"x\1/' hurt/log.jsonl && head -c 1200 hurt/log.jsonl >hurt/cut && mv hurt/cut hurt/log.jsonl
kept=$(grep -c '^{"type":"step".*}$' hurt/log.jsonl)
mended 'a cut log' "the lines of steps $((kept + 1)) to 4 are missing"
is "$(logged hurt step)" "$(seq -s' ' $kept) 5 6" 'what is left is kept'
interrupted hurt && rm hurt/log.jsonl
mended 'a missing log' 'the lines of steps 1 to 4 are missing'
is "$(logged hurt step) $(head -n 1 hurt/log.jsonl | cut -c 1-15)" '5 6 {"type":"start"' 'it begins with a start'
interrupted hurt && sed -i 3d hurt/log.jsonl
mended 'a line taken away' 'lines of steps before 4 are missing or were changed'
interrupted hurt && sed -i 1d hurt/log.jsonl
mended 'a start taken away' 'the line of the start is missing'
interrupted hurt && printf '{"type":"st' >>hurt/log.jsonl
run lora-train ${step#lora-train -q} -o hurt train.tok
is "$(grep -c log.jsonl err)" 0 'half a line after the checkpoint is no loss'
ok 'and is gone' log_is_whole hurt/log.jsonl

# ---- a damaged or lost run.json ----
interrupted lost && head -c 700 reference/run.json >lost/run.json
run $step -o lost train.tok
is_status 1 'a damaged run.json'
has err 'lost/run.json: is damaged in line' 'is named'
has err 'delete it and the run goes on from its newest checkpoint, or --force begins anew' 'with what can be done'
one_line err 'in one line'
rm lost/run.json
run $step --lr 1 -o lost train.tok
is_status 1 'without it, other options are refused as before'
has err 'lr: 0.00333333333, now 1' 'and named'
run $step -o lost train.tok
is_status 0 'and the same command goes on'
ok 'from the newest checkpoint' log_is_whole lost/log.jsonl
ok 'to the same adapter' cmp lost/adapter_model.safetensors reference/adapter_model.safetensors

# ---- the adapter to start from ----
lora first --steps 1 --rank 4
onward="lora-train -q -j 1 --dtype f32 -m model --adapter first --batch 4 --steps 4 --save-every 2"
$onward -o onward train.tok
rm onward/adapter_model.safetensors
sed -i 's/"alpha_pattern": {}/"alpha_pattern": {"q_proj": 500}/' first/adapter_config.json
run $onward -o onward train.tok
is_status 1 'an --adapter whose adapter_config.json has changed is refused'
has err 'adapter_config: ' 'and named'
finish
