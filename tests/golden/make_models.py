#!/usr/bin/env python3
"""make_models.py DIR: logits, losses and gradients of tiny random models, by transformers and PEFT in f32.

Writes DIR/NAME.safetensors for each entry of MODELS; tests/unit/decoder.c compares the decoder with them. Needs torch,
transformers 5.23, peft 0.21 and safetensors. The weights are not stored: tests/tools/formula.h computes the same from the
tensors' names; they are rounded to the storage type. Each file's metadata holds config.json.
Tensors: ids, targets (-1: not trained), start (bounds of the samples), logits of every row (each sample run alone), loss (sum
over trained targets / their count), grad.TENSOR for every tensor, and with LoRA pairs of rank 2, alpha 5 on every linear
layer: lora.loss, lora.grad.MODULE.lora_A.weight and lora_B.weight. Where rotation depends on the length, decode.logits: the
first sample again, its first 12 tokens at once and the others one by one through the cache (logits from row 11 on).
"""
import json
import os
import sys
import tempfile

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

SMALL = {"hidden_size": 24, "intermediate_size": 25, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
         "vocab_size": 43, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}
MODELS = {
    "llama": ({"model_type": "llama", **SMALL, "rope_theta": 10000.0}, torch.float32),
    "llama-rope-llama3": ({"model_type": "llama", **SMALL, "num_attention_heads": 3, "num_key_value_heads": 1,
                           "tie_word_embeddings": True, "rope_theta": 500.0,
                           "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                            "high_freq_factor": 4.0, "original_max_position_embeddings": 32}}, torch.float32),
    "llama-rope-linear": ({"model_type": "llama", **SMALL, "hidden_size": 20, "num_attention_heads": 4, "head_dim": 6,
                           "tie_word_embeddings": True, "rope_scaling": {"type": "linear", "factor": 4.0}}, torch.float32),
    "llama-rope-dynamic": ({"model_type": "llama", **SMALL, "max_position_embeddings": 16, "tie_word_embeddings": True,
                            "num_attention_heads": 4, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 100.0}}, torch.float32),
    "llama-rope-yarn": ({"model_type": "llama", **SMALL, "hidden_size": 22, "num_attention_heads": 2, "num_key_value_heads": 1,
                         "head_dim": 16, "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 100.0,
                                                             "original_max_position_embeddings": 16}}, torch.float32),
    "llama-biases": ({"model_type": "llama", **SMALL, "hidden_size": 18, "num_attention_heads": 3, "num_key_value_heads": 3,
                      "intermediate_size": 31, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}, torch.float32),
    "mistral-window": ({"model_type": "mistral", **SMALL, "hidden_size": 20, "head_dim": 8, "num_attention_heads": 2,
                        "num_key_value_heads": 1, "sliding_window": 7, "rope_theta": 1000.0}, torch.float32),
    "qwen2-window": ({"model_type": "qwen2", **SMALL, "num_hidden_layers": 3, "hidden_size": 16, "num_attention_heads": 4,
                      "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1, "tie_word_embeddings": True}, torch.float32),
    "qwen2": ({"model_type": "qwen2", **SMALL, "vocab_size": 37, "sliding_window": 4, "rope_theta": 1000000.0}, torch.float32),
    "qwen3": ({"model_type": "qwen3", **SMALL, "hidden_size": 20, "num_attention_heads": 4, "head_dim": 8,
               "tie_word_embeddings": True}, torch.float32),
    "qwen3-window": ({"model_type": "qwen3", **SMALL, "hidden_size": 14, "num_attention_heads": 2, "num_key_value_heads": 1,
                      "head_dim": 10, "attention_bias": True, "use_sliding_window": True, "sliding_window": 5,
                      "layer_types": ["sliding_attention", "full_attention"]}, torch.float32),
    "llama-bf16": ({"model_type": "llama", **SMALL, "dtype": "bfloat16"}, torch.bfloat16),
    "llama-f16": ({"model_type": "llama", **SMALL, "torch_dtype": "float16", "tie_word_embeddings": True}, torch.float16),
}
LENGTHS = [23, 5, 17]


def hashed(name, i):
    """splitmix64(fnv1a64(name) + i) for an array i."""
    h = np.uint64(0xCBF29CE484222325)
    with np.errstate(over="ignore"):
        for byte in name.encode():
            h = (h ^ np.uint64(byte)) * np.uint64(0x100000001B3)
        z = h + i.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def values(name, shape):
    u = (hashed(name, np.arange(int(np.prod(shape)))) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24) - np.float32(0.5)
    centre, width = 0.0, 0.5
    if "norm" in name:
        centre, width = 1.0, 0.25
    elif "lora_" in name or name.endswith(".bias"):
        width = 0.25
    elif "embed_tokens" in name or "lm_head" in name:
        width = 1.0
    return torch.from_numpy((np.float32(centre) + np.float32(width) * u).reshape(shape))


def make_data(name, vocab):
    total = sum(LENGTHS)
    ids = torch.from_numpy((hashed(name + " ids", np.arange(total)) % np.uint64(vocab)).astype(np.int32))
    start = np.cumsum([0] + LENGTHS).astype(np.int64)
    keep = hashed(name + " trained", np.arange(total)) % np.uint64(10) < 7
    targets = torch.full((total,), -1, dtype=torch.int32)
    for a, b in zip(start[:-1], start[1:]):
        targets[a:b - 1] = ids[a + 1:b]
    targets[~torch.from_numpy(keep)] = -1
    return ids, targets, torch.from_numpy(start)


def run(model, base, ids, targets, start):
    """Each sample alone, and from a fresh rotary embedding: dynamic scaling remembers the longest length it has seen."""
    count = int((targets >= 0).sum())
    logits, loss = [], 0.0
    model.zero_grad()
    for a, b in zip(start[:-1], start[1:]):
        base.model.rotary_emb = type(base.model.rotary_emb)(config=base.config)
        z = model(input_ids=ids[None, a:b].long(), use_cache=False).logits[0]
        t = targets[a:b].long()
        part = torch.nn.functional.cross_entropy(z, torch.where(t < 0, -100, t), reduction="sum") / count
        part.backward()
        loss += part.item()
        logits.append(z.detach())
    return torch.cat(logits), torch.tensor([loss], dtype=torch.float64)


@torch.no_grad()
def decode(model, ids, first):
    model.model.rotary_emb = type(model.model.rotary_emb)(config=model.config)
    out = model(input_ids=ids[None, :first].long(), use_cache=True)
    logits = [out.logits[0, -1]]
    for i in range(first, len(ids)):
        out = model(input_ids=ids[None, i:i + 1].long(), past_key_values=out.past_key_values, use_cache=True)
        logits.append(out.logits[0, -1])
    return torch.stack(logits)


def fill(model, stored):
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(values(name, tuple(p.shape)).to(stored).float())


def make(name, config, stored, out):
    with tempfile.TemporaryDirectory() as d:
        with open(os.path.join(d, "config.json"), "w") as f:
            json.dump(config, f)
        parsed = AutoConfig.from_pretrained(d)
    model = AutoModelForCausalLM.from_config(parsed, attn_implementation="eager", dtype=torch.float32).train()
    fill(model, stored)
    ids, targets, start = make_data(name, parsed.vocab_size)
    tensors = {"ids": ids, "targets": targets, "start": start}
    tensors["logits"], tensors["loss"] = run(model, model, ids, targets, start)
    if "dynamic" in name:
        tensors["decode.logits"] = decode(model, ids[:LENGTHS[0]], 12)
    if stored == torch.float32:
        for key, p in model.named_parameters():
            tensors["grad." + key] = p.grad.clone()
    peft = get_peft_model(model, LoraConfig(r=2, lora_alpha=5, target_modules="all-linear", task_type="CAUSAL_LM"))
    trained = {n.removeprefix("base_model.model.").replace(".default", ""): p for n, p in peft.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for key, p in trained.items():
            p.copy_(values(key, tuple(p.shape)))
    _, tensors["lora.loss"] = run(peft, model, ids, targets, start)
    for key, p in trained.items():
        tensors["lora.grad." + key] = p.grad.clone()
    tensors = {k: v.contiguous() for k, v in tensors.items()}
    save_file(tensors, os.path.join(out, name + ".safetensors"), metadata={"config": json.dumps(config)})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for model_name, (model_config, model_stored) in MODELS.items():
        make(model_name, model_config, model_stored, sys.argv[1])
