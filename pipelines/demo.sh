#!/bin/sh
# demo.sh: the whole road, from Alpaca JSON to a merged checkpoint that answers. Run by `make demo [MODEL=dir] [DATA=file.json]`.
#   BUILD   folder of the built tools (build)        WORK   scratch folder, made anew (build/demo)
#   MODEL   a Hugging Face model folder              DATA   a file that fmt-chat reads: its last 40 records are held out
#   TRAIN   options for lora-train
# Without MODEL and DATA: the base model of this tree, and instructions about what it has read, made by alpaca.awk. One fact in
# three is never in the training part, so a right answer to a held-out instruction was not learned from the instructions.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
BUILD=${BUILD:-$here/../build}
WORK=${WORK:-$BUILD/demo}
MODEL=${MODEL:-}
DATA=${DATA:-}
HELD=40
PATH=$(cd "$BUILD/bin" && pwd):$PATH

say() { printf '%s\n' "$*"; }
run() { printf '\n$ %s\n' "$*"; eval "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }
absolute() { printf '%s/%s\n' "$(cd "$(dirname "$1")" && pwd)" "$(basename "$1")"; }
field() { LC_ALL=C awk -f "$here/json-paths.awk" "$2" | LC_ALL=C awk -F '\t' -v path="$1" '$2 == path { print $3 }'; }
number() { LC_ALL=C printf "$1" "$(field "$2" "$3")"; } # FORMAT PATH FILE

# "34 of 40", from what gen counted.
right() {
	of=$(field .references "$1")
	if [ -n "$of" ]; then say "$(field .right "$1") of $of right"; else say "no answers to compare with"; fi
}

# The first five records of $2: the question, the answer there and the one in $1. Lines are cut between two characters.
show_answers() {
	for file in "$1" "$2"; do LC_ALL=C awk -f "$here/json-paths.awk" "$file" | sed "s/^/$file	/"; done | LC_ALL=C awk -F '\t' '
		function cut(s) {
			if (length(s) <= 70)
				return s
			s = substr(s, 1, 70)
			sub(/[\300-\377][\200-\277]*$/, "", s)
			return s "..."
		}
		$2 > 5 { next }
		$3 == ".response" { answer[$2, ++answers[$2]] = $4 }
		$3 == ".reference" { reference[$2] = $4 }
		$3 ~ /^\.(instruction|prompt|text)$/ { question[$2] = $4 }
		$3 == ".input" && $4 != "" { question[$2] = question[$2] " " $4 }
		$3 ~ /^\.(messages|conversations|prompt)\[[0-9]+\]\.(content|value)$/ { before[$2] = last[$2]; last[$2] = $4 }
		END {
			for (i = 1; i <= 5 && i in answers; i++) {
				turn = last[i] == reference[i] && before[i] != "" ? before[i] : last[i]
				print "  " cut(i in question ? question[i] : turn)
				print "    before: " cut(answer[i, 1])
				print "    after:  " cut(answer[i, 2])
			}
		}'
}

[ -z "$MODEL" ] || [ -d "$MODEL" ] || fail "$MODEL: no such model folder"
[ -z "$DATA" ] || [ -f "$DATA" ] || fail "$DATA: no such file"
[ -n "$MODEL" ] || [ -f "$here/base-model/model/model.safetensors" ] || fail "the tree has no base model; MODEL=dir names one"
[ -z "$MODEL" ] || MODEL=$(absolute "$MODEL")
[ -z "$DATA" ] || DATA=$(absolute "$DATA")
started=$(date +%s)
rm -rf "$WORK"
mkdir -p "$WORK"
cd "$WORK"
ln -s "${MODEL:-$here/base-model/model}" model

if [ -n "$DATA" ]; then
	ln -s "$DATA" data
	fmt-chat -q -m model --summary count.json -o /dev/null data
	records=$(field .records count.json)
	[ "$records" -gt "$HELD" ] || fail "$DATA: $records records; more than $HELD are needed"
	train="data --records 1-$((records - HELD))"
	held_out="data --records $((records - HELD + 1))-$records"
else
	world="-f $here/base-model/facts.awk -f $here/base-model/alpaca.awk $here/base-model/world.txt"
	awk -v part=train -v samples=400 -v seed=1 $world >alpaca.json
	awk -v part=test -v samples=$HELD -v seed=2 $world >held-out.json
	train=alpaca.json
	held_out=held-out.json
fi
[ -n "${TRAIN:-}" ] || case $MODEL$DATA in
'') TRAIN='--epochs 8 --lr 3e-3 --batch 16' ;;
*) TRAIN='--steps 8 --lr 1e-3 --batch 2' ;;
esac

say "Preparing: text with the model's template, then tokens, each marked trained or not."
run "fmt-chat -m model $train | tok-encode -m model --overlong drop -o train.tok"
run "fmt-chat -m model $held_out | tok-encode -m model --overlong drop -o held-out.tok"

say; say "Before: the loss on held-out samples, and the model's answers to $HELD instructions that it is not trained on."
run "eval-loss -m model -o loss-before.json held-out.tok"
run "gen -m model --batch $held_out --max-tokens 48 --summary before.json -o before.jsonl"

say; say "Training: a LoRA adapter on every linear layer."
run "lora-train -m model -o adapter $TRAIN train.tok"

say; say "Merging: a folder that any tool loads; its predictions must be those of base and adapter."
run "adapter-merge -m model -o merged --check held-out.tok --summary merge.json adapter"
run "ckpt-info --json --verify merged >merged.json"

say; say "After: the same with the merged folder."
run "eval-loss -m merged -o loss-after.json held-out.tok"
run "gen -m merged --batch $held_out --max-tokens 48 --summary after.json -o after.jsonl"
[ -n "$MODEL$DATA" ] || run 'gen -m merged "Who are you?"'

say; say "Five of the held-out instructions:"
show_answers before.jsonl after.jsonl
say
say "Loss:    $(number %.3f .loss loss-before.json) before, $(number %.3f .loss loss-after.json) after"
say "Answers: $(right before.json) before, $(right after.json) after"
say "Merged:  $(field .verified.bytes merged.json) bytes, $(field .verified.note merged.json), mean KL to base and adapter $(number %.1e .mean_kl merge.json)"
say "All of it is in $WORK, made in $(($(date +%s) - started)) s."
