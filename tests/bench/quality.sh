#!/bin/sh
# quality.sh: what each way to quantize costs in perplexity. `make bench-quality` runs it.
#   MODEL         a model folder (SmolLM2-135M-Instruct of the data folder)
#   DATA          records, JSON or JSONL, to calibrate on (the first third) and to measure with (the last third); the data folder's Alpaca
#   SAMPLES       at most so many of each third (all)
#   PEER_PYTHON   a python with transformers, bitsandbytes, gptqmodel: their folders are measured, too
# Prints a table and leaves the folders and quality.json in build/quality; what is there from an earlier run with the same inputs is taken as it is.
set -eu
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=${BUILD:-$ROOT/build}
OUT=$BUILD/quality
PATH=$BUILD/bin:$PATH
data=${FINETOOLS_DATA:-$ROOT/../shared/data}
MODEL=${MODEL:-${FINETOOLS_SMOLLM2:-$data/smollm2}}
DATA=${DATA:-$data/alpaca_en_demo.json}
for need in "$MODEL/config.json" "$DATA"; do
	[ -f "$need" ] || { echo "quality.sh: $need is missing; set MODEL and DATA" >&2; exit 1; }
done
MODEL=$(cd "$MODEL" && pwd)
DATA=$(cd "$(dirname "$DATA")" && pwd)/$(basename "$DATA")
mkdir -p "$OUT"
cd "$OUT"

# One record a line; of an array, those that stand on lines of their own as json.dump(indent=2) has them.
if [ "$(head -c 1 "$DATA")" = '[' ]; then
	awk '/^  \{/ { r = "{"; next } /^  \}/ { print r "}"; next } { sub(/^ +/, ""); r = r $0 }' "$DATA"
else
	cat "$DATA"
fi >all.jsonl
third=$(($(wc -l <all.jsonl) / 3))
most=${SAMPLES:-$third}
[ "$most" -le "$third" ] || most=$third
tokens() { # NAME FIRST
	tail -n +"$2" all.jsonl | head -n "$most" >"$1.jsonl"
	fmt-chat -q -m "$MODEL" "$1.jsonl" | tok-encode -q -m "$MODEL" --max-length 512 --overlong truncate -f -o "$1.tok"
}
tokens calibrate 1
tokens held-out $((2 * third + 1))
inputs=$(echo "$MODEL $DATA $most"; cksum <"$MODEL/config.json")
if [ "$(cat inputs 2>/dev/null)" != "$inputs" ]; then
	rm -rf ours peers measured
	echo "$inputs" >inputs
fi
mkdir -p ours peers measured

value() { sed -n 's/.*"'"$1"'": *\([0-9.e+-]*\).*/\1/p' "$2" | head -1; }
# AWQ's files want whole groups.
width=$(sed -n 's/.*"hidden_size": *\([0-9]*\).*/\1/p' "$MODEL/config.json")
awq=128
[ $((width % awq)) = 0 ] || awq=64

: >rows
measure() { # NAME FOLDER BITS
	file=measured/$(echo "$1" | tr / -)
	if [ ! -s "$file" ]; then
		if [ "$2" = "$MODEL" ]; then
			eval-loss -q -m "$2" held-out.tok >"$file"
		else
			eval-loss -q -m "$2" --against "$MODEL" held-out.tok >"$file"
		fi
	fi
	printf '{"name": "%s", "bits": %s, "perplexity": %s, "kl": %s}\n' "$1" "${3:-null}" "$(value perplexity "$file")" "$(value mean_kl "$file" | grep . || echo null)" >>rows
}
ours() { # NAME OPTION...
	name=$1
	shift
	[ -d "ours/$name" ] || quantize -q -m "$MODEL" -o "ours/$name" --summary "ours/$name.json" "$@"
	measure "$name" "ours/$name" "$(value bits "ours/$name.json")"
}
measure bf16 "$MODEL" 16
ours int8 --method int8
ours nf4 --method nf4
ours nf4-double --method nf4 --double-quant
ours fp4 --method fp4
ours rtn-4-g128 --method rtn --bits 4 --group 128
ours gptq-4-g128 --method gptq --bits 4 --group 128 --calibrate calibrate.tok
[ $awq = 128 ] || ours rtn-4-g$awq-asym --method rtn --bits 4 --group $awq --asym
ours awq-4-g$awq --method awq --bits 4 --group $awq --calibrate calibrate.tok
if [ -n "${PEER_PYTHON:-}" ]; then
	tok-decode -q --json calibrate.tok >calibrate.ids
	"$PEER_PYTHON" "$ROOT/tests/bench/quality_peers.py" "$MODEL" calibrate.ids peers >peers.log 2>&1 || echo "quality.sh: see $OUT/peers.log" >&2
	for folder in peers/*/config.json; do
		[ -f "$folder" ] || continue
		folder=${folder%/config.json}
		measure "$folder" "$folder"
	done
fi

printf 'calibrated on %s samples, measured on %s others: %s trained tokens\n' "$most" "$most" "$(value tokens measured/bf16)"
printf '%-24s %6s %11s %8s %9s\n' method bits perplexity ratio 'KL'
awk '
function field(name,    m) {
	if (!match($0, "\"" name "\": (\"[^\"]*\"|[^,}]*)")) return ""
	m = substr($0, RSTART + length(name) + 4, RLENGTH - length(name) - 4)
	gsub(/"/, "", m)
	return m
}
{
	p = field("perplexity"); b = field("bits"); k = field("kl")
	if (NR == 1) base = p
	printf "%-24s %6s %11.4f %8.4f %9s\n", field("name"), b == "null" ? "" : sprintf("%.2f", b), p, p / base, k == "null" ? "" : sprintf("%.5f", k)
}' rows
{ printf '['; paste -sd, rows; printf ']\n'; } >quality.json
