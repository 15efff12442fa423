#!/bin/sh
# dpo.sh: preferences change the style of the embedded base model's answers. Run by `make demo-dpo`; for a model and pairs of your
# own take dpo.mk, which does the training here.
#   BUILD   folder of the built tools (build)        WORK   scratch folder, made anew (build/demo-dpo)
#   LORA    options for lora-train                   DPO    options for dpo-train
# The model first learns to answer, in one of two styles by chance: barely, or courteously. Then 400 pairs prefer the courteous
# answer. Questions about one fact in three are held out, and answers to them are sampled before and after. With the sft term most
# answers stay right; DPO='--loss sigmoid --epochs 1 --lr 1e-3 --batch 16' shows what becomes of them without.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
BUILD=${BUILD:-$here/../build}
WORK=${WORK:-$BUILD/demo-dpo}
LORA=${LORA:---epochs 8 --lr 3e-3 --batch 16}
DPO=${DPO:---loss sigmoid:0.3,sft --epochs 1 --lr 1e-3 --batch 16}
PATH=$(cd "$BUILD/bin" && pwd):$PATH
unset MAKEFLAGS MFLAGS MAKELEVEL

say() { printf '%s\n' "$*"; }
run() { printf '\n$ %s\n' "$*"; eval "$*"; }
paths() { LC_ALL=C awk -f "$here/json-paths.awk" "$2" | sed "s/^/$1	/"; } # NAME FILE

# Evaluation on the held-out pairs. At the start the policy is the reference, whose log-probabilities follow from the rewards.
show_log() {
	paths log run/dpo/log.jsonl | LC_ALL=C awk -F '\t' '
		$3 == ".run.options.beta" { beta = $4 }
		$3 ~ /^\.eval_/ { value[substr($3, 7)] = $4 }
		END {
			printf "Held-out pairs: accuracy %.2f, margin 0 before, %.2f after\n", value["rewards/accuracies"], value["rewards/margins"]
			split("chosen rejected", which, " ")
			for (i = 1; i <= 2; i++) {
				after = value["logps/" which[i]]
				before = beta > 0 ? after - value["rewards/" which[i]] / beta : after
				printf "Log-probability of the %s answers: %.2f before, %.2f after\n", which[i], before, after
			}
		}'
}

# What the chosen answers of the training pairs have more than the rejected ones is the style; without it, a right answer is the bare one.
show_answers() {
	{ paths pairs pairs.json; paths before before.jsonl; paths after after.jsonl; } | LC_ALL=C awk -F '\t' '
		$1 == "pairs" && $3 ~ /\.chosen\.value$/ { chosen = $4 }
		$1 == "pairs" && $3 ~ /\.rejected\.value$/ && (at = index(chosen, $4)) {
			phrases[substr(chosen, 1, at - 1), substr(chosen, at + length($4))]
		}
		$3 == ".conversations[0].value" { question[$2] = $4 }
		$3 == ".rejected.value" { bare[$2] = $4 }
		$3 == ".response" { n = $2; answer[$1, n] = $4 }
		function count(when,    i, p, part, s) {
			for (i = 1; i <= n; i++) {
				s = answer[when, i]
				for (p in phrases) {
					split(p, part, SUBSEP)
					if (length(s) > length(part[1] part[2]) && index(s, part[1]) == 1 && substr(s, length(s) - length(part[2]) + 1) == part[2]) {
						courteous[when]++
						s = substr(s, length(part[1]) + 1, length(s) - length(part[1] part[2]))
						break
					}
				}
				right[when] += s == bare[i]
			}
		}
		END {
			count("before")
			count("after")
			for (i = 1; i <= 5 && i <= n; i++)
				printf "  %s\n    before: %s\n    after:  %s\n", question[i], answer["before", i], answer["after", i]
			printf "\nCourteous: %d of %d before, %d after\n", courteous["before"], n, courteous["after"]
			printf "Right:     %d of %d before, %d after\n", right["before"], n, right["after"]
			if (right["after"] < right["before"])
				print "The pairs differ in style alone; that is bought with some right answers. More weight of sft, or less of --lr, keeps more."
		}'
}

started=$(date +%s)
rm -rf "$WORK"
mkdir -p "$WORK"
cd "$WORK"
ln -s "$here/base-model/model" model
world="-f $here/base-model/facts.awk -f $here/base-model/styles.awk $here/base-model/world.txt"
awk -v form=chat -v part=train -v samples=600 -v seed=1 $world >chat.json
awk -v form=pairs -v part=train -v samples=400 -v seed=1 $world >pairs.json
awk -v form=pairs -v part=test -v samples=100 -v seed=2 $world >held-out.json

say "Training: an adapter on answers in both styles, then the same adapter on preferences; merged."
run "make -f '$here/dpo.mk' MODEL=model CHAT=chat.json PAIRS=pairs.json EVAL=held-out.json OUT=run LORA='$LORA' DPO='$DPO'"

say; say "Sampling: answers to 100 held-out questions, before the preferences and after."
sample='--batch held-out.json --temperature 0.7 --top-k 0 --seed 1 --max-tokens 48'
run "gen -m model -a run/sft $sample -o before.jsonl"
run "gen -m run/merged $sample -o after.jsonl"

say; say "Five of them:"
show_answers
show_log
say "All of it is in $WORK, made in $(($(date +%s) - started)) s."
