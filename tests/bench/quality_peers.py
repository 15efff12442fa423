#!/usr/bin/env python3
"""quality_peers.py MODEL CALIBRATION.jsonl OUT: MODEL quantized by the peers that are installed, into OUT/NAME/.

bitsandbytes (through transformers): int8, nf4, nf4-double, fp4. GPTQModel with its defaults: gptq-4-g128, calibrated on the samples of
CALIBRATION (tok-decode --json). quality.sh then measures the folders. What cannot be made is told on stderr.
"""
import json
import os
import shutil
import sys

import torch

os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # it fails with its own default on few CPUs
model, calibration, out = sys.argv[1:4]
BITSANDBYTES = {
    "int8": {"load_in_8bit": True},
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "nf4-double": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
}


def bitsandbytes(name, to):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    m = AutoModelForCausalLM.from_pretrained(model, quantization_config=BitsAndBytesConfig(**BITSANDBYTES[name]), device_map="cpu", dtype=torch.bfloat16)
    m.save_pretrained(to)


def gptqmodel(to):
    from gptqmodel import GPTQModel, QuantizeConfig
    # In f32: on a CPU that takes it half the time of bf16, and loses nothing.
    m = GPTQModel.load(model, QuantizeConfig(bits=4, group_size=128, offload_to_disk=False, device="cpu"), dtype=torch.float32)
    with open(calibration) as f:
        ids = [json.loads(line)["ids"] for line in f]
    m.quantize([{"input_ids": x, "attention_mask": [1] * len(x)} for x in ids], batch_size=1)
    m.save(to)


for name in [*BITSANDBYTES, "gptq-4-g128"]:
    to = os.path.join(out, name)
    if os.path.exists(to):
        continue
    try:
        gptqmodel(to + ".part") if name == "gptq-4-g128" else bitsandbytes(name, to + ".part")
    except Exception as e:  # a peer that is missing or fails is a row less
        print(f"quality_peers.py: {name}: {e}", file=sys.stderr)
        continue
    for extra in ("tokenizer.json", "tokenizer_config.json"):  # a peer's own copy is written otherwise
        if os.path.exists(os.path.join(model, extra)):
            shutil.copy(os.path.join(model, extra), to + ".part")
    os.rename(to + ".part", to)
