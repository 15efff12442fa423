#!/bin/sh
# Quantized model folders as bitsandbytes, GPTQModel and AutoAWQ save them: every program that takes a model, and damage of every kind.
. "${0%/*}/lib.sh"
. "$ROOT/tests/cli/train.sh"
for t in ckpt-info eval-loss gen lora-train full-train; do
    has_tool $t || skip_all "no $t"
done
GOLDEN=$ROOT/tests/golden/quantized

# The fixtures have 43 tokens: letters, a space, and an end.
tokenizer() {
    awk 'BEGIN {
        printf "{\"version\": \"1.0\", \"added_tokens\": [], \"normalizer\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}, "
        printf "\"post_processor\": null, \"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\", \"merges\": [], \"vocab\": {\"\304\240\": 26, \"#\": 27"
        for (i = 0; i < 26; i++) printf ", \"%c\": %d", 97 + i, i
        for (i = 28; i < 43; i++) printf ", \"%c\": %d", 37 + i, i
        print "}}}"
    }'
}

# fixture NAME: a copy, as `m`
fixture() {
    rm -rf m && cp -r "$GOLDEN/$1" m && chmod -R u+w m && cp tokenizer.json m/
}

# broken 'text' 'what': a model that is not opened
broken() {
    run eval-loss -q -j 1 -m m test.tok
    is_status 1 "$2: refused"
    has err "$1" "$2: says so"
    one_line err "$2: in one line"
}

q() {
    edit-tensors m/model.safetensors "$@"
}

# spoiled FIXTURE 'edit' 'text' 'what'
spoiled() {
    fixture "$1"
    q $2
    broken "$3" "$4"
}

# config 'quantization_config' [WIDTH FFN KV]: config.json anew
config() {
    printf '{"model_type": "llama", "hidden_size": %d, "intermediate_size": %d, "num_hidden_layers": 2, "num_attention_heads": %d, "num_key_value_heads": %d,
  "vocab_size": 43, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "quantization_config": %s}\n' "${2:-64}" "${3:-160}" "${5:-4}" "${4:-2}" "$1" >m/config.json
}

tokenizer >tokenizer.json
fixture bnb-nf4
make-tokens -q -m m --vocab 43 -o test.tok

for name in bnb-nf4 bnb-nf4-f16 bnb-fp4 bnb-int8 gptq-4-g32 gptq-4-g32-order gptq-3 gptq-2 gptq-8-v2 awq-4-g32 awq-autoawq; do
    fixture $name
    run ckpt-info m
    is_status 0 "$name: ckpt-info"
    cp out info
    method=${name%%-*}
    test "$method" = bnb && method=bitsandbytes
    has info "  method                 $method" "$name: names the method"
    run ckpt-info --verify m
    is_status 0 "$name: verifies"
    run eval-loss -q -j 1 --dtype f32 -m m test.tok
    is_status 0 "$name: eval-loss"
    cp out loss
    eval-loss -q -j 2 --dtype f32 -m m test.tok >out
    ok "$name: the same for any number of threads" cmp out loss
    run gen -q --raw -m m --max-tokens 4 'ab cd'
    is_status 0 "$name: gen"
    run lora-train -q -j 1 --plan -m m -o adapter --rank 4 test.tok
    is_status 0 "$name: lora-train --plan"
    run full-train -q -j 1 -m m -o full test.tok
    is_status 1 "$name: full-train refuses"
    has err 'is quantized and cannot be trained itself' "$name: full-train says why"
    one_line err "$name: full-train: in one line"
done

fixture bnb-nf4
ckpt-info m >info
for line in 'parameters               132660 (133k)' '    nf4                  14' 'block                  64' 'double_quantization    yes' \
    'dequantized_type       BF16' 'weights                127200 (127k)' 'bits_per_weight        5.23642'; do
    has info "$line" "ckpt-info shows '$line'"
done
fixture gptq-4-g32-order
ckpt-info m >info
for line in 'parameters               92224' 'bits                   4' 'group                  32' 'symmetric              no' 'act_order              yes' \
    'format                 gptq'; do
    has info "$line" "ckpt-info shows '$line'"
done
fixture gptq-8-v2
ckpt-info m >info
has info 'group                  none' 'one group of all inputs'
has info 'format                 gptq_v2' 'zeros as they are'
run full-train -q -j 1 -m m -o full --train norm --steps 1 test.tok
is_status 0 'what is not quantized can be trained'
run eval-loss -q -m full test.tok
is_status 0 'and is saved beside what is'
mkdir init && cp m/config.json m/tokenizer.json init/
run full-train -q -j 1 -m init --init -o fresh --steps 1 test.tok
is_status 1 '--init from a quantized configuration: refused'
has err 'quantization_config (gptq), expected that of a plain model' '--init: says why'

# Our bytes and bitsandbytes': the fixtures hold the weights that make-model gives.
same_tensors() { # FIXTURE LAYERS quantize's OPTIONS...
    fixture "$1"
    rm -rf plain ours
    make-model -q -t bf16 --layers "$2" --hidden 60 --ffn 300 --heads 6 --kv-heads 2 --head-dim 10 --vocab 43 -o plain
    shift 2
    ok "quantize $*" quantize -q -m plain -o ours "$@"
    for dir in m ours; do
        edit-tensors $dir/model.safetensors copy lm_head.weight again # the same metadata
    done
    ok "quantize $*: the bytes of bitsandbytes" cmp m/model.safetensors ours/model.safetensors
}
if has_tool quantize; then
    same_tensors bnb-nf4 2 --method nf4 --double-quant
    same_tensors bnb-int8 1 --method int8
else
    skip 'no quantize' 4
fi

# The words of other writers.
fixture awq-4-g32
eval-loss -q -j 1 --dtype f32 -m m test.tok >loss
rm m/quantize_config.json
config '{"quant_method": "awq", "zero_point": true, "group_size": 32, "bits": 4, "version": "gemm", "modules_to_not_convert": null}' 64 192 4
run eval-loss -q -j 1 --dtype f32 -m m test.tok
ok "AWQ by AutoAWQ's configuration" cmp out loss
config null 64 192 4
printf '{"zero_point": true, "q_group_size": 32, "w_bit": 4, "version": "GEMM"}' >m/quant_config.json
run eval-loss -q -j 1 --dtype f32 -m m test.tok
ok "by its older versions' file" cmp out loss
rm m/quant_config.json
broken "config.json has no quantization_config to read it by" 'words without a configuration'
fixture gptq-4-g32
eval-loss -q -j 1 --dtype f32 -m m test.tok >loss
rm m/quantize_config.json
config '{"bits": 4, "group_size": 32, "damp_percent": 0.01, "desc_act": false, "static_groups": false, "sym": true, "true_sequential": true, "is_marlin_format": false, "quant_method": "gptq"}'
run eval-loss -q -j 1 --dtype f32 -m m test.tok
ok "GPTQ by AutoGPTQ's configuration" cmp out loss
config '{"bits": 4, "group_size": 32, "sym": true, "quant_method": "gptq", "dynamic": {"-:.*lm_head": {}, ".*down.*": {"bits": 4}}}'
run eval-loss -q -j 1 --dtype f32 -m m test.tok
ok 'patterns with other settings: the tensors tell' cmp out loss
config '{"bits": 4, "group_size": 32, "sym": true, "quant_method": "gptq"}'
M=model.layers.1.mlp.down_proj
q set $M.g_idx 0 "$(printf '%01280d' 0)"
run eval-loss -q -j 1 --dtype f32 -m m test.tok
ok 'a g_idx of zeros' cmp out loss
q drop $M.g_idx
run eval-loss -q -j 1 --dtype f32 -m m test.tok
ok 'no g_idx' cmp out loss
q copy lm_head.weight $M.bias shape $M.bias F16 64 set $M.bias 0 "$(printf '%0256d' 0)"
run eval-loss -q -j 1 --dtype f32 -m m test.tok
ok 'a bias of zeros where the model has none' cmp out loss
q set $M.bias 0 01
broken "tensor '$M.bias' has no place in a model of type llama" 'a bias where the model has none'
fixture gptq-4-g32
for layer in 0 1; do
    for part in self_attn.q:16 self_attn.k:8 self_attn.v:8 self_attn.o:16 mlp.gate:40 mlp.up:40 mlp.down:40; do # words of zeros
        q set model.layers.$layer.${part%:*}_proj.qzeros 0 "$(printf "%$((8 * ${part#*:}))s" '' | tr ' ' 8)"
    done
done
run eval-loss -q -j 1 --dtype f32 -m m test.tok
ok 'zeros of gptq_v2 under the name of gptq' cmp out loss

# An output layer that is quantized is not the embedding, whatever config.json says.
fixture bnb-nf4-f16
eval-loss -q -j 1 --dtype f32 -m m test.tok >loss
sed -i 's/"tie_word_embeddings": false/"tie_word_embeddings": true/' m/config.json
run eval-loss -j 1 --dtype f32 -m m test.tok
ok 'a quantized lm_head under a tied configuration' cmp out loss
has err 'lm_head.weight differs from the embedding: they are not tied' 'and a warning'

# Configurations.
refused() { # 'section' 'text' 'what'
    config "$1"
    broken "config.json: $2" "$3"
}
fixture gptq-4-g32
rm m/quantize_config.json
refused '{"quant_method": "fp8"}' 'quantization_config.quant_method: found "fp8", expected bitsandbytes, gptq or awq' 'an unknown method'
refused '{"bits": 4}' 'quantization_config.quant_method: missing' 'no method'
refused '4' 'quantization_config: found 4, expected an object' 'no object'
refused '{"quant_method": "gptq", "bits": 5, "group_size": 32}' 'quantization_config.bits: found 5, expected 2, 3, 4 or 8' 'other bits'
refused '{"quant_method": "gptq", "group_size": 32}' 'quantization_config.bits: missing' 'no bits'
refused '{"quant_method": "gptq", "bits": 4}' 'quantization_config.group_size: missing' 'no group'
refused '{"quant_method": "gptq", "bits": 4, "group_size": 0}' 'quantization_config.group_size: found 0' 'a group of nothing'
refused '{"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "marlin"}' 'quantization_config.checkpoint_format: found "marlin", expected gptq or gptq_v2' 'marlin'
refused '{"quant_method": "gptq", "bits": 4, "group_size": 32, "is_marlin_format": true}' 'quantization_config.is_marlin_format: found true' 'marlin by AutoGPTQ'
refused '{"quant_method": "gptq", "bits": 4, "group_size": 32, "format": "gptq_p"}' 'quantization_config.format: found "gptq_p"' 'gptq_p'
refused '{"quant_method": "gptq", "bits": 4, "group_size": 32, "format": "gptq_v2", "checkpoint_format": "gptq"}' \
    'quantization_config.format: found "gptq_v2", expected the same as checkpoint_format' 'two formats'
refused '{"quant_method": "gptq", "bits": 4, "group_size": 32, "pack_dtype": "int64"}' 'quantization_config.pack_dtype: found "int64"' 'wide words'
refused '{"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemv"}' 'quantization_config.version: found "gemv", expected gemm' 'gemv'
refused '{"quant_method": "awq", "bits": 8, "group_size": 32}' 'quantization_config.bits: found 8, expected 4' 'AWQ of 8 bits'
refused '{"load_in_4bit": true, "load_in_8bit": true}' 'quantization_config.load_in_8bit: found true' 'two widths of bitsandbytes'
refused '{"quant_method": "bitsandbytes"}' 'quantization_config.load_in_4bit: missing' 'no width of bitsandbytes'
config '{"quant_method": "gptq", "bits": 4, "group_size": 32}'
printf '{"bits": 4, "group_size": 64}' >m/quantize_config.json
broken 'quantize_config.json: says otherwise than config.json of group_size' 'two files that contradict each other'

# Tensors of GPTQ and AWQ.
M=model.layers.0.self_attn.k_proj
spoiled gptq-4-g32-order "set $M.g_idx 4 02000000" "$M.g_idx': element 1: found group 2, expected 0 .. 1" 'a group outside'
spoiled gptq-4-g32-order "set $M.g_idx 12 ffffffff" "$M.g_idx': element 3: found group -1, expected 0 .. 1" 'a negative group'
spoiled gptq-4-g32-order "shape $M.g_idx I32 63" "$M.g_idx': found I32 [63], expected I32 [64]" 'a short g_idx'
spoiled gptq-4-g32-order "shape $M.qweight I32 8x31" "$M.qweight': found I32 [8, 31], expected I32 [8, 32]" 'wrong words'
spoiled gptq-4-g32-order "shape $M.qzeros I32 2x3" "$M.qzeros': found I32 [2, 3], expected I32 [2, 4]" 'wrong zeros'
spoiled gptq-4-g32-order "shape $M.scales F16 3x32" "$M.scales': found F16 [3, 32], expected F32, F16 or BF16 [2, 32]" 'scales of other groups'
spoiled gptq-4-g32-order "set $M.scales 6 007e" "$M.scales': element 3 is not a finite number" 'a scale that is no number'
spoiled gptq-4-g32-order "drop $M.qzeros" "tensor '$M.qzeros' is missing: the module is quantized (gptq)" 'no zeros'
spoiled gptq-4-g32-order "copy lm_head.weight $M.weight" "'$M.qweight' and '$M.weight': two layouts of one weight" 'words and a matrix'
spoiled gptq-4-g32-order "copy $M.qzeros $M.other" "tensor '$M.other' has no place" 'a tensor too many'
spoiled awq-4-g32 "shape $M.qweight I32 8x64" "$M.qweight': found I32 [8, 64], expected I32 [64, 8]" 'words of GPTQ as AWQ'

# Tensors of bitsandbytes.
STATE=$M.weight.quant_state.bitsandbytes__nf4
spoiled bnb-nf4 "shape $M.weight.absmax U8 18" "$M.weight.absmax': found U8 [18], expected U8 [19]" 'a short absmax'
spoiled bnb-nf4 "shape $M.weight U8 599x1" "$M.weight': found U8 [599, 1], expected U8, F32, F16 or BF16 of 600 bytes" 'too few codes'
spoiled bnb-nf4 "shape $M.weight.quant_map F32 15" "$M.weight.quant_map': found F32 [15], expected F32 [16]" 'a short map'
spoiled bnb-nf4 "shape $M.weight.nested_absmax F32 2" "$M.weight.nested_absmax': found F32 [2], expected F32 [1]" 'scales of scales for other blocks'
spoiled bnb-nf4 "set $M.weight.nested_absmax 0 0000807f" "$M.weight.nested_absmax': element 0 is not a finite number" 'an infinite scale of scales'
spoiled bnb-nf4 "set $M.weight.nested_quant_map 8 0000c07f" "$M.weight.nested_quant_map': element 2 is not a finite number" 'a map that is no number'
spoiled bnb-fp4 "set $M.weight.absmax 4 0000c07f" "$M.weight.absmax': element 1 is not a finite number" 'a NaN absmax'
spoiled bnb-nf4 "copy $STATE $M.weight.quant_state.bitsandbytes__fp4" "two states of one weight" 'two quant_states'
spoiled bnb-nf4 "rename $STATE $M.weight.quant_state.bitsandbytes__fp4" "its JSON says nf4" 'a state under the other name'
spoiled bnb-nf4 "copy lm_head.weight $M.SCB" "'$M.SCB': two layouts of one weight" 'a state and SCB'
state() { # JSON 'text' 'what'
    fixture bnb-nf4
    q text $STATE "$1"
    broken "$STATE': $2" "$3"
}
head='{"quant_type": "nf4", "dtype": "bfloat16", "shape": [20, 60], "blocksize": '
nested='"nested_dtype": "float32", "nested_offset": 0.5, "nested_blocksize":'
state "$head 64, $nested 128}" 'nested_blocksize: found 128, expected a whole number from 256 to 256' 'another nested_blocksize'
state "$head 48, $nested 256}" 'blocksize: found 48, expected a power of two' 'another blocksize'
state "$head 64, \"nested_offset\": 0.5}" 'nested_blocksize: missing' 'half of nesting'
state "$head 64, $nested 256, \"more\": 1}" 'more: found 1, expected no such field' 'an unknown key'
state '{"quant_type": "int4"}' 'quant_type: found "int4", expected nf4 or fp4' 'an unknown type'
state '{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [60, 20]}' 'shape: found [60, 20], expected [20, 60]' 'the shape of another matrix'
state "{" 'not JSON' 'no JSON'
spoiled bnb-int8 "shape $M.SCB F32 19" "$M.SCB': found F32 [19], expected F32 [20]" 'a short SCB'
spoiled bnb-int8 "set $M.SCB 0 0000c0ff" "$M.SCB': element 0 is not a finite number" 'a NaN in SCB'
spoiled bnb-int8 "set $M.weight_format 0 02" "$M.weight_format': found layout 2, expected 0, rows" 'the layout of a GPU'
fixture bnb-int8
q drop $M.weight_format
run eval-loss -q -m m test.tok
is_status 0 'no weight_format'
spoiled bnb-int8 "drop $M.SCB" "$M.weight': found type I8, expected F32, F16 or BF16" 'int8 without SCB'
fixture bnb-nf4-f16
q set $M.weight 0 807f
run ckpt-info -q --verify m
is_status 0 'codes that look like an infinity under the name of BF16'
run lora-train -q -j 1 -m m -o adapter --rank 2 --steps 1 test.tok
is_status 0 'are codes'
finish
