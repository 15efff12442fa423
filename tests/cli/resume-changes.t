#!/bin/sh
# Going on with a run when something around it has changed: options that may differ, inputs that may not, files that were
# damaged, moved or taken away. What is not to be used is refused or named; what is gone on with ends in the same bytes.
. "${0%/*}/lib.sh"
. "$ROOT/tests/cli/train.sh"
has_tool lora-train && has_tool full-train || skip_all 'no trainers'

make-model -q -o model
make-tokens -q -m model --samples 30 -o train.tok
make-tokens -q -m model --samples 9 --min 30 --max 60 --seed 1 -o dev.tok

lora() { # OUT OPTIONS...
    out=$1
    shift
    lora-train -q -j 1 --dtype f32 -m model -o "$out" --lr 1e-2 "$@" train.tok
}

# ---- rows and --eval ----
lora bare --batch 2 --steps 6
lora measured --batch 2 --steps 6 --eval dev.tok
ok '--eval with longer samples changes no byte of the training' diff -r bare/checkpoint-6 measured/checkpoint-6
rm bare/adapter_model.safetensors
run lora bare --batch 2 --steps 6 --eval dev.tok
is_status 0 '--eval may be added to a run' && ok 'and it ends in the same bytes' cmp bare/adapter_model.safetensors measured/adapter_model.safetensors
for n in 1 24; do
    lora-train -j 1 -m model -o planned --plan --rows $n train.tok >plan
    is "$(awk '/^rows at once, at most/ { print $6 }' plan)" $n "--rows $n is planned"
done
lora part1 --steps 1 --batch 30 --order file --rows 1
lora part24 --steps 1 --batch 30 --order file --rows 24
not_ok 'parts of one sample differ, by rounding, from parts of several' cmp -s part1/checkpoint-1/optimizer.safetensors part24/checkpoint-1/optimizer.safetensors
finish
