# Helpers of the command line tests: TAP in POSIX sh.  . "${0%/*}/lib.sh" at the top, `finish` as the last line.
#
# Each script runs in a scratch folder of its own, removed at exit. BUILD (the build folder) may be given; the programs in
# $BUILD/bin and $BUILD/tests/tools are first in PATH. $ROOT is the project's folder, $DATA the shared data folder (may be missing: skip then).
#     run COMMAND...              runs it; leaves $status, and the files out and err
#     is_status 2 'what'          the status of the last run
#     is "$got" "$want" 'what'    ok 'what' COMMAND...      not_ok 'what' COMMAND...
#     has FILE 'text' 'what'      FILE contains this text (no pattern)
#     one_line FILE 'what'        FILE is one line
#     flip FILE OFFSET BIT        changes one bit            unchecked FILE      takes its checksums away
#     skip 'why' [N]              N results (1) that cannot be had here;   skip_all 'why' ends the script

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=${BUILD:-$ROOT/build}
DATA=${FINETOOLS_DATA:-$ROOT/../shared/data}
PATH=$BUILD/bin:$BUILD/tests/tools:$PATH
LC_ALL=C
# Programs that die leave their memory to the system; the unit tests look for leaks.
ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}
unset FINETOOLS_CPU OMP_NUM_THREADS
# Threads that wait give way: nothing is timed here, and on a busy machine spinning ones take many times as long.
OMP_WAIT_POLICY=passive
export PATH LC_ALL ASAN_OPTIONS OMP_WAIT_POLICY BUILD

TAP_COUNT=0
TAP_FAILED=0
SCRATCH=
trap 'cd /; rm -rf "$SCRATCH"' EXIT
trap 'exit 130' INT TERM HUP
SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/finetools-test.XXXXXX")
cd "$SCRATCH" || exit 1

report() { # RESULT WHAT, where RESULT is 0 for good
    TAP_COUNT=$((TAP_COUNT + 1))
    if [ "$1" = 0 ]; then
        echo "ok $TAP_COUNT - $2"
    else
        TAP_FAILED=$((TAP_FAILED + 1))
        echo "not ok $TAP_COUNT - $2"
    fi
    return "$1"
}

note() { # on stderr, which prove(1) shows
    printf '%s\n' "$*" | sed 's/^/# /' >&2
}

ok() {
    what=$1
    shift
    if "$@" >ok.log 2>&1; then report 0 "$what"; else report 1 "$what"; note "failed: $*"; note "$(head -20 ok.log)"; return 1; fi
}

not_ok() {
    what=$1
    shift
    if "$@" >ok.log 2>&1; then report 1 "$what"; note "did not fail: $*"; return 1; else report 0 "$what"; fi
}

is() {
    if [ "$1" = "$2" ]; then report 0 "$3"; else report 1 "$3"; note "got:      $1"; note "expected: $2"; return 1; fi
}

run() {
    "$@" >out 2>err </dev/null
    status=$?
}

is_status() {
    is "$status" "$1" "$2" || { note "stderr: $(head -5 err)"; return 1; }
}

has() {
    if grep -qF -- "$2" "$1"; then report 0 "$3"; else report 1 "$3"; note "'$2' is not in $1:"; note "$(head -10 "$1")"; return 1; fi
}

# flip FILE OFFSET BIT: changes one bit
flip() {
    byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    printf "\\$(printf '%03o' $((byte ^ 1 << $3)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# unchecked FILE: a safetensors file of ours as other writers make them, without checksums
unchecked() {
    LC_ALL=C sed -i 's/"xxh3":"/"xxh0":"/' "$1"
}

one_line() {
    is "$(wc -l <"$1" | tr -d ' ')" 1 "$2" || note "$(head -5 "$1")"
}

skip() {
    n=${2:-1}
    while [ "$n" -gt 0 ]; do
        TAP_COUNT=$((TAP_COUNT + 1))
        n=$((n - 1))
        echo "ok $TAP_COUNT # skip $1"
    done
}

skip_all() {
    echo "1..0 # skip $1"
    exit 0
}

has_tool() {
    [ -x "$BUILD/bin/$1" ]
}

tools() { # the programs of this project
    for tool_source in "$ROOT"/tools/*.c; do
        [ -f "$tool_source" ] && basename "$tool_source" .c
    done
}

# The files that examples and recipes speak of, in the current folder: chat data in every format, a model, and what the
# programs make of them. Programs that are not there yet leave their files out.
example_files() {
    if [ -f "$ROOT/pipelines/base-model/model/config.json" ]; then
        cp -r "$ROOT/pipelines/base-model/model" model
    else
        make-model --hidden 24 -o model || return 1
    fi
    mkdir config && cp model/config.json model/tokenizer*.json config/
    awk 'BEGIN {
        split("red blue green black white brown grey pink", colour)
        split("apple sky leaf night snow bear stone rose", thing)
        for (i = 1; i <= 8; i++) {
            q = "What colour is the " thing[i] "?"; a = "It is " colour[i] "."
            alpaca = alpaca (i > 1 ? ",\n" : "") "{\"instruction\": \"" q "\", \"input\": \"\", \"output\": \"" a "\"}"
            sharegpt = sharegpt (i > 1 ? ",\n" : "") "{\"conversations\": [{\"from\": \"human\", \"value\": \"" q "\"}, {\"from\": \"gpt\", \"value\": \"" a "\"}]}"
            pairs = pairs (i > 1 ? ",\n" : "") "{\"instruction\": \"" q "\", \"chosen\": \"" a "\", \"rejected\": \"I do not know.\"}"
            kto = kto (i > 1 ? ",\n" : "") "{\"instruction\": \"" q "\", \"output\": \"" (i % 2 ? a : "No.") "\", \"label\": " (i % 2 ? "true" : "false") "}"
            print "{\"messages\": [{\"role\": \"user\", \"content\": \"" q "\"}, {\"role\": \"assistant\", \"content\": \"" a "\"}]}" >"messages.jsonl"
            print "{\"instruction\": \"" q "\"}" >"prompts.jsonl"
            print "{\"text\": \"The " thing[i] " is " colour[i] ".\"}" >"corpus.jsonl"
        }
        for (i = 0; i < 400; i++)
            print "The " thing[i % 8 + 1] " is " colour[i * 3 % 8 + 1] ", not " colour[i % 7 + 1] "." >"wiki.test.txt"
        print "[" alpaca "]" >"alpaca.json"
        print "[" sharegpt "]" >"sharegpt.json"
        print "[" pairs "]" >"pairs.json"
        print "[" kto "]" >"kto.json"
    }'
    printf '%s' "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}" >template.jinja
    has_tool fmt-chat && fmt-chat -q -m model alpaca.json >chat.jsonl || return 0
    has_tool tok-encode && tok-encode -q -m model -o train.tok chat.jsonl && tail -n 4 messages.jsonl |
        fmt-chat -q -m model | tok-encode -q -m model -o eval.tok || return 0
    fmt-chat -q -m model pairs.json | tok-encode -q -m model -o pairs.tok
    fmt-chat -q -m model kto.json | tok-encode -q -m model -o kto.tok
    has_tool lora-train && lora-train -q -m model -o adapter --steps 2 --rank 4 train.tok &&
        lora-train -q -m model -o adapter2 --steps 2 --rank 4 --seed 1 train.tok || return 0
    has_tool adapter-merge && adapter-merge -q -m model -o merged adapter
    has_tool quantize && quantize -q -m model -o model-nf4 --method nf4
    return 0
}

finish() {
    echo "1..$TAP_COUNT"
    exit $((TAP_FAILED > 0))
}
