# Helpers for the tests of trainers and eval-loss; after lib.sh.
#     refused 'text' WHAT COMMAND...   status 1, one line on stderr that has the text, and no out.d
#     usage 'text' WHAT COMMAND...     the same with status 2
#     logged OUT KEY                   the values of KEY in the step lines of a run's log, on one line
#     timeless FILE                    a log without its times
#     tensor FILE NAME                 the bytes of a tensor of a safetensors file
#     numbers FILE NAME                its values (F32), one a line
#     poke FILE NAME BYTES             overwrites its first bytes (as for printf)
#     near X Y TOLERANCE               |X - Y| <= TOLERANCE * max(|X|, |Y|)
#     same_run OUT OUT                 two runs ended with the same bytes

turned_away() { # STATUS TEXT WHAT COMMAND...
    wanted=$1 text=$2 what=$3
    shift 3
    run "$@"
    if [ "$status" = "$wanted" ] && [ "$(wc -l <err)" -eq 1 ] && grep -qF -- "$text" err && [ ! -e out.d ] && [ ! -s out ]; then
        report 0 "$what: one line, status $wanted, nothing written"
    else
        report 1 "$what: one line, status $wanted, nothing written"
        note "status $status, expected '$text'; stdout $(wc -c <out) bytes; $(ls -d out.d 2>&1)"
        note "$(head -5 err)"
        rm -rf out.d
        return 1
    fi
}

refused() {
    turned_away 1 "$@"
}

usage() {
    turned_away 2 "$@"
}

logged() {
    sed -n 's|^{"type":"step",.*"'"$2"'":\([^,}]*\).*|\1|p' "$1/log.jsonl" | tr '\n' ' ' | sed 's/ $//'
}

timeless() {
    sed -E 's/,"(time|tokens_per_second)":[^,}]*//g' "$1"
}

# Where the bytes of a tensor are: first and length.
place() {
    header=$(od -A n -t u8 -N 8 "$1" | tr -d ' ')
    set -- $(head -c $((header + 8)) "$1" | tail -c +9 | sed -nE 's/.*"'"$2"'":\{[^}]*"data_offsets":\[([0-9]+),([0-9]+)\].*/\1 \2/p')
    [ $# = 2 ] && echo $((header + 8 + $1)) $(($2 - $1))
}

tensor() {
    where=$(place "$1" "$2") || return 1
    tail -c +$((${where% *} + 1)) "$1" | head -c "${where#* }"
}

numbers() {
    tensor "$1" "$2" | od -A n -v -t f4 -w4 | tr -d ' '
}

poke() {
    where=$(place "$1" "$2") || return 1
    printf "$3" | dd of="$1" bs=1 seek="${where% *}" conv=notrunc status=none
}

near() {
    awk -v x="$1" -v y="$2" -v t="$3" 'BEGIN { a = x < 0 ? -x : x; b = y < 0 ? -y : y; d = x - y; exit !(x != "" && y != "" && (d < 0 ? -d : d) <= t * (a > b ? a : b)) }'
}

# A folder whose model lacks what the third argument breaks: broken NAME FROM COMMAND... (run inside the copy)
broken() {
    copy=$1 from=$2
    shift 2
    cp -r "$from" "$copy" && (cd "$copy" && "$@")
}

# What two runs must have in common: the result, the last checkpoint, the log without its times. The rows at once, which the log tells, may
# differ.
same_run() {
    for file in adapter_model.safetensors adapter_config.json model.safetensors config.json; do
        [ ! -e "$1/$file" ] || cmp "$1/$file" "$2/$file" || return 1
    done
    last=$(cd "$1" && ls -d checkpoint-* | sort -t- -k2n | tail -n 1)
    diff -r "$1/$last" "$2/$last" || return 1
    timeless "$1/log.jsonl" | sed 's/"rows":[0-9]*//' >log.1
    timeless "$2/log.jsonl" | sed 's/"rows":[0-9]*//' >log.2
    cmp log.1 log.2
}
