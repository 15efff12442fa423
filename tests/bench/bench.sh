#!/bin/sh
# bench.sh: what the main work costs here, beside the peers that are installed and the ceilings of this machine. `make bench` runs it.
#   MODEL   a model folder (a random one of SmolLM2-135M's shape)     TEXT   a text file to encode (the base model's corpus)
#   PEER_PYTHON   a python with transformers, peft, tokenizers, llama-cpp-python, bitsandbytes ...: without it, no peers
# Prints a table and writes build/bench/bench.json and BENCH.md there. Figures are medians of one run on one machine: compare ratios, not runs.
set -eu
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=${BUILD:-$ROOT/build}
OUT=$BUILD/bench
PATH=$BUILD/bin:$BUILD/tests/tools:$PATH
rm -rf "$OUT"
mkdir -p "$OUT"
cd "$OUT"

MODEL=${MODEL:-}
if [ -z "$MODEL" ]; then
	MODEL=$OUT/model
	make-model -q --type bf16 --tied --layers 30 --hidden 576 --heads 9 --kv-heads 3 --head-dim 64 --ffn 1536 --vocab 49152 -o "$MODEL"
fi
if [ -z "${TEXT:-}" ]; then
	TEXT=$OUT/text
	world=$ROOT/pipelines/base-model
	awk -v documents=20000 -v seed=1 -f "$world/facts.awk" -f "$world/corpus.awk" "$world/world.txt" |
		sed 's/^{"text": "//; s/"}$//; s/\\"/"/g; s/\\n/ /g' >"$TEXT"
fi

# result WORK VALUE UNIT MEMORY CEILING: one line of ours
result() { printf '{"work": "%s", "value": %s, "unit": "%s", "memory": %s, "share": %s}\n' "$1" "$2" "$3" "${4:-null}" "${5:-null}" >>ours.jsonl; }
value() { sed -n 's/.*"'"$1"'": *\([0-9.e+-]*\).*/\1/p' "$2" | head -1; }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
seconds() { # COMMAND...: how long it takes; the end of everything when it fails
	started=$(date +%s.%N)
	"$@" >/dev/null || { echo "bench: failed: $*" >&2; kill $$; exit 1; }
	date +%s.%N | awk -v started="$started" '{ printf "%.3f\n", $1 - started }'
}

# The machine's ceilings, measured again between the rest, because others use the machine too: the best one counts.
: >ceilings
measure_ceilings() { "$BUILD/tests/bench/kernels" ceiling >>ceilings; }
ceiling() { awk -v c="$1" '$c > best { best = $c } END { print best }' ceilings; }
measure_ceilings
weights=$(cat "$MODEL"/*.safetensors | wc -c)

# training WORK DATA COMMAND...: tokens a second of the steps after the first, over the model $base
base=$MODEL
training() {
	work=$1 data=$2
	shift 2
	rm -rf trained
	"$@" -q -m "$base" -o trained --recompute none --summary train.json "$data"
	rate=$(grep '"type":"step"' trained/log.jsonl | sed '1d; s/.*"tokens_per_second":\([0-9.]*\).*/\1/' | median)
	measure_ceilings
	share=$(awk "BEGIN { print $(value flops_per_token train.json) * $rate / $(ceiling 1) }")
	result "$work" "$rate" tokens/s "$(value peak_memory train.json)" "$share"
}
make-tokens -q --samples 24 --min 512 --max 512 --vocab 49152 --all -m "$MODEL" -o train.tok
make-tokens -q --samples 64 --min 30 --max 400 --vocab 49152 -m "$MODEL" -o ragged.tok # prompts bear no loss
tok-decode -q --json ragged.tok >ragged.jsonl
training "lora-train" train.tok lora-train --steps 5 --batch 4
mv trained adapter
training "lora-train, ragged" ragged.tok lora-train --steps 5 --batch 8 --order file
training "full-train" train.tok full-train --steps 4 --batch 4 --keep 1
rm -rf trained
# Preferences, 4 pairs a step: the whole run, the reference's log-probabilities included. A pair's tokens count its prompt once.
make-tokens -q --kind pairs --samples 12 --min 150 --max 900 --vocab 49152 -m "$MODEL" -o pairs.tok
tok-decode -q --json pairs.tok >pairs.jsonl
rm -rf trained
wall=$(seconds dpo-train -q -m "$MODEL" -o trained --epochs 1 --batch 4 --recompute none --summary train.json pairs.tok)
result "dpo-train" "$(awk "BEGIN { print $(ckpt-info --json pairs.tok | sed -n 's/.*"tokens": *\([0-9]*\).*/\1/p' | head -1) / $wall }")" tokens/s "$(value peak_memory train.json)"
rm -rf trained
# The whole of a run that has next to nothing to compute: what comes before a first step, that step, and saving.
make-tokens -q --samples 1 --min 8 --max 8 --vocab 49152 --all -m "$MODEL" -o short.tok
for i in 1 2 3; do rm -rf short; seconds lora-train -q -m "$MODEL" -o short --steps 1 short.tok; done | median >first
result "start to first step" "$(cat first)" s

awk 'BEGIN { for (i = 0; i < 256; i++) printf "a b " }' >prompt # a word, a token
for i in 1 2 3; do
	gen -q -m "$MODEL" --raw --max-tokens 1 --summary gen.json <prompt >/dev/null
	value prompt_tokens_per_second gen.json
done | median >prefill
result "prefill" "$(cat prefill)" tokens/s "$(value peak_memory gen.json)"
printf '{"text": "Once upon a time there was a king who had three daughters, and"}\n' >one.jsonl
for i in 1 2 3 4 5 6 7 8; do cat one.jsonl; done >eight.jsonl
for n in one eight; do
	for i in 1 2 3; do
		gen -q -m "$MODEL" --raw --batch $n.jsonl --max-tokens 48 --summary gen.json -f -o answers.jsonl
		value new_tokens_per_second gen.json
	done | median >decode.$n
done
measure_ceilings
result "decode" "$(cat decode.one)" tokens/s "$(value peak_memory gen.json)" "$(awk "BEGIN { print $(cat decode.one) * $weights / $(ceiling 2) }")"
result "decode, 8 at once" "$(cat decode.eight)" tokens/s
result "decode, 8 at once : one" "$(awk "BEGIN { print $(cat decode.eight) / $(cat decode.one) }")" times

# Short prompts of many lengths, as they come; one after another it is a fifth of them.
awk 'BEGIN { for (i = 1; i <= 200; i++) { printf "{\"text\": \""; for (j = -20; j < i * 37 % 60; j++) printf "%s%d ", j % 3 ? "a " : "b ", (i * j + 400) % 10; print "\"}" } }' >many.jsonl
awk 'NR % 5 == 0' many.jsonl >some.jsonl
answering() { # FILE [OPTION...]: seconds of its passes
	file=$1
	shift
	gen -q -m "$MODEL" --raw --batch "$file" --max-tokens 64 --summary gen.json "$@" -f -o answers.jsonl
	awk "BEGIN { print $(value prompt_tokens gen.json) / $(value prompt_tokens_per_second gen.json) + $(value new_tokens gen.json) / $(value new_tokens_per_second gen.json) }"
}
result "gen --batch : one by one" "$(awk "BEGIN { print 5 * $(answering some.jsonl --parallel 1) / $(answering many.jsonl) }")" times

awk '{ gsub(/\\/, "\\\\"); gsub(/"/, "\\\""); print "{\"text\": \"" $0 "\"}" }' "$TEXT" >text.jsonl
fmt-chat -q -F text -o text.chat text.jsonl
size=$(wc -c <"$TEXT")
for i in 1 2 3; do seconds tok-encode -q -j 1 -m "$MODEL" -f -o text.tok text.chat; done | median >encode
result "tok-encode" "$(awk "BEGIN { print $size / 1048576 / $(cat encode) }")" MiB/s
for i in 1 2 3; do seconds sh -c "fmt-chat -q -F text text.jsonl | tok-encode -q -m '$MODEL' -f -o text.tok"; done | median >pipe
result "fmt-chat | tok-encode" "$(awk "BEGIN { print $size / 1048576 / $(cat pipe) }")" MiB/s

# Tokenizers with one thread, where the data folder is: English, Chinese and code, the caches warm.
data=${FINETOOLS_DATA:-$ROOT/../shared/data}
if [ -d "$data/tokenizers" ]; then
	field() { sed -n 's/^ *"\(instruction\|input\|output\)": "\(.*\)",*$/\2/p' "$1" | sed 's/\\n/\n/g; s/\\"/"/g'; }
	field "$data/alpaca_en_demo.json" >english
	field "$data/huanhuan.json" >chinese
	cat "$ROOT"/libcommon/*/*.[ch] "$ROOT"/kernels/*/*.[ch] >code
	for folder in "$data"/tokenizers/* "${FINETOOLS_SMOLLM2:-$data/smollm2}"; do
		[ -f "$folder/tokenizer.json" ] || continue
		"$BUILD/tests/bench/tokenizer" "$folder/tokenizer.json" english chinese code >encoded
		while read -r text first again tokens sum; do
			result "encode $text, $(basename "$folder"), 1 thread" "$again" MiB/s
		done <encoded
	done
fi

for i in 1 2 3; do rm -rf merged; seconds adapter-merge -q -m "$MODEL" -o merged --summary merge.json adapter; done | median >merge
for i in 1 2 3; do rm -rf copy; seconds sh -c "cp -r '$MODEL' copy && sync copy/* copy"; done | median >copied # on the disk, as a merge is
result "adapter-merge" "$(cat merge)" s "$(value peak_memory merge.json)" "$(awk "BEGIN { print $(cat copied) / $(cat merge) }")"

. "$ROOT/tests/bench/quantized.sh"

: >peers.jsonl
if [ -n "${PEER_PYTHON:-}" ]; then
	"$PEER_PYTHON" "$ROOT/tests/bench/peers.py" "$MODEL" "$TEXT" ragged.jsonl pairs.jsonl alpaca.jsonl >>peers.jsonl || true
fi

sh "$ROOT/tests/bench/table.sh" "$(ceiling 1)" "$(ceiling 2)" ours.jsonl peers.jsonl bench.json | tee table
{
	printf '# What the main work costs\n\nWritten by `make bench` on %s, version %s, with %s. Figures are medians of one run on\n' \
		"$(date +%Y-%m-%d)" "$(lora-train --version | sed -n '1s/.* //p')" "$([ -s peers.jsonl ] && echo 'peers' || echo 'no peers installed')"
	printf 'one machine: compare ratios, not runs. "ceiling" is the share of the multiply-adds, or for decoding of the bytes read, that the\n'
	printf 'machine reached at most in the same run; for a merge, of what `cp` of the folder and `sync` take.\n\n```\n'
	cat table
	printf '```\n'
} >BENCH.md
