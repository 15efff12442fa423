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

rm -rf "$WORK"
mkdir -p "$WORK"
[ -z "$MODEL" ] || MODEL=$(cd "$MODEL" && pwd)
[ -z "$DATA" ] || DATA=$(cd "$(dirname "$DATA")" && pwd)/$(basename "$DATA")
cd "$WORK"
ln -s "${MODEL:-$here/base-model/model}" model

if [ -n "$DATA" ]; then
	ln -s "$DATA" data.json
	records=$(fmt-chat -q -m model --summary /dev/stdout -o /dev/null data.json | sed -n 's/.*"samples": *\([0-9]*\).*/\1/p')
	[ "$records" -gt "$HELD" ] || { say "demo: $DATA: $records records; more than $HELD are needed"; exit 1; }
	run "fmt-chat -m model --records 1-$((records - HELD)) data.json | tok-encode -m model --overlong drop -o train.tok"
	run "fmt-chat -m model --records $((records - HELD + 1))-$records data.json | tok-encode -m model --overlong drop -o held-out.tok"
	questions="data.json --records $((records - HELD + 1))-$((records - HELD + 5))"
else
	world="-f $here/base-model/facts.awk -f $here/base-model/alpaca.awk $here/base-model/world.txt"
	awk -v part=train -v samples=400 -v seed=1 $world >alpaca.json
	awk -v part=test -v samples=$HELD -v seed=2 $world >held-out.json
	run "fmt-chat -m model alpaca.json | tok-encode -m model -o train.tok"
	run "fmt-chat -m model held-out.json | tok-encode -m model -o held-out.tok"
	questions="held-out.json"
fi

say; say "Before: the loss on held-out instructions, and the model's answers to them."
run "eval-loss -m model held-out.tok"
run "gen -m model --batch $questions --max-tokens 48 -o before.jsonl"

say; say "Training: a LoRA adapter on every linear layer."
run "lora-train -m model -o adapter ${TRAIN:---epochs 5 --lr 3e-3 --batch 16 --save-every 1k} train.tok"
run "eval-loss -m model -a adapter held-out.tok"

say; say "Merging: a folder that any tool loads; its answers must be those of base and adapter."
run "adapter-merge -m model -o merged --check held-out.tok adapter"
run "ckpt-info --verify merged"

say; say "After."
run "gen -m merged --batch $questions --max-tokens 48 -o after.jsonl"
field() { sed 's/.*"'"$1"'": "\(\([^"\\]\|\\.\)*\)".*/\1/' "$2"; }
say; say "Five of them, before and after:"
for i in 1 2 3 4 5; do
	sed -n ${i}p before.jsonl >one.before
	sed -n ${i}p after.jsonl >one.after
	say "  $(field instruction one.after)"
	say "    before: $(field response one.before | cut -c1-70)"
	say "    after:  $(field response one.after | cut -c1-70)"
done
rm -f one.before one.after
[ -n "$MODEL$DATA" ] || run 'gen -m merged "Who are you?"'
say; say "All of it is in $WORK."
