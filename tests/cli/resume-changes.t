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
not_ok 'parts of one sample differ, by rounding, from parts of several' cmp -s part1/checkpoint-1/optimizer.safetensors part24/checkpoint-1/optimizer.safetensors

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
finish
