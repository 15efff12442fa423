#!/bin/sh
# Equal bytes: for any number of threads, for runs that were killed or stopped and started again, for any split of a step.
. "${0%/*}/lib.sh"
. "$ROOT/tests/cli/train.sh"
has_tool lora-train && has_tool full-train || skip_all 'no trainers'

make-model -q --hidden 48 --heads 3 --head-dim 16 --ffn 96 -t bf16 -o model
make-tokens -q -m model --samples 60 --max 40 -o train.tok
make-tokens -q -m model --samples 9 --seed 1 -o dev.tok
shape='--batch 8 --lr 1e-2 --seed 7'
often='--save-every 4 --log-every 3 --eval dev.tok --eval-every 5'

# With via=exec, in a shell of its own, the process is the program.
via=
lora() { # OUT OPTIONS...
    out=$1
    shift
    $via lora-train -q --dtype f32 -m model -o "$out" $shape $often --dropout 0.1 --bias all "$@" train.tok
}

full() {
    out=$1
    shift
    $via full-train -q --dtype f32 -m model -o "$out" $shape $often "$@" train.tok
}

# ---- threads ----
lora one -j 1 --steps 20
lora two -j 2 --steps 20
ok 'lora-train: -j 1 and -j 2 give equal adapters, optimizer states and logs' same_run one two
full one-full -j 1 --steps 12
full two-full -j 2 --steps 12
ok 'full-train: so does it' same_run one-full two-full
lora-train -q -j 1 --dtype bf16 -m model -o one-bf16 $shape --steps 5 train.tok
lora-train -q -j 2 --dtype bf16 -m model -o two-bf16 $shape --steps 5 train.tok
ok 'in bf16 too' same_run one-bf16 two-bf16
eight='--optimizer adamw8bit --weight-decay 0.1'
lora one-8 -j 1 --rank 64 --steps 9 $eight
lora two-8 -j 2 --rank 64 --steps 9 $eight
ok 'lora-train: the state in 8 bits, too' same_run one-8 two-8
full one-full-8 -j 1 --steps 9 $eight
full two-full-8 -j 2 --steps 9 $eight
ok 'full-train: as well' same_run one-full-8 two-full-8

# ---- killed at random moments ----
# survives PROGRAM KILLS OPTIONS...: the run is killed after a random part of its time, with one thread or two, until it was killed
# KILLS times; a run that ends before is compared and begun anew.
survives() {
    program=$1 kills=$2
    shift 2
    began=$(date +%s%N)
    $program reference -j 1 "$@"
    took=$((($(date +%s%N) - began) / 1000000))
    rm -rf killed
    done=0 ended=0 seed=$(date +%N | sed 's/^0*//')
    while [ $done -lt "$kills" ] && [ $ended -lt 20 ]; do
        seed=$(((seed * 1103515245 + 12345) % 2147483648))
        pause=$((20 + seed / 65536 % (took / (kills + 1) + 20)))
        (via=exec && $program killed -j $((1 + seed / 1024 % 2)) "$@" 2>killed.err) &
        pid=$!
        sleep "$((pause / 1000)).$(printf %03d $((pause % 1000)))"
        kill -9 $pid 2>/dev/null
        wait $pid 2>/dev/null
        if [ $? = 137 ]; then
            done=$((done + 1))
        else
            ended=$((ended + 1))
            same_run reference killed || return 1
            rm -rf killed
        fi
    done
    $program killed -j 2 "$@" 2>killed.err || { cat killed.err; return 1; }
    [ $done = "$kills" ] && same_run reference killed && [ -z "$(find killed -name '*.tmp*')" ]
    result=$?
    rm -rf reference killed
    return $result
}
ok 'lora-train: killed at ten random moments and started again, it ends with the same bytes' survives lora 10 --steps 100
ok 'full-train: killed at four' survives full 4 --steps 50
ok 'lora-train with its state in 8 bits: killed at four' survives lora 4 --rank 64 --steps 60 $eight
ok 'full-train with its state in 8 bits: killed at three' survives full 3 --steps 50 $eight

# A kill at each kind of moment that counts: just before a write, a sync, a rename.
inject=$BUILD/tests/faults/inject.so
dies_at() { # PROGRAM CALL OPTIONS...
    program=$1 call=$2
    shift 2
    rm -rf reference dying count
    (via=exec && LD_PRELOAD=$inject FAULT_CALL=$call FAULT_COUNT=$PWD/count $program reference -j 1 "$@") || return 1
    total=$(cat count) at=1
    [ "$total" -gt 10 ] || return 1
    while [ $at -le "$total" ]; do
        rm -rf dying
        (via=exec && LD_PRELOAD=$inject FAULT_CALL=$call FAULT_AT=$at FAULT_KILL=1 $program dying -j 1 "$@" 2>/dev/null)
        [ $? = 137 ] || { echo "$call $at of $total did not kill"; return 1; }
        $program dying -j 1 "$@" 2>dying.err || { echo "$call $at of $total: $(cat dying.err)"; return 1; }
        same_run reference dying || { echo "$call $at of $total"; return 1; }
        [ -z "$(find dying -name '*.tmp*')" ] || { echo "$call $at of $total: $(find dying)"; return 1; }
        at=$((at + total / 8 + 1))
    done
}
if [ -f "$inject" ] && ! nm "$BUILD/bin/lora-train" | grep -q __asan; then
    for call in write fsync rename; do
        ok "lora-train: killed at a $call" dies_at lora $call --steps 9
    done
    ok 'full-train: killed at a rename' dies_at full rename --steps 9
else
    skip 'no fault injector' 4
fi

# ---- asked to stop ----
# stopped SIGNAL: a run that is asked to stop once it has logged something; leaves $status and how long that took, $waited
stopped() {
    rm -rf stopped
    (via='exec env --default-signal=INT' && lora stopped -j 2 --steps 2000 2>err) & # a shell's background jobs ignore it
    pid=$!
    until grep -q '"type":"step","step":9' stopped/log.jsonl 2>/dev/null; do sleep 0.05; done
    asked=$(date +%s)
    kill -s "$1" $pid
    wait $pid
    status=$?
    waited=$(($(date +%s) - asked))
}
lora long -j 2 --steps 60
for signal in TERM USR1; do
    stopped $signal
    is_status 75 "$signal ends a run with status 75"
    ok "$signal: within ten seconds" test $waited -le 10
    has stopped/run.json '"status": "stopped"' "$signal: the record says so"
    has stopped/log.jsonl '"status":75' "$signal: so does the log"
    step=$(sed -n 's/^ "step": \([0-9]*\).*/\1/p' stopped/run.json)
    ok "$signal: the last step is saved" ckpt-info --verify "stopped/checkpoint-$step"
done
stopped INT
is_status 130 'INT saves and is then what ends the program'
has stopped/run.json '"status": "stopped"' 'INT: the record says that it stopped'
(via=exec && lora again -j 2 --steps 60 2>err) &
pid=$!
until grep -q '"type":"step","step":9' again/log.jsonl 2>/dev/null; do sleep 0.02; done
run lora again -j 1 --steps 60
busy=$status
cp err busy.err
kill -TERM $pid
wait $pid
status=$?
if [ $status = 75 ]; then
    is "$busy" 75 'a second process in the same folder has status 75'
    has busy.err 'another run works there: lora-train, pid' 'and says who is there'
    one_line busy.err 'in one line'
else
    skip 'the run was over too soon' 3
fi
run lora again -j 1 --steps 60
is_status 0 'the same command goes on'
ok 'and ends with the same bytes' same_run long again

# ---- splits of a step ----
make-model -q -o small
for program in lora-train full-train; do
    step="$program -q -j 2 --dtype f32 -m small --steps 1 --batch 30 --lr 1e-3"
    $step -o $program-whole train.tok
    for rows in 300 100 50 1; do
        $step -o $program-$rows --rows $rows train.tok
        ok "$program: a step cut into parts of $rows rows gives the same bytes" diff -r $program-whole/checkpoint-1 $program-$rows/checkpoint-1
    done
    $step -o $program-again --recompute layer train.tok
    ok "$program: --recompute gives the same bytes" diff -r $program-whole/checkpoint-1 $program-again/checkpoint-1
done
finish
