#!/bin/sh
# Every fuzz target takes its whole corpus, and damaged copies of it, without harm: 2 s and 1 GB for each input.
. "${0%/*}/lib.sh"

for source in "$ROOT"/tests/fuzz/fuzz_*.c; do
    [ -f "$source" ] || skip_all 'no fuzz targets'
    name=$(basename "$source" .c)
    name=${name#fuzz_}
    target=$BUILD/tests/fuzz/$name corpus=$ROOT/tests/fuzz/corpus/$name
    ok "$name has a corpus" test -d "$corpus"
    for input in "$corpus"/*; do
        [ -f "$input" ] || continue
        timeout 20 "$target" "$input" >log 2>&1 || note "$(basename "$input"): $(tail -3 log)" 2>>failed
    done
    if [ -s failed ]; then report 1 "$name survives its corpus"; cat failed >&2; rm failed; else report 0 "$name survives its corpus"; fi
done
finish
