#!/usr/bin/env python3
"""make_qlora.py DIR: ten steps of LoRA over NF4 weights by PEFT and bitsandbytes on the CPU, computing in f32.

Writes DIR/qlora.safetensors as make_training.py writes its files (read that first; it has the text, the formula of the weights and the
loop), with 10 steps and, as base.TENSOR, the folder's tensors as bitsandbytes stores them: every linear of the layers in NF4, blocks of 64,
some of whose last are short. Needs torch, transformers 5.23, peft 0.21, bitsandbytes 0.50 and safetensors.
"""
import os
import sys

import bitsandbytes as bnb
import torch
from make_models import fill
from make_training import CONFIG, LORA, own_samples, with_lora, write
from transformers import AutoConfig, AutoModelForCausalLM

SETTINGS = {**LORA, "steps": 10}
QUANTIZED = {**CONFIG, "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False,
                                               "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "float32",
                                               "bnb_4bit_use_double_quant": False, "bnb_4bit_quant_storage": "uint8"}}


def quantized_model():
    """The model of make_training.py whose layers hold bitsandbytes' modules."""
    options = {k: v for k, v in CONFIG.items() if k != "model_type"}
    config = AutoConfig.for_model(CONFIG["model_type"], **options)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    fill(model, torch.float32)
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            new = bnb.nn.Linear4bit(module.in_features, module.out_features, bias=module.bias is not None, compute_dtype=torch.float32,
                                    quant_type="nf4", compress_statistics=False)
            new.load_state_dict(module.state_dict())
            model.set_submodule(name, new.to("cpu"))
    return model


def stored(model):
    return {"base." + n: t.detach().clone().contiguous() for n, t in model.state_dict().items() if n != "lm_head.weight"}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    write(os.path.join(sys.argv[1], "qlora.safetensors"), SETTINGS, own_samples(), QUANTIZED, lambda settings: with_lora(quantized_model().train(), settings),
          more=stored(quantized_model()))
