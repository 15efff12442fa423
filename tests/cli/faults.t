#!/bin/sh
# Makes every write, fsync, rename, open, close and read of a program fail in turn, and a sample of its allocations, and kills it
# at each write, fsync and rename. Status 0 is only allowed with the right output; otherwise the output is absent, or the old
# one where --force was to replace it, or (a failure after the rename) the whole new one. No temporary is left but by a kill.
. "${0%/*}/lib.sh"

inject=$BUILD/tests/faults/inject.so
[ -f "$inject" ] || skip_all 'no fault injector'
nm -D "$BUILD/libfinetools.a" 2>/dev/null | grep -q __asan && skip_all 'sanitizers have an allocator of their own'
case $BUILD in *-san*) skip_all 'sanitizers have an allocator of their own' ;; esac

# faulty CALL AT COMMAND...: one run with a fault
faulty() {
    call=$1 at=$2
    shift 2
    LD_PRELOAD=$inject FAULT_CALL=$call FAULT_AT=$at FAULT_ERRNO=$fault_errno timeout 60 "$@" >out 2>err </dev/null
}

same() {
    diff -r "$1" "$2" >/dev/null 2>&1
}

# judge WHAT: after a run with status $status
judge() {
    if [ -e target ] && same target reference; then
        :
    elif [ "$status" = 0 ]; then
        echo "$1: status 0 without the output"
    elif [ -e target ] && ! { [ -e old ] && same target old; }; then
        echo "$1: status $status and a partial output"
    elif [ -e old ] && [ ! -e target ]; then
        echo "$1: status $status and the old output is gone"
    fi
    [ "$status" = 0 ] || [ -s err ] || [ "$fatal" = kill ] || echo "$1: status $status without a message"
    if [ "$fatal" != kill ] && [ -n "$(find . -maxdepth 1 -name '.target*')" ]; then
        echo "$1: a temporary is left"
    fi
    rm -rf target .target*
}

# check NAME FORCE COMMAND...: the command writes `target`
check() {
    name=$1 force=$2
    shift 2
    rm -rf target reference old
    "$@" >/dev/null 2>&1 || { report 1 "$name works without faults"; return; }
    mv target reference
    [ -z "$force" ] || { mkdir old && echo old >old/file; [ -d reference ] || { rm -r old && echo old >old; }; set -- "$@" --force; }
    for kind in write:ENOSPC fsync:EIO rename:EACCES open:EACCES close:EIO read:EIO malloc:ENOMEM write:kill fsync:kill rename:kill; do
        call=${kind%:*} fault_errno=${kind#*:} fatal=
        [ "$fault_errno" != kill ] || fatal=kill
        rm -f count
        [ -z "$force" ] || cp -r old target
        LD_PRELOAD=$inject FAULT_CALL=$call FAULT_COUNT=$PWD/count "$@" >/dev/null 2>&1 </dev/null
        rm -rf target
        total=$(cat count)
        step=$((total / 25 + 1)) at=1
        while [ $at -le "$total" ]; do
            [ -z "$force" ] || cp -r old target
            if [ -n "$fatal" ]; then export FAULT_KILL=1; fi
            faulty $call $at "$@"
            status=$?
            unset FAULT_KILL
            judge "$call $at of $total"
            at=$((at + step))
        done >verdicts
        is "$(head -5 verdicts)" '' "$name: $call fails ($fault_errno)${force:+, --force}"
    done
}

example_files 2>/dev/null
fault_errno=ENOSPC
faulty write 1 make-model -q -o target
is $? 1 'a write that fails is noticed'
has err 'No space left on device' 'and its reason is given'
faulty malloc 100 make-model -q -o target
has err 'out of memory' 'so is the lack of memory'
check 'make-model' '' make-model -q --layers 1 -o target
check 'make-model' force make-model -q --layers 1 -o target
if has_tool fmt-chat; then
    check 'fmt-chat' '' fmt-chat -q -t chatml -o target alpaca.json
    check 'fmt-chat' force fmt-chat -q -t chatml -o target alpaca.json
else
    skip 'no fmt-chat' 20
fi
if has_tool tok-encode && [ -f chat.jsonl ]; then
    check 'tok-encode' '' tok-encode -q -m model -o target chat.jsonl
    check 'tok-encode' force tok-encode -q -m model -o target chat.jsonl
else
    skip 'no tok-encode' 20
fi
if has_tool tok-train && [ -f chat.jsonl ]; then
    check 'tok-train' '' tok-train -q --vocab 270 -o target chat.jsonl
else
    skip 'no tok-train' 10
fi
if has_tool adapter-merge && [ -d adapter ]; then
    check 'adapter-merge' '' adapter-merge -q -j 1 -m model -o target adapter
    check 'adapter-merge' force adapter-merge -q -j 1 -m model -o target adapter
else
    skip 'no adapter-merge' 20
fi
finish
