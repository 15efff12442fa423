#!/bin/sh
# Runs the EXAMPLES of the manual pages of programs and of the overview in a folder that holds the files they name. A literal block is one script, as is
# a .Dl line; in a block with lines that begin with "$ ", only those are commands. What a block names after -o is new to it,
# unless an earlier block of the page made it.
. "${0%/*}/lib.sh"

mkdir files && cd files && example_files || { report 1 'the files for the examples can be made'; finish; }
cd ..

# Writes block-1, block-2 ... for a page.
extract() {
    awk '
        /^\.Sh/ { on = /^\.Sh EXAMPLES/ }
        !on { next }
        /^\.Bd -literal/ { file = "block-" ++n; literal = 1; next }
        /^\.Ed/ { literal = 0; close(file); next }
        /^\.Dl / { file = "block-" ++n; sub(/^\.Dl /, ""); print >file; close(file); next }
        literal { print >file }' "$1"
    for block in block-*; do
        [ -f "$block" ] || continue
        grep -q '^\$ ' "$block" && { sed -n 's/^\$ //p' "$block" >commands; mv commands "$block"; }
        sed -e 's/\\e/\\/g' -e 's/\\&//g' -e 's/\\-/-/g' -e 's/\\(dq/"/g' "$block" >commands
        mv commands "$block"
    done
}

lacks() { # a program or file that this block needs and that is not there
    for name in fmt-chat tok-encode tok-decode tok-train lora-train full-train dpo-train adapter-merge gen eval-loss ckpt-info quantize; do
        if grep -qE "(^|[ |;(])$name " "$1" && ! has_tool "$name"; then echo "$name"; return; fi
    done
    for name in train.tok eval.tok adapter merged chat.jsonl; do
        grep -qE "(^|[ =])$name(/| |\$)" "$1" && ! grep -qE -- "(-o|--output|>) ?$name" "$1" && [ ! -e "$name" ] && { echo "$name"; return; }
    done
}

for page in "$ROOT"/man/*.[17]; do
    [ -f "$page" ] || skip_all 'no pages'
    name=$(basename "$page")
    rm -rf page && cp -r files page && cd page || exit 1
    extract "$page"
    made=
    n=1
    while [ -f "block-$n" ]; do
        block=block-$n
        n=$((n + 1))
        what="$name: $(sed -n 1p $block)"
        missing=$(lacks $block)
        if [ -n "$missing" ]; then
            skip "$what (no $missing yet)"
            continue
        fi
        outputs=$(grep -oE -- '(-o|--output) [^ ]+' $block | awk '{ print $2 }')
        for output in $outputs; do
            case " $made " in *" $output "*) ;; *) rm -rf "./$output" ;; esac
        done
        made="$made $outputs"
        timeout 300 sh -e $block >example.out 2>example.err </dev/null
        status=$?
        report $((status != 0)) "$what" || { note "status $status"; note "$(tail -5 example.err)"; }
    done
    rm -f block-*
    cd ..
done
finish
