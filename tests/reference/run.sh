#!/bin/sh
# run.sh MODEL: holds the programs to transformers and PEFT on a real model (a folder such as make-smollm2 writes), by hand: some minutes, and many
# more where PYTHON (python3; it has torch, transformers and peft) also has bitsandbytes and gptqmodel, for what quantize writes (quantized.py).
# BUILD is the build folder, FINETOOLS_DATA the data folder.
set -eu
[ $# = 1 ] || { sed -n 2,4p "$0" >&2; exit 2; }
model=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
BUILD=$(cd "${BUILD:-$root/build}" && pwd)
data=$(cd "${FINETOOLS_DATA:-$root/../shared/data}" && pwd)
export BUILD
PATH=$BUILD/bin:$PATH
python=${PYTHON:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

fmt-chat -q -m "$model" "$data/alpaca_en_demo.json" | tok-encode -q -m "$model" --max-length 256 --overlong truncate -o all.tok
"$python" -c 'import json, sys; json.dump(json.load(open(sys.argv[1]))[:6], open("few.json", "w"))' "$data/huanhuan.json"
fmt-chat -q -m "$model" few.json | tok-encode -q -m "$model" -o few.tok
lora-train -q -m "$model" -o adapter --rank 8 --lr 1e-3 --steps 4 --batch 4 --dtype f32 few.tok

status=0
"$python" "$here/chat_ids.py" "$model" "$data/alpaca_en_demo.json" || status=1
"$python" "$here/adapters.py" "$model" few.tok || status=1
"$python" "$here/merge.py" "$model" adapter few.tok || status=1
"$python" "$here/train.py" "$model" all.tok || status=1
if "$python" -c 'import bitsandbytes, gptqmodel' 2>quantized.log; then
    "$python" "$here/quantized.py" "$model" few.tok few.tok || status=1
else
    echo "skipped: what quantize writes: $(tail -n 1 quantized.log)"
fi
exit $status
