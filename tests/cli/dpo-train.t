#!/bin/sh
# dpo-train: what every option does, what is refused, what is left behind; equal bytes however a run is cut, interrupted and spread over threads.
. "${0%/*}/lib.sh"
. "$ROOT/tests/cli/train.sh"
has_tool dpo-train || skip_all 'no dpo-train'

make-model -q -t bf16 -o model
make-tokens -q -m model --kind pairs -o pairs.tok # 20 samples
make-tokens -q -m model --kind pairs --samples 7 --seed 1 -o dev.tok
make-tokens -q -m model --kind labelled --samples 20 -o labelled.tok
make-tokens -q -m model -o samples.tok
common='--dtype f32 --batch 8 --lr 1e-2'
t() { # OUT OPTIONS...: a short run; steps of 8, 8 and 4 samples
    out=$1
    shift
    dpo-train -q -j 1 -m model -o "$out" $common "$@" pairs.tok
}
k() {
    out=$1
    shift
    dpo-train -q -j 1 -m model -o "$out" $common "$@" labelled.tok
}
first() { # OUT KEY: of the first step
    logged "$1" "$2" | cut -d' ' -f1
}
near_first() { # OUT KEY VALUE
    near "$(first "$1" "$2")" "$3" 1e-6
}

# ---- what is written ----
run dpo-train -j 1 -m model -o plain $common --steps 4 pairs.tok
is_status 0 'a run'
is "$(cat out)" '' 'nothing on stdout'
has err 'reference: log-probabilities of 20 samples' 'the reference is told of'
has err 'pairs.tok: 20 samples' 'so is the data'
has err 'the adapter is in plain' 'the last line tells where it is'
is "$(ls plain | tr '\n' ' ')" 'README.md adapter_config.json adapter_model.safetensors checkpoint-4 log.jsonl ref-logprobs run.json ' 'the folder'
ok 'a PEFT folder at the top' ckpt-info --verify plain
ok 'the checkpoint is whole' ckpt-info --verify plain/checkpoint-4
is "$(logged plain step)" '1 2 3 4' 'a line of the log for each step'
ok 'the first loss is ln 2' near_first plain loss 0.693147181
is "$(first plain rewards/margins) $(first plain rewards/chosen)" '0.0 0.0' 'and no answer is yet preferred'
for key in rewards/rejected rewards/accuracies logps/chosen logps/rejected logits/chosen logits/rejected entropy grad_norm lr tokens; do
    is "$(logged plain "$key" | wc -w | tr -d ' ')" 4 "the log tells $key"
done
ok 'margins rise' sh -c "[ \"\$(echo '$(logged plain rewards/margins)' | awk '{ print (\$4 > 0.05) }')\" = 1 ]"
run dpo-train -m model -o plain $common --steps 4 pairs.tok
has err 'already complete' 'the same command again says that it is done'
has plain/run.json '"tool": "dpo-train"' 'the record names the tool'

# ---- losses ----
for loss in hinge:1 ipo:25 nca_pair:1.38629436 bco_pair:1.38629436 sppo_hard:50 aot:0.693147181 aot_unpaired:0.693147181 apo_zero:1 apo_down:1 \
    sigmoid_norm:0.693147181; do
    t "of-${loss%:*}" --steps 2 --loss "${loss%:*}"
    ok "--loss ${loss%:*} begins at ${loss#*:}" near_first "of-${loss%:*}" loss "${loss#*:}"
done
t listed --steps 2 --loss sigmoid:0.5,sft
t listed-otherwise --steps 2 --loss sft,sigmoid:0.5
ok '--loss: the order of a list changes nothing' cmp listed/adapter_model.safetensors listed-otherwise/adapter_model.safetensors
is "$(logged listed loss/sft) $(logged listed loss/sigmoid)" "$(logged listed-otherwise loss/sft) $(logged listed-otherwise loss/sigmoid)" 'nor in the log'
run dpo-train -q -j 1 -m model -o listed $common --steps 2 --loss sft,sigmoid:0.5 pairs.tok
is_status 0 'it is the same run'
for loss in discopop sft orpo cpo simpo alphapo; do
    t "of-$loss" --steps 2 --loss $loss
    is "$(logged "of-$loss" loss | wc -w | tr -d ' ')" 2 "--loss $loss"
done
t of-robust --steps 1 --loss robust --label-smoothing 0.2
ok '--loss robust' near_first of-robust loss 0.693147181
t of-exo --steps 1 --loss exo_pair --label-smoothing 0.1
ok '--loss exo_pair' near_first of-exo loss 0.510825624
t mixed --steps 2 --loss sigmoid:0.8,bco_pair:0.2,sft
ok 'a sum of losses is the sum of its terms' near "$(first mixed loss)" \
    "$(echo "$(first mixed loss/sigmoid) $(first mixed loss/bco_pair) $(first mixed loss/sft)" | awk '{ print 0.8 * $1 + 0.2 * $2 + $3 }')" 1e-5
ok 'its likelihood is that of sft alone' near "$(first mixed loss/sft)" "$(first of-sft loss)" 1e-6
k kto --steps 2 --loss kto
ok '--loss kto begins at 1/2' near_first kto loss 0.5
is "$(first kto kl)" 0.0 'and at no divergence'
k apo --steps 2 --loss apo_zero_unpaired
ok '--loss apo_zero_unpaired' near_first apo loss 0.5
k bco --steps 2 --loss bco
ok '--loss bco' near_first bco loss 0.693147181
is "$(logged bco delta | wc -w | tr -d ' ')" 2 'it tells its baseline'
t orpo-prompt --steps 1 --loss orpo --train-prompt
not_ok '--train-prompt changes the likelihood' test "$(logged orpo-prompt loss)" = "$(first of-orpo loss)"

# ---- options of losses ----
t beta --steps 4 --beta 0.5
ok '--beta scales the gradient' near "$(first beta grad_norm)" "$(first plain grad_norm | awk '{ print 5 * $1 }')" 1e-5
for option in '--label-smoothing 0.2' '--f-divergence js_divergence' '--f-divergence alpha_divergence' '--ld-alpha 0.5' --wpo; do
    dpo-train -q -j 1 -m model -o option $common --steps 4 $option pairs.tok
    not_ok "$option" test "$(logged option loss) $(logged option grad_norm)" = "$(logged plain loss) $(logged plain grad_norm)"
    rm -rf option
done
t alpha2 --steps 4 --f-divergence alpha_divergence --f-alpha 2
t alpha5 --steps 4 --f-divergence alpha_divergence
not_ok '--f-alpha' test "$(logged alpha2 loss)" = "$(logged alpha5 loss)"
t tau --steps 1 --loss discopop --discopop-tau 0.5
t tau2 --steps 1 --loss discopop --discopop-tau 0.05
not_ok '--discopop-tau' test "$(logged tau grad_norm)" = "$(logged tau2 grad_norm)"
t gamma --steps 1 --loss simpo --simpo-gamma 1
not_ok '--simpo-gamma' test "$(logged gamma loss)" = "$(first of-simpo loss)"
t alphapo --steps 1 --loss alphapo --alphapo-alpha 0.5
not_ok '--alphapo-alpha' test "$(logged alphapo loss)" = "$(first of-alphapo loss)"
k desirable --steps 1 --loss kto --desirable-weight 2
k undesirable --steps 1 --loss kto --undesirable-weight 2
ok '--desirable-weight and --undesirable-weight' near "$(echo "$(first desirable loss) $(first undesirable loss)" | awk '{ print $1 + $2 }')" 1.5 1e-6
for bad in 'nosuch:unknown' 'kto,sft:alone' 'sigmoid:0:weight' 'orpo,simpo:one'; do
    usage '' "--loss ${bad%:*}" dpo-train -m model -o out.d --loss "${bad%:*}" pairs.tok
done
usage 'is for discopop' 'an option that no loss reads' dpo-train -m model -o out.d --discopop-tau 0.5 pairs.tok
usage '--label-smoothing' 'exo_pair without smoothing' dpo-train -m model -o out.d --loss exo_pair pairs.tok

# ---- the kind of data ----
refused 'samples.tok' 'samples' dpo-train -m model -o out.d samples.tok
has err 'fmt-chat -F pairs' 'it says what makes pairs'
refused 'labelled.tok' 'labelled samples for pairs' dpo-train -m model -o out.d labelled.tok
refused 'pairs.tok' 'pairs for kto' dpo-train -m model -o out.d --loss kto pairs.tok
refused 'samples.tok' 'samples for --eval' dpo-train -m model -o out.d --eval samples.tok pairs.tok

# ---- the reference ----
run dpo-train -q -j 1 -m model --dtype f32 --write-ref written.ref pairs.tok
is_status 0 '--write-ref'
is "$(cat out err)" '' '-q says nothing'
ok 'it writes what a run computes' cmp written.ref plain/ref-logprobs
run dpo-train -q -j 2 -m model --dtype f32 --rows 1 --write-ref rows.ref pairs.tok
ok 'in parts of any size, on any number of threads' cmp written.ref rows.ref
run dpo-train -m model --dtype f32 --write-ref written.ref pairs.tok
is_status 1 'it is not overwritten'
run dpo-train -q -f -m model --dtype f32 --write-ref written.ref pairs.tok
is_status 0 'but with --force'
t given --steps 4 --ref-logprobs written.ref
is "$(logged given loss) $(logged given grad_norm)" "$(logged plain loss) $(logged plain grad_norm)" '--ref-logprobs: the same training'
not_ok 'nothing is computed for it' test -e given/ref-logprobs
refused 'made from other data' 'a reference of other data' dpo-train -m model -o out.d --dtype f32 --ref-logprobs written.ref dev.tok
make-model -q --layers 3 -o other
refused 'made with another model' 'of another model' dpo-train -m other -o out.d --dtype f32 --ref-logprobs written.ref pairs.tok
refused 'with adapter' 'of another adapter' sh -c 'dpo-train -q -m model --adapter plain --dtype f32 --write-ref adapted.ref pairs.tok &&
    dpo-train -m model -o out.d --dtype f32 --ref-logprobs adapted.ref pairs.tok'
refused 'computed in f32' 'of other arithmetic' dpo-train -m model -o out.d --dtype bf16 --ref-logprobs written.ref pairs.tok
head -c 500 written.ref >cut.ref
refused 'cut.ref' 'one that was cut' dpo-train -m model -o out.d --dtype f32 --ref-logprobs cut.ref pairs.tok
dpo-train -q -j 1 -m model --dtype f32 --loss kto --write-ref kto.ref labelled.tok
ok 'kto: its own, too' cmp kto.ref kto/ref-logprobs
dpo-train -q -j 1 -m model --dtype f32 --rows 1 --loss kto --write-ref kto1.ref labelled.tok
ok 'in parts of any size' cmp kto.ref kto1.ref
refused 'lacks the mismatched answers' 'without mismatched answers' sh -c 'dpo-train -q -m model --dtype f32 --loss bco --write-ref bco.ref labelled.tok &&
    dpo-train -m model -o out.d --dtype f32 --loss kto --ref-logprobs bco.ref labelled.tok'
# Found at the first step, when the folder of the run is there.
otherwise() { # TEXT NAME REFERENCE LOSS DATA
    run dpo-train -q -m model -o out.d $common --batch 20 --loss "$4" --ref-logprobs "$3" "$5"
    is_status 1 "$2"
    has err "$1" 'which the message names'
    not_ok 'nothing is trained' ls out.d/adapter_model.safetensors out.d/checkpoint-1
    rm -rf out.d
}
edit-ref written.ref chosen.ref 3 0 0.5
edit-ref written.ref rejected.ref 3 1 0.5
edit-ref chosen.ref both.ref 3 1 0.5
edit-ref kto.ref edited.ref 3 1 0.5
for which in chosen rejected; do
    otherwise "pairs.tok: record 3: before the first step the model's log-probability of the $which answer is" "a reference that is off by a $which answer" $which.ref sigmoid pairs.tok
done
otherwise 'record 3: before the first step' 'or by both, as much' both.ref sigmoid pairs.tok
otherwise 'record 3: before the first step the model'"'"'s log-probability of the mismatched answer' 'kto: by a mismatched one' edited.ref kto labelled.tok
usage 'no reference' '--write-ref of a loss without one' dpo-train -m model --loss simpo --write-ref none.ref pairs.tok
usage 'no reference' '--ref-model of a loss without one' dpo-train -m model -o out.d --loss simpo --ref-model other pairs.tok
usage '--eval has no use' '--write-ref with --eval' dpo-train -m model --write-ref none.ref --eval dev.tok pairs.tok
make-tokens -q -m model --kind labelled --samples 1 -o lonely.tok
refused 'lonely.tok: holds one sample, expected two or more' 'kto with one sample' dpo-train -m model -o out.d --loss kto lonely.tok
refused 'lonely.tok: holds one sample' 'or to be measured on one' dpo-train -m model -o out.d --loss kto --eval lonely.tok labelled.tok
refused 'lonely.tok: holds one sample' 'its reference' dpo-train -m model --loss kto --write-ref lonely.ref lonely.tok
usage '-o has no use' '--write-ref with -o' dpo-train -m model -o out.d --write-ref none.ref pairs.tok
t elsewhere --steps 1 --ref-model other
not_ok '--ref-model: margins of another model' near_first elsewhere loss 0.693147181
dpo-train -q -j 1 -m other --dtype f32 --write-ref other.ref pairs.tok
ok 'they are those of that model' sh -c 'cmp other.ref elsewhere/ref-logprobs'
make-model -q --hidden 256 --ffn 2048 --layers 8 -o large
for plan in '' --plan; do
    refused 'large: the reference needs' "--ref-model that needs more memory${plan:+, }$plan" dpo-train -m model -o out.d $common --memory 60M --ref-model large $plan pairs.tok
done
run dpo-train -m model -o out.d $common --plan --ref-model large pairs.tok
cp out small.plan
run dpo-train -m model -o out.d $common --plan pairs.tok
beside() {
    sed -n 's/^FLOPs beside the steps *//p' "$1"
}
not_ok '--plan: a larger reference costs more' test "$(beside out)" = "$(beside small.plan)"
make-model -q --salt x -o stranger
printf '{"model":{"vocab":{}}}' >stranger/tokenizer.json
refused '--ref-model stranger: its tokenizer is another than the one pairs.tok was made with' '--ref-model of another tokenizer' \
    dpo-train -m model -o out.d $common --ref-model stranger pairs.tok
refused 'other/config.json' '--ref-model that is none' sh -c 'rm other/config.json; dpo-train -m model -o out.d --ref-model other pairs.tok'
cp -r plain early
rm -r early/checkpoint-4 early/run.json early/log.jsonl early/adapter* early/README.md
t early --steps 4
ok 'a reference that a stopped run left is used' cmp early/adapter_model.safetensors plain/adapter_model.safetensors
printf x >early/ref-logprobs
t early --steps 4 --restart
ok 'one that is damaged is made again' cmp early/ref-logprobs written.ref

t fixed --steps 6
t synced --steps 6 --sync-ref 2
is "$(logged synced loss | cut -d' ' -f1,2)" "$(logged fixed loss | cut -d' ' -f1,2)" '--sync-ref 2: the first two steps are as without'
not_ok 'then the reference has moved' test "$(logged synced loss | cut -d' ' -f3)" = "$(logged fixed loss | cut -d' ' -f3)"
t moved --steps 6 --sync-ref 3 --sync-mix 1 --eval dev.tok --eval-every 3
is "$(sed -n 's/.*"type":"eval","step":3,.*"eval_rewards.margins":\([^,]*\).*/\1/p' moved/log.jsonl)" 0.0 '--sync-mix 1: it then is the model'
is "$(logged moved rewards/margins | cut -d' ' -f4)" 0.0 'and the next step begins at no margin'
t none --steps 6 --sync-ref 2 --sync-mix 0
is "$(logged none loss)" "$(logged fixed loss)" '--sync-mix 0: it does not move, and is computed as before'
usage '--full' '--sync-ref with --full' dpo-train -m model -o out.d --full --sync-ref 2 pairs.tok
usage '--ref-model' '--sync-ref with --ref-model' dpo-train -m model -o out.d --ref-model model --sync-ref 2 pairs.tok
usage 'no reference' '--sync-ref of a loss without one' dpo-train -m model -o out.d --loss simpo --sync-ref 2 pairs.tok
usage '--sync-ref N' '--sync-mix alone' dpo-train -m model -o out.d --sync-mix 0.5 pairs.tok

# ---- what is trained ----
t on --steps 2 --adapter plain
ok '--adapter: the reference is the model with it' near_first on loss 0.693147181
ok 'also with dropout' t on2 --steps 1 --adapter plain --dropout 0.3
not_ok 'which shows at once' near_first on2 loss 0.693147181
t full --steps 4 --full --lr 1e-3
ok '--full: the first loss is ln 2' near_first full loss 0.693147181
ok 'a model at the top' ckpt-info --verify full
not_ok 'whose weights have changed' cmp -s full/model.safetensors model/model.safetensors
dpo-train -q -j 1 -m model -o rate --full --steps 1 pairs.tok
is "$(logged rate lr)" 1e-6 'its rate is 1e-6'
dpo-train -q -j 1 -m model -o rate2 --steps 1 pairs.tok
is "$(logged rate2 lr)" 5e-6 'that of an adapter 5e-6'
for option in '--rank 4' '--alpha 4' '--targets q_proj' '--rslora' '--bias all'; do
    usage '--adapter brings its own' "--adapter with $option" dpo-train -m model -o out.d --adapter plain $option pairs.tok
    usage '--full trains every weight' "--full with $option" dpo-train -m model -o out.d --full $option pairs.tok
done
usage 'merge it first' '--full with --adapter' dpo-train -m model -o out.d --full --adapter plain pairs.tok
t head --steps 2 --targets 'lm_head,q_proj' --rank 4
ok 'the output layer can be trained' near_first head loss 0.693147181

# ---- evaluation, plan, summary ----
t eval --steps 6 --eval dev.tok --eval-every 3 --summary s.json
is "$(grep -c '"type":"eval"' eval/log.jsonl)" 2 '--eval'
has eval/log.jsonl '"eval_rewards/margins":' 'the same metrics'
has eval/log.jsonl '"eval_logps/chosen":' 'with a prefix'
ok 'and its reference is kept' test -f eval/eval-ref-logprobs
has s.json '"eval_loss"' '--summary'
run dpo-train --plan -m model -o out.d --loss kto labelled.tok
is_status 0 '--plan'
disk() { dpo-train --plan -m model -o out.d --loss "$1" pairs.tok | awk '/at most, with the result/ { print $6 }'; }
size=$(wc -c <plain/ref-logprobs) more=$(($(disk sigmoid) - $(disk simpo)))
ok "--plan counts the reference's file on disk" test "$more" -ge "$size" -a "$more" -le $((size + 8192))
has out 'FLOPs per step' 'tells the work'
not_ok 'and writes nothing' test -e out.d
time_of() { awk '/FLOPs beside/ { print $5 }' "$1"; }
dpo-train --plan -m model -o out.d pairs.tok >one.plan
dpo-train --plan -m model -o out.d --eval dev.tok --epochs 2 pairs.tok >more.plan
ok '--plan counts the pass of the reference' test "$(time_of one.plan)" -gt 0
ok 'and those over --eval' test "$(time_of more.plan)" -gt "$(time_of one.plan)"
run dpo-train --plan -m model --write-ref planned.ref pairs.tok
is_status 0 '--write-ref with --plan'
has out 'time, about' 'tells how long'
ok 'and counts no more than the plan of training' test "$(awk '/FLOPs in all/ { print $4 }' out)" -le "$(time_of one.plan)"
ok 'and the size of the file' test "$(awk '/^at most/ { print $3 }' out)" -ge "$(wc -c <written.ref)"
not_ok 'and writes nothing' test -e planned.ref
make-tokens -q -m model --kind pairs --samples 600 -o many.tok
size=$(dpo-train -m model --write-ref many.ref --plan many.tok | awk '/^at most/ { print $3 }')
dpo-train -q -m model --dtype f32 --write-ref many.ref many.tok
ok 'nor tells less than many samples take' test "$size" -ge "$(wc -c <many.ref)"
ok 'nor much more' test "$size" -le $(($(wc -c <many.ref) * 5 / 4 + 8192))
refused 'may be used; fewer --rows' '--write-ref in too little memory' dpo-train -m model --write-ref planned.ref --memory 1M pairs.tok
dpo-train -q -m model -o logs --dtype f32 --batch 8 --lr 1e-2 --steps 4 --log-every 2 pairs.tok
ok '--log-every: means of the metrics' near "$(first logs logps/chosen)" "$(logged plain logps/chosen | awk '{ print ($1 + $2) / 2 }')" 1e-5

# ---- not finite ----
run dpo-train -j 1 -m model -o undefined $common --steps 3 --save-every 1 --eps 0 pairs.tok
is_status 3 'an update that is no number (0 / 0) has status 3'
has undefined/run.json '"status": "diverged"' 'the record says so'
make-model -q -o hot
poke hot/model.safetensors lm_head.weight '\377\377\177\177\377\377\177\177\377\377\177\177\377\377\177\177'
run dpo-train -q -j 1 -m hot -o hot.d $common --steps 2 pairs.tok
is_status 3 'log-probabilities that are not finite have status 3'
one_line err 'with one line'
has err 'pairs.tok: record 1: a log-probability that hot gives is no finite number' 'that names record and model'
# Two steps that blow up queries and keys, of which the second update is the one too many.
blown='--steps 2 --lr 1000 --weight-decay 1000 --targets q_proj,k_proj --rank 1 --alpha 1'
run dpo-train -q -j 1 -m model -o blown.d --dtype f32 --batch 8 $blown --eval dev.tok pairs.tok
is_status 3 'so have those of held-out pairs'
one_line err 'with one line'
has err 'step 2: the loss of the held-out samples is no finite number' 'that says so'

# ---- equal bytes ----
for loss in sigmoid aot sigmoid:0.7,bco_pair:0.3,sft orpo; do
    one="--loss $loss --steps 4 --save-every 2 --log-every 3 --dropout 0.1 --eval dev.tok"
    t whole $one
    t threads -j 2 $one
    ok "$loss: -j 2 gives the same bytes" same_run whole threads
    t again --recompute layer $one
    ok "$loss: so does --recompute" same_run whole again
    for rows in 60 1; do
        t cut --rows $rows $one
        ok "$loss: so do parts of $rows rows" same_run whole cut
        rm -rf cut
    done
    rm -rf whole threads again
done
for options in '--loss kto' '--loss kto --sync-ref 2' '--loss bco --full --lr 1e-4'; do
    one="$options --steps 4 --log-every 3"
    k whole $one
    k cut --rows 40 -j 2 $one
    ok "$options: parts of 40 rows on two threads give the same bytes" same_run whole cut
    rm -rf whole cut
done
t whole --full --steps 4
t cut --full --steps 4 --rows 1 -j 2 --recompute layer
ok '--full: so it does' same_run whole cut
rm -rf whole cut

# ---- killed and started again ----
long="--loss sigmoid,bco_pair --steps 60 --save-every 4 --log-every 3 --eval dev.tok --eval-every 5 --dropout 0.1 --sync-ref 7"
t reference $long
kills=0
while [ $kills -lt 6 ]; do
    (exec dpo-train -q -j 1 -m model -o moments $common $long pairs.tok 2>killed.err) &
    pid=$!
    sleep "0.$((kills * 13 % 7 + 1))"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    kills=$((kills + 1))
done
t moments $long
ok 'killed at six moments and started again, it ends with the same bytes' same_run reference moments
(exec dpo-train -q -j 2 -m model -o stopped $common $long --steps 2000 pairs.tok 2>err) &
pid=$!
until grep -q '"type":"step","step":9' stopped/log.jsonl 2>/dev/null; do sleep 0.05; done
kill -TERM $pid
wait $pid
status=$?
is_status 75 'TERM ends a run with status 75'
finish
