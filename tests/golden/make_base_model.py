#!/usr/bin/env python3
"""make_base_model.py: what transformers (float32) makes of the embedded base model, pipelines/base-model/model.

Writes base-model.safetensors beside this script: ids of TEXT, the logits after each of them, the loss of the text.
Asks also that transformers and this tree agree on the tokens: the text is kept in the metadata."""
import os

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "..", "..", "pipelines", "base-model", "model")
TEXT = "The capital of France is Paris. The opposite of deep is shallow."

tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
with torch.no_grad():
    out = model(ids, labels=ids)
save_file({"ids": ids[0].to(torch.int32), "logits": out.logits[0], "loss": out.loss.double()},
          os.path.join(HERE, "base-model.safetensors"), {"text": TEXT})
