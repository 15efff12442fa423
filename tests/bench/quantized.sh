# quantized.sh: the rows of bench.sh about quantized models; bench.sh reads it in. Leaves nf4, gptq and alpaca.jsonl for the peers.
#   FINETOOLS_DATA   its Alpaca records are trained on where the model has a tokenizer; else what bench.sh made up

# In memory, 9.4 M weights: to NF4 from f32, back to bf16.
"$BUILD/tests/bench/kernels" nf4 >coded
coded() { awk -v name="$1" -v bytes="$2" 'index($0, name) == 1 { for (i = 1; i < NF; i++) if ($i == "ms") print $(i + 1) / bytes }' coded; }
result "quantize NF4, weights" "$(coded 'quantize nf4' 4)" G/s
result "dequantize NF4, weights" "$(coded 'dequantize nf4' 2)" G/s

# Start to finish, with its files. --method rtn writes GPTQ's.
for i in 1 2 3; do rm -rf nf4; seconds quantize -q -m "$MODEL" -o nf4 --method nf4 --summary quantize.json; done | median >quantized
result "quantize --method nf4" "$(cat quantized)" s "$(value peak_memory quantize.json)"
rm -rf gptq
quantize -q -m "$MODEL" -o gptq --method rtn --bits 4 --group 128

for n in nf4 gptq; do
	for i in 1 2 3; do
		gen -q -m $n --raw --batch one.jsonl --max-tokens 48 --summary gen.json -f -o answers.jsonl
		value new_tokens_per_second gen.json
	done | median >decode.$n
	result "decode, $n" "$(cat decode.$n)" tokens/s "$(value peak_memory gen.json)"
done

alpaca=${FINETOOLS_DATA:-$ROOT/../shared/data}/alpaca_en_demo.json
if [ -f "$alpaca" ] && [ -f "$MODEL/tokenizer.json" ]; then
	fmt-chat -q -m "$MODEL" "$alpaca" 2>/dev/null | tok-encode -q -m "$MODEL" --max-length 512 --overlong truncate -f -o alpaca.tok
	tok-decode -q --json alpaca.tok >alpaca.jsonl
else
	cp ragged.tok alpaca.tok
	cp ragged.jsonl alpaca.jsonl
fi
training "lora-train, Alpaca" alpaca.tok lora-train --steps 5 --batch 8 --order file
bf16=$rate
base=nf4
training "lora-train, Alpaca, NF4" alpaca.tok lora-train --steps 5 --batch 8 --order file --optimizer adamw8bit
base=$MODEL
result "lora-train, NF4 : bf16" "$(awk "BEGIN { print $rate / $bf16 }")" times
rm -rf trained
