#!/bin/sh
# A job for cron: trains on whatever data is there, goes on where the last night stopped, and says nothing unless it fails.
#
#   0 3 * * *  cd /srv/tune && timeout -s TERM 4h pipelines/cron-train.sh model/ data.json nightly/
#
# One job at a time: a second one ends with status 75 at once. All messages go to OUT/job.log; on failure its last lines go
# to stderr, which cron mails. `timeout` asks with TERM, lora-train saves (75), and the next night goes on.
set -eu
[ $# -ge 3 ] || { echo "usage: cron-train.sh MODEL DATA OUT [options of lora-train]" >&2; exit 2; }
command -v flock >/dev/null || { echo "cron-train: flock is not installed" >&2; exit 1; }
model=$1 data=$2 out=$3
shift 3 # what is left are options of lora-train
mkdir -p "$out"
exec 8>"$out/lock"
flock -n 8 || { echo "cron-train: $out: another job is at work" >&2; exit 75; }

say() {
    printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >>"$out/job.log"
}

step() { # COMMAND...: into the log; ends the job when it fails
    say "$*"
    status=0
    "$@" >>"$out/job.log" 2>&1 || status=$?
    [ $status = 0 ] && return
    say "status $status"
    [ $status = 75 ] || tail -n 5 "$out/job.log" >&2
    exit $status
}

encode() {
    fmt-chat -q -m "$model" "$data" | tok-encode -q -f -m "$model" -o "$out/new.tok"
}

# New data make a new run; the old adapter stays in place until they are read. The token file takes its name last, so that a
# night that ends in between is made up for.
if [ ! -f "$out/train.tok" ] || [ "$data" -nt "$out/train.tok" ]; then
    step encode
    step rm -rf "$out/adapter"
    step mv "$out/new.tok" "$out/train.tok"
fi
step lora-train -q -m "$model" -o "$out/adapter" "$@" "$out/train.tok"
if [ ! -d "$out/merged" ] || [ "$out/adapter/adapter_model.safetensors" -nt "$out/merged" ]; then
    step adapter-merge -q -f -m "$model" -o "$out/merged" "$out/adapter"
fi
say done
