#!/bin/sh
# quantize: bytes of bitsandbytes, what readers are told, every option, runs that are killed and go on, what is refused.
. "${0%/*}/lib.sh"
. "$ROOT/tests/cli/train.sh"
has_tool quantize || skip_all 'no quantize'
golden=$ROOT/tests/golden/quantized

names() { # of the tensors of a file
    header=$(od -A n -t u8 -N 8 "$1" | tr -d ' ')
    head -c $((header + 8)) "$1" | tail -c +9 | grep -oE '"[^"]+":\{"dtype"' | sed 's/":{"dtype"//; s/^"//'
}

# Every tensor of the second file but those whose names match $3 is in the first, with the same bytes.
same_tensors() {
    for name in $(names "$2" | grep -vE "${3:-^$}"); do
        tensor "$1" "$name" >one.bin && tensor "$2" "$name" >two.bin && cmp one.bin two.bin || { echo "$name"; return 1; }
    done
    [ -s one.bin ]
}

section() { # quantization_config of a folder, on one line
    sed -n '/"quantization_config"/,/^  }/p' "$1/config.json" | tr -d ' \n' | sed 's/^"quantization_config"://; s/,$//'
}

same_folder() {
    diff -r -x run.json -x .lock "$1" "$2"
}

# ---- bitsandbytes' own bytes ----
sizes='--layers 2 --hidden 60 --heads 6 --kv-heads 2 --head-dim 10 --ffn 300 --vocab 43'
make-model -q $sizes -t bf16 -o odd
make-model -q $sizes -t f32 --tied --bias -o odd-f32
for file in bnb-nf4 bnb-int8 bnb-fp4; do
    [ -f "$golden/$file/model.safetensors" ] || skip_all 'no goldens'
done
quantize -q -m odd -o nf4 --method nf4 --double-quant
ok 'NF4 with nested blocks: every tensor is that of bitsandbytes' same_tensors nf4/model.safetensors "$golden/bnb-nf4/model.safetensors"
is "$(names nf4/model.safetensors | sort)" "$(names "$golden/bnb-nf4/model.safetensors" | sort)" 'there is no other'
is "$(section nf4)" "$(section "$golden/bnb-nf4")" 'quantization_config is that of transformers'
quantize -q -m odd -o int8 --method int8
ok 'int8: every tensor is that of bitsandbytes' same_tensors int8/model.safetensors "$golden/bnb-int8/model.safetensors"
is "$(section int8)" "$(section "$golden/bnb-int8")" 'and its section'
quantize -q -m odd-f32 -o fp4 --method fp4
ok 'FP4: every tensor is that of bitsandbytes' same_tensors fp4/model.safetensors "$golden/bnb-fp4/model.safetensors" '\.bias$'
is "$(section fp4)" "$(section "$golden/bnb-fp4")" 'and its section'
quantize -q -m odd -o limit --method int8 --threshold 3.5
has limit/config.json '"llm_int8_threshold": 3.5' '--threshold goes into config.json'

# ---- words of GPTQ ----
make-model -q --layers 2 --hidden 64 --heads 4 --kv-heads 2 --head-dim 16 --ffn 160 -t bf16 -o model
quantize -q -m model -o rtn --method rtn --group 32
is "$(tensor rtn/model.safetensors model.layers.0.self_attn.q_proj.qzeros | od -A n -v -t x4 | tr -s ' \n' '\n' | sort -u | tr -d '\n')" 77777777 \
    'rtn: symmetric zeros are stored less one'
is "$(tensor rtn/model.safetensors model.layers.1.mlp.down_proj.g_idx | od -A n -v -t d4 -w4 | tr -d ' ' | uniq -c | tr -s ' \n' ' ')" ' 32 0 32 1 32 2 32 3 32 4 ' \
    'every input has its group'
is "$(section rtn)" '{"bits":4,"checkpoint_format":"gptq","desc_act":false,"format":"gptq","group_size":32,"lm_head":false,"meta":{"quantizer":["finetools:0.1.0"]},"method":"gptq","pack_dtype":"int32","quant_method":"gptq","sym":true}' \
    'config.json has the keys of GPTQModel, sorted'
is "$(tr -d ' \n' <rtn/quantize_config.json)" '{"bits":4,"group_size":32,"desc_act":false,"lm_head":false,"method":"gptq","quant_method":"gptq","format":"gptq","checkpoint_format":"gptq","pack_dtype":"int32","meta":{"quantizer":["finetools:0.1.0"]},"sym":true}' \
    'quantize_config.json has them in its order'
quantize -q -m model -o asym --method rtn --group 32 --asym --bits 8
has asym/quantize_config.json '"format": "gptq_v2"' '--asym: zeros are stored as they are'
has asym/quantize_config.json '"sym": false' 'and are said not to be symmetric'
for bits in 2 3 4 8; do
    quantize -q -m model -o "rtn-$bits" --method rtn --bits $bits --group 0 --summary s.json
    has "rtn-$bits/quantize_config.json" '"group_size": -1' "$bits bits, one group"
    sed -n 's/.*"mean_weight_error": \([0-9.e-]*\).*/\1/p' s.json >>errors
done
is "$(wc -l <errors)" 4 'their errors'
ok 'more bits, less error' sort -g -r -c errors

# ---- what readers make of it ----
make-tokens -q -m model --samples 12 --max 40 -o text.tok
loss() {
    eval-loss -q -m "$1" text.tok | sed 's/.*"loss": *\([0-9.]*\).*/\1/'
}
plain=$(loss model)
for folder in asym rtn; do
    ok "eval-loss reads $folder, and its loss is close" near "$(loss $folder)" "$plain" 0.02
done
quantize -q -m model -o model-nf4 --method nf4 --block 32
ok 'and of NF4' near "$(loss model-nf4)" "$plain" 0.02

# ---- methods that calibrate ----
make-tokens -q -m model --samples 20 --max 40 --seed 3 -o calibrate.tok
for method in gptq awq; do
    quantize -q -m model -o $method --method $method --group 32 --calibrate calibrate.tok --report >out
    ok "eval-loss reads $method" near "$(loss $method)" "$plain" 0.02
    is "$(awk '/^model/ && $6 != "-" && $6 < 0.5 { n++ } END { print n }' out)" 14 "$method: every module has its error over the calibration's inputs"
    quantize -q -j 1 -m model -o $method-one --method $method --group 32 --calibrate calibrate.tok
    quantize -q -j 3 -m model -o $method-three --method $method --group 32 --calibrate calibrate.tok
    ok 'threads change no byte' same_folder $method-one $method-three
    ok 'of any file' same_folder $method-one $method
    run quantize -n -m model --method $method --group 32 --calibrate calibrate.tok
    has out 'calibration' '--plan counts the calibration'
    has out 'time, about' 'and its time'
    run quantize -q -m model -o $method --method $method --group 32 --calibrate text.tok
    is_status 1 'other data'
    has err 'calibration: ' 'are another run'
done
is "$(section awq)" '{"bits":4,"group_size":32,"modules_to_not_convert":null,"quant_method":"awq","version":"gemm","zero_point":true}' 'AWQ: the keys of AutoAWQ'
has gptq/quantize_config.json '"damp_percent": 0.05' 'GPTQ: what it did'
quantize -q -m model -o order --method gptq --group 32 --act-order --damp 0.1 --no-true-sequential --calibrate calibrate.tok
has order/quantize_config.json '"desc_act": true' '--act-order'
has order/quantize_config.json '"damp_percent": 0.1' '--damp'
has order/quantize_config.json '"true_sequential": false' '--no-true-sequential'
not_ok 'the groups are not in order' sh -c "cmp order/model.safetensors gptq/model.safetensors"
quantize -q -m model -o awq-skip --method awq --group 32 --calibrate calibrate.tok --skip '.*o_proj'
is "$(section awq-skip | sed 's/.*"modules_to_not_convert":\([^]]*]\).*/\1/')" '["model.layers.0.self_attn.o_proj","model.layers.1.self_attn.o_proj"]' \
    'AWQ: --skip'
is "$(section awq-skip | sed 's/.*"dynamic":\({[^}]*}}\).*/\1/')" '{"-:^(?:.*o_proj)$":{}}' 'GPTQModel is told by `dynamic`'
quantize -q -m model -o awq-plain --method awq --group 32 --no-scale --no-clip --calibrate calibrate.tok
ok '--no-scale leaves the norms as they are' sh -c ". '$ROOT/tests/cli/train.sh'; tensor model/model.safetensors model.layers.0.input_layernorm.weight >a;
    tensor awq-plain/model.safetensors model.layers.0.input_layernorm.weight | cmp - a"

# ---- options ----
quantize -q -j 1 -m odd -o one --method nf4 --double-quant
quantize -q -j 4 -m odd -o four --method nf4 --double-quant
ok 'threads change no byte' same_folder one four
ok 'of any file' same_folder one nf4
quantize -q -j 1 -m model -o one-rtn --method rtn --group 32
ok 'nor of words' same_folder one-rtn rtn
run quantize -m odd -o said --method nf4 --block 128
is_status 0 'a run'
is "$(cat out)" '' 'says nothing on stdout'
has err '14 modules of 2 layers at' 'and at its end what was made'
is "$(wc -l <err)" 2 'in two lines'
has said/log.jsonl '"module":"model.layers.1.mlp.down_proj","method":"nf4","weights":18000' 'log.jsonl tells of every module'
is "$(wc -l <said/log.jsonl)" 14 'one line each'
ok 'work files are gone' test ! -e said/layers
run quantize -m odd -o said --method nf4 --block 128
is_status 0 'the same command again'
has err 'already complete' 'has nothing to do'
run quantize -m odd -o said --method nf4 --block 128 --report --summary s.json
has out 'model.layers.0.self_attn.o_proj nf4' '--report of what is complete'
has out 'the whole model:' 'with totals'
has s.json '"modules": 14' '--summary counts'
has s.json '"weight_error"' 'and holds the report'
is "$(grep -c ' nf4 ' out)" 14 'a line for every module'
run quantize -m odd -o said --method nf4 --block 64
is_status 1 'with another option'
has err 'block: 128, now 64; --restart begins anew' 'the difference is told'
ok '--restart' quantize -q -m odd -o said --method nf4 --double-quant --restart
ok 'begins anew' same_folder said nf4
ok '--force' quantize -q -m odd -o said --method nf4 --block 128 -f
has said/run.json '"block": 128' 'as well'
quantize -q -m odd -o shards --method nf4 --double-quant --max-shard 20k
ok '--max-shard makes shards' test -f shards/model.safetensors.index.json
ok 'that hold the same' sh -c "ls shards/model-*-of-*.safetensors | wc -l | grep -qv '^1$'"
ckpt-info --verify nf4 >out 2>err
is $? 0 'ckpt-info --verify finds every file as it was written'

quantize -q -m odd -o skip --method nf4 --skip '.*\.(v_proj|down_proj)'
ok '--skip leaves the matrix as it is' sh -c "
    head -c 20000 skip/model.safetensors | grep -aq 'layers.1.mlp.down_proj.weight\":{\"dtype\":\"BF16\",\"shape\":\[60,300\]'"
is "$(section skip | sed 's/.*"llm_int8_skip_modules":\([^]]*]\).*/\1/')" \
    '["model.layers.0.self_attn.v_proj","model.layers.0.mlp.down_proj","model.layers.1.self_attn.v_proj","model.layers.1.mlp.down_proj","lm_head"]' \
    'and config.json names it, and lm_head'
has skip/log.jsonl '"module":"model.layers.0.mlp.down_proj","method":"none"' 'so does the log'
quantize -q -m model -o skip-words --method rtn --group 32 --skip '.*v_proj'
has skip-words/quantize_config.json '"-:^(?:.*v_proj)$": {}' 'GPTQModel is told by `dynamic`'
is "$(section skip-words | sed 's/.*"modules_in_block_to_quantize":\(.*\]\]\).*/\1/')" \
    '[["self_attn.q_proj","self_attn.k_proj","self_attn.o_proj","mlp.gate_proj","mlp.up_proj","mlp.down_proj"]]' 'transformers by what is quantized'

run quantize -n -m odd --method nf4
is_status 0 '--plan'
has out 'peak, about' 'tells memory'
has out 'the result' 'disk'
has out 'time, about' 'and time'
LD_PRELOAD=$BUILD/tests/faults/inject.so FAULT_FREE=5000 quantize -n -m odd --method nf4 >out 2>err
is $? 1 'status 1 where the disk is too small'
run quantize -n -m odd --method nf4 --memory 1M
is_status 1 'or the memory'

# ---- killed, stopped, damaged ----
make-model -q --layers 5 --hidden 64 --heads 4 --kv-heads 2 --head-dim 16 --ffn 160 -t bf16 -o deep
killed_at() { # CALL COMMAND...: by SIGKILL at the first, second ... call, started again each time, until it ends
    call=$1 at=1
    shift
    rm -rf out.d
    while [ $at -lt 60 ]; do
        LD_PRELOAD=$BUILD/tests/faults/inject.so FAULT_CALL=$call FAULT_MATCH=out.d FAULT_AT=$at FAULT_KILL=1 "$@" -q -o out.d 2>killed.err && break
        [ $? = 137 ] || { cat killed.err; return 1; }
        at=$((at + 1))
    done
    [ $at -gt 4 ] && [ ! -e out.d/layers ] && [ -z "$(find out.d -name '*.tmp*')" ]
}
quantize -q -m deep -o whole --method nf4 --double-quant
ok 'killed at every renaming, it goes on' killed_at rename quantize -m deep --method nf4 --double-quant
ok 'and ends with the same bytes' same_folder whole out.d
ok 'killed at every opening of a file' killed_at open quantize -m deep --method nf4 --double-quant
ok 'with the same bytes' same_folder whole out.d
rm -rf out.d
LD_PRELOAD=$BUILD/tests/faults/inject.so FAULT_CALL=rename FAULT_MATCH=layer-00003 FAULT_AT=1 quantize -m deep --method nf4 --double-quant -o out.d 2>err
is $? 1 'a layer that cannot be written: status 1'
ok 'what is finished stays' test -f out.d/layers/layer-00002.safetensors
ok 'and no model is there' test ! -e out.d/config.json -a ! -e out.d/model.safetensors
flip out.d/layers/layer-00001.safetensors 3000 2
run quantize -m deep --method nf4 --double-quant -o out.d
is_status 0 'the same command goes on'
has err 'made again: out.d/layers/layer-00001.safetensors' 'makes a damaged layer again'
has err 'goes on at layer 1' 'and says where it goes on'
ok 'with the same bytes' same_folder whole out.d
make-tokens -q -m deep --samples 6 --max 30 -o deep.tok
quantize -q -m deep -o whole-gptq --method gptq --group 32 --calibrate deep.tok
ok 'GPTQ killed at every renaming goes on' killed_at rename quantize -m deep --method gptq --group 32 --calibrate deep.tok
ok 'and ends with the same bytes' same_folder whole-gptq out.d
quantize -q -m deep -o whole-awq --method awq --group 32 --calibrate deep.tok
ok 'AWQ killed at every renaming goes on' killed_at rename quantize -m deep --method awq --group 32 --calibrate deep.tok
ok 'and ends with the same bytes' same_folder whole-awq out.d
rm -rf out.d
stopped() { # SIGNAL: a run that gets it before its second layer
    rm -rf out.d fifo
    quantize -m deep --method nf4 --double-quant -o out.d 2>err &
    pid=$!
    while kill -0 $pid 2>/dev/null && [ ! -e out.d/run.json ]; do :; done
    kill -"$1" $pid
    wait $pid
}
tries=0 stopped=
while [ $tries -lt 20 ] && [ -z "$stopped" ]; do
    stopped TERM
    [ $? = 75 ] && stopped=yes
    tries=$((tries + 1))
done
is "$stopped" yes 'SIGTERM: status 75'
has err 'the same command goes on from there' 'says what to do'
quantize -q -m deep --method nf4 --double-quant -o out.d
ok 'and it does' same_folder whole out.d
rm -rf out.d

# ---- refused ----
command='quantize -q -o out.d'
usage 'expected -m DIR' 'no method' $command -m odd
usage 'int8|nf4' 'an unknown method' $command -m odd --method q4
usage '--bits 5' 'five bits' $command -m model --method rtn --bits 5
usage '--method nf4 has 4' 'NF4 in 8 bits' $command -m odd --method nf4 --bits 8
usage '--group is none of --method nf4' 'groups of NF4' $command -m odd --method nf4 --group 64
usage '--block is none of --method rtn' 'blocks of words' $command -m model --method rtn --block 64
usage '--double-quant is none of' 'nested blocks of int8' $command -m odd --method int8 --double-quant
usage '--threshold is none of' 'a threshold of NF4' $command -m odd --method nf4 --threshold 3
usage '--asym is none of' 'zero points of NF4' $command -m odd --method nf4 --asym
usage 'expected a power of two' 'blocks of 100' $command -m odd --method nf4 --block 100
usage '--calibrate is none of' 'data for NF4' $command -m odd --method nf4 --calibrate text.tok
usage 'needs --calibrate' 'GPTQ without data' $command -m model --method gptq
usage '--act-order is none of' 'an order of NF4' $command -m odd --method nf4 --act-order
usage '--damp is none of' 'damping of NF4' $command -m odd --method nf4 --damp 0.1
usage '--no-true-sequential is none of' 'an order of rtn' $command -m model --method rtn --no-true-sequential
usage '--no-scale is none of' 'no scales of NF4' $command -m odd --method nf4 --no-scale
usage '--no-clip is none of' 'no ranges of rtn' $command -m model --method rtn --no-clip
usage 'needs --calibrate' 'AWQ without data' $command -m model --method awq
refused 'are no multiple of the group of 48' 'a group of AWQ that does not come out even' $command -m model --method awq --group 48 --calibrate text.tok
refused 'no-such.tok' 'no data' $command -m model --method gptq --calibrate no-such.tok
make-model -q --layers 1 --hidden 64 --heads 4 --kv-heads 2 --head-dim 16 --ffn 160 --salt y -o other
refused "model.layers.0.self_attn.q_proj: 60 inputs do not fill whole words: 4 bits want a multiple of 8" 'a width that no words hold' $command -m odd --method rtn
refused 'matches no module' 'a pattern that matches nothing' $command -m odd --method nf4 --skip 'down_proj'
refused 'nothing is left' 'a pattern that matches all' $command -m odd --method nf4 --skip '.*'
refused '--skip' 'a pattern that is none' $command -m odd --method nf4 --skip '('
refused 'is quantized already' 'a model that is quantized' $command -m nf4 --method nf4
refused 'no-such' 'no model' $command -m no-such --method nf4
for tensor in model.layers.1.mlp.up_proj.weight model.norm.weight model.layers.0.input_layernorm.weight model.embed_tokens.weight; do
    make-model -q $sizes -t bf16 --nan $tensor -o nan
    run $command -m nan --method nf4
    is_status 1 "a NaN in $tensor"
    has err "tensor '$tensor': element" 'is named'
    ok 'and there is no model' test ! -e out.d/config.json -a ! -e out.d/model.safetensors
    rm -rf nan out.d
done
cp -r odd infinite && unchecked infinite/model.safetensors && poke infinite/model.safetensors model.layers.0.mlp.up_proj.weight '\200\177'
refused "tensor 'model.layers.0.mlp.up_proj.weight': element 0 is not a finite number" 'an infinity' $command -m infinite --method int8
cp -r odd damaged && flip damaged/model.safetensors $(($(wc -c <damaged/model.safetensors) - 9000)) 1
run $command -m damaged --method nf4
is_status 1 'a damaged model'
has err 'is damaged: its checksum differs' 'is not quantized'
rm -rf out.d
mkdir foreign && echo x >foreign/x
run quantize -q -m odd -o foreign --method nf4
is_status 1 'a folder that is no run'
has err 'is not a run of ours' 'is refused'
is "$(ls foreign)" x 'and left alone'
run quantize -q -m odd -o odd --method nf4
is_status 1 'the model itself as output'
cp -r odd zeros && unchecked zeros/model.safetensors && tensor zeros/model.safetensors model.layers.0.self_attn.k_proj.weight | tr '\001-\377' '\000' >zero.bin
where=$(place zeros/model.safetensors model.layers.0.self_attn.k_proj.weight)
dd if=zero.bin of=zeros/model.safetensors bs=1 seek="${where% *}" conv=notrunc status=none
for method in nf4 fp4 int8; do
    ok "a matrix of zeros: $method" quantize -q -m zeros -o "zeros-$method" --method $method
    is "$(sed -n 's/.*k_proj.*"weight_error":\([^,}]*\).*/\1/p' "zeros-$method/log.jsonl" | head -1)" 0.0 'has no error'
done
finish
