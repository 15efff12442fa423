#!/usr/bin/env python3
"""make_training.py DIR [ALPACA.json]: twenty training steps of tiny models by torch, transformers and PEFT in f32.

Writes DIR/NAME.safetensors for each entry of CASES; tests/unit/train_golden.c runs the same with our training loop. Needs
torch, transformers 5.23, peft 0.21 and safetensors. Weights are not stored: they, and the first LoRA factors A (B is 0), follow
tests/golden/make_models.py's formula. The text is TEXT below, or, for the cases named *-alpaca, the first 40 usable samples of
ALPACA.json ({"instruction", "output"}): bytes of "instruction\\noutput", cut at 96, trained after the instruction; of these
files only losses and norms are kept, the test reads the text itself. Ids are bytes.

Metadata: config, and settings as JSON. Tensors: ids, mask, start (bounds of the samples), loss, grad_norm, lr (one a step),
final.TENSOR.
"""
import json
import os
import re
import sys
import tempfile

import numpy as np
import torch
from make_models import fill, values
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, get_cosine_schedule_with_warmup

CONFIG = {"model_type": "qwen2", "hidden_size": 24, "intermediate_size": 36, "num_hidden_layers": 2, "num_attention_heads": 4,
          "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "tie_word_embeddings": True}
LORA = {"rank": 4, "alpha": 8.0, "bias": "none", "lr": 2e-2, "warmup": 4, "steps": 20, "batch": 4, "weight_decay": 0.01, "clip": 1.0}
FULL = {"lr": 5e-3, "warmup": 0.1, "steps": 20, "batch": 4, "weight_decay": 0.01, "clip": 1.0}
CASES = {"lora": LORA, "lora-bias": {**LORA, "bias": "all"}, "full": FULL, "lora-alpaca": LORA, "full-alpaca": FULL}

TEXT = [
    ("What falls in winter?", "Snow falls."), ("Who keeps bees?", "The woman by the old mill keeps bees."),
    ("Count.", "One, two, three, four."), ("Where does the river end?", "In the sea."),
    ("Name a colour.", "Green, like moss under the trees."), ("What does the clock say?", "A quarter to nine."),
    ("Is bread made of stone?", "No."), ("What is behind the hill?", "Another hill, and then the town."),
    ("Finish: the cat", "sat down and washed."), ("Who rang?", "Nobody; it was the wind in the bell."),
]


def own_samples():
    return [(f"{q}\n{a}".encode(), len(q) + 1) for q, a in TEXT]


def alpaca_samples(path):
    out = []
    for record in json.load(open(path, encoding="utf-8")):
        prompt = record["instruction"].encode() + b"\n"
        text = (prompt + record["output"].encode())[:96]
        if len(prompt) + 4 <= len(text):
            out.append((text, len(prompt)))
        if len(out) == 40:
            break
    return out


def decays(name):
    return not re.search(r"bias|layernorm|rmsnorm|(^|\.)norm($|\.)|_norm($|\.)", name, re.I)


def with_lora(model, settings):
    peft = get_peft_model(model, LoraConfig(r=settings["rank"], lora_alpha=settings["alpha"], target_modules="all-linear",
                                            bias=settings["bias"], task_type="CAUSAL_LM"))
    trained = {n.replace(".default", ""): p for n, p in peft.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name, p in trained.items():
            if "lora_A" in name:
                p.copy_(values(name, tuple(p.shape)))
    return peft, trained


def build(settings):
    with tempfile.TemporaryDirectory() as d:
        with open(os.path.join(d, "config.json"), "w") as f:
            json.dump(CONFIG, f)
        parsed = AutoConfig.from_pretrained(d)
    model = AutoModelForCausalLM.from_config(parsed, attn_implementation="eager", dtype=torch.float32).train()
    fill(model, torch.float32)
    if "rank" not in settings:
        return model, dict(model.named_parameters())
    return with_lora(model, settings)


def train(settings, samples, make_model=build):
    model, trained = make_model(settings)
    groups = [{"params": [p for n, p in trained.items() if decays(n)], "weight_decay": settings["weight_decay"]},
              {"params": [p for n, p in trained.items() if not decays(n)], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings["lr"], betas=(0.9, 0.999), eps=1e-8)
    warmup = settings["warmup"] if settings["warmup"] >= 1 else int(np.ceil(settings["steps"] * settings["warmup"]))
    scheduler = get_cosine_schedule_with_warmup(optimizer, warmup, settings["steps"])
    losses, norms, rates, at = [], [], [], 0
    for _ in range(settings["steps"]):
        batch = samples[at:at + settings["batch"]]
        at = (at + len(batch)) % len(samples)
        count = sum(len(text) - first for text, first in batch)
        total = 0.0
        for text, first in batch:
            ids = torch.tensor([list(text)])
            labels = ids[0, 1:].clone()
            labels[:first - 1] = -100
            z = model(input_ids=ids, use_cache=False).logits[0, :-1]
            part = torch.nn.functional.cross_entropy(z, labels, reduction="sum") / count
            part.backward()
            total += part.item()
        losses.append(total)
        norms.append(torch.nn.utils.clip_grad_norm_(list(trained.values()), settings["clip"]).item())
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return losses, norms, rates, {n: p.detach().clone() for n, p in trained.items()}


def write(path, settings, samples, config=CONFIG, make_model=build, own=True, more=None):
    """own: the text and the trained tensors are kept, too."""
    losses, norms, rates, final = train(settings, samples, make_model)
    tensors = {"loss": torch.tensor(losses, dtype=torch.float64), "grad_norm": torch.tensor(norms, dtype=torch.float64),
               "lr": torch.tensor(rates, dtype=torch.float64)}
    if own:
        tensors["ids"] = torch.tensor([b for text, _ in samples for b in text], dtype=torch.int32)
        tensors["mask"] = torch.tensor([int(i >= first) for text, first in samples for i in range(len(text))], dtype=torch.uint8)
        tensors["start"] = torch.tensor(np.cumsum([0] + [len(text) for text, _ in samples]))
        tensors |= {"final." + n: t.contiguous() for n, t in final.items()}
    save_file(tensors | (more or {}), path, metadata={"config": json.dumps(config), "settings": json.dumps(settings)})


def make(name, out, alpaca):
    real = name.endswith("-alpaca")
    if not real or alpaca:
        write(os.path.join(out, name + ".safetensors"), CASES[name], alpaca_samples(alpaca) if real else own_samples(), own=not real)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for case in CASES:
        make(case, sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else None)
