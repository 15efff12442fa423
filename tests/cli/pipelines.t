#!/bin/sh
# The recipes of pipelines/ run from data to result, and again with nothing to do.
. "${0%/*}/lib.sh"

for tool in fmt-chat tok-encode lora-train dpo-train adapter-merge eval-loss gen; do
    has_tool $tool || skip_all "no $tool"
done
example_files || { report 1 'the files can be made'; finish; }
unset MAKEFLAGS MFLAGS MAKELEVEL
lora='--steps 3 --rank 4'

run make -f "$ROOT/pipelines/sft.mk" MODEL=model DATA=alpaca.json EVAL=messages.jsonl OUT=run LORA="$lora"
is_status 0 'sft.mk runs'
ok 'it leaves a merged model' test -s run/merged/model.safetensors
is "$(grep -c '"loss"' run/loss.jsonl)" 2 'and two losses'
run make -f "$ROOT/pipelines/sft.mk" MODEL=model DATA=alpaca.json EVAL=messages.jsonl OUT=run LORA="$lora"
is "$(grep -c . out)" 1 'a second time there is nothing to do'
head -n 3 messages.jsonl >fewer.jsonl
run make -f "$ROOT/pipelines/sft.mk" MODEL=model DATA=fewer.jsonl EVAL=messages.jsonl OUT=run LORA="$lora"
is_status 2 'other data for the same run are refused'
run make -f "$ROOT/pipelines/sft.mk" MODEL=model DATA=fewer.jsonl EVAL=messages.jsonl OUT=run LORA="$lora" RESTART=1
is_status 0 'but RESTART=1 begins anew'
run make -f "$ROOT/pipelines/sft.mk" MODEL=model DATA=fewer.jsonl EVAL=messages.jsonl OUT=run LORA="$lora --targets '.*(q|v)_proj,?'"
is_status 2 'and other options are refused'
has err 'targets: all-linear, now .*(q|v)_proj,?' 'with what is different'
run make -f "$ROOT/pipelines/sft.mk" MODEL=model DATA=missing.json OUT=run2
is_status 2 'missing data are an error'

# The tree's base model is what its pipeline makes, as long as training sums in the order in which it did. This is a short piece of that
# training; when it changes for good reason, the model is made and adopted anew (make -C pipelines/base-model adopt).
base=$ROOT/pipelines/base-model
if gen --version | grep -q 'features found:.*avx2' && [ "${FINETOOLS_CPU:-avx2}" = avx2 ]; then
    awk -v documents=400 -v seed=1 -f "$base/facts.awk" -f "$base/corpus.awk" "$base/world.txt" |
        fmt-chat -q -F text | tok-encode -q -m "$base/model" -o base.tok
    FINETOOLS_CPU=avx2 full-train -q --init -m "$base/model" -o base --steps 6 --batch-tokens 2k --lr 3e-3 --warmup 3 --beta2 0.95 --weight-decay 0.05 base.tok
    is "$(tail -c 2886912 base/model.safetensors | sha256sum)" '5a78f99c7cbe8d1fcf50c11048688d0087873f59f9b534c0a44bb42914626daa  -' \
        'training has the bits that the base model was made with'
else
    skip 'no AVX2'
fi

run make -j 2 -f "$ROOT/pipelines/sweep.mk" MODEL=model OUT=sweep RANKS='2 4' RATES='1e-3 1e-2' LORA='--steps 3'
is_status 0 'sweep.mk runs'
is "$(wc -l <sweep/table.tsv | tr -d ' ')" 4 'it makes a table of four runs'
ok 'sorted by loss' sort -g -c sweep/table.tsv
cut -f1 sweep/table.tsv | grep -vE '^[0-9.]+(e-?[0-9]+)?$' >bad
is "$(cat bad)" '' 'of numbers'
run make -j 2 -f "$ROOT/pipelines/sweep.mk" MODEL=model OUT=sweep RANKS='2 4 8' RATES='1e-3 1e-2' LORA='--steps 3'
is "$(grep -c '^lora-train' out)" 2 'another rank trains only what is new'
is "$(wc -l <sweep/table.tsv | tr -d ' ')" 6 'and all are in the table'
run make -f "$ROOT/pipelines/sweep.mk" MODEL=model OUT=sweep RANKS=2 RATES='1e-3 1e-2' LORA='--steps 3'
is "$(cut -f2 sweep/table.tsv | sort | tr '\n' ' ')" 'rank-2-lr-1e-2 rank-2-lr-1e-3 ' 'fewer make a smaller table'
run make -f "$ROOT/pipelines/sweep.mk" MODEL=model OUT=sweep RANKS=2 RATES='1e-3 1e-2' LORA='--steps 4'
is_status 2 'other options are refused'
has err 'steps: 3, now 4' 'with what is different'
run make -f "$ROOT/pipelines/sweep.mk" MODEL=model OUT=sweep RANKS=2 RATES='1e-3 1e-2' LORA='--steps 4' RESTART=1
is_status 0 'RESTART=1 begins anew'

dpo='--steps 3 --batch 4 --lr 1e-3'
prefer() { run make -f "$ROOT/pipelines/dpo.mk" MODEL=model PAIRS=pairs.json CHAT=alpaca.json EVAL=pairs.json OUT=prefer LORA="$lora" "$@"; }
prefer DPO="$dpo"
is_status 0 'dpo.mk runs'
ok 'it leaves a merged model' test -s prefer/merged/model.safetensors
has prefer/dpo/log.jsonl '"eval_rewards/margins":' 'and a log of the held-out pairs'
has prefer/dpo/run.json '"adapter": "'"$(sha256sum <prefer/sft/adapter_model.safetensors | cut -c 1-64)" 'it began at the adapter of the chat data'
prefer DPO="$dpo"
is "$(grep -c . out)" 1 'a second time there is nothing to do'
prefer DPO="$dpo --beta 0.2"
is_status 2 'other options are refused'
has err 'beta: 0.1, now 0.2' 'with what is different'
prefer DPO="$dpo --beta 0.2" RESTART=1
is_status 0 'but RESTART=1 begins anew'
is "$(grep -c '^lora-train' out)" 0 'with the adapter that is there'
run make -f "$ROOT/pipelines/dpo.mk" MODEL=model PAIRS=pairs.json OUT=prefer2 DPO="$dpo --rank 4"
is_status 0 'without chat data an adapter is trained on pairs alone'
run make -f "$ROOT/pipelines/dpo.mk" MODEL=model PAIRS=missing.json OUT=prefer3
is_status 2 'missing pairs are an error'

# A shorter course than the recipe's own: fewer answers are right, but the style wins all the same.
run env WORK="$PWD/demo-dpo" LORA='--steps 60 --lr 3e-3 --batch 16' sh "$ROOT/pipelines/dpo.sh"
is_status 0 'dpo.sh runs'
awk '/^(Courteous|Right|Held|Log)/ { print | "cat >&2" } /^Courteous:/ { rises = $6 >= $2 + 30 } END { exit !rises }' out 2>shown
ok 'the preferred style rises by 30 of 100 answers or more' test $? = 0 || note "$(cat shown)"
grep -o '"type":"step".*' demo-dpo/run/dpo/log.jsonl | sed 's/.*"loss":\([0-9.]*\),"lr".*/\1/' | awk 'NR == 1 { first = $1 } { last = $1 } END { exit !(last < first - 0.1) }'
ok 'the loss falls' test $? = 0
awk '/^Log-probability of the chosen/ { chosen = $8 > $6 } /^Log-probability of the rejected/ { rejected = $8 < $6 } END { exit !(chosen && rejected) }' out
ok 'chosen answers become more probable, rejected ones less' test $? = 0 || note "$(cat shown)"

job=$ROOT/pipelines/cron-train.sh
run env -i PATH="$PATH" "$job" model alpaca.json nightly --steps 3 --rank 4
is_status 0 'cron-train.sh runs in an empty environment'
is "$(cat out err)" '' 'and says nothing'
ok 'it leaves a merged model' test -s nightly/merged/model.safetensors
ls -l --time-style=full-iso nightly/merged >before
run "$job" model alpaca.json nightly --steps 3 --rank 4
is_status 0 'a second night has nothing to do'
ls -l --time-style=full-iso nightly/merged >after
ok 'and changes nothing' cmp before after
if command -v flock >/dev/null; then
    run flock nightly/lock "$job" model alpaca.json nightly --steps 3 --rank 4
    is_status 75 'a second job at the same time ends with 75'
    one_line err 'in one line'
else
    skip 'no flock' 2
fi
cp fewer.jsonl alpaca.json
touch -d '1 hour' alpaca.json
run "$job" model alpaca.json nightly --steps 3 --rank 4
is_status 0 'new data make a new run'
has nightly/adapter/checkpoint-3/trainer_state.json "$(ckpt-info --json nightly/train.tok | sed -n 's/.*"hash": "\([0-9a-f]*\)".*/\1/p')" 'from these data'
run "$job" model alpaca.json
is_status 2 'too few arguments are wrong usage'
run "$job" model missing.json broken
is_status 1 'a failure has a status'
ok 'and a message for the mail' test -s err
finish
