#!/usr/bin/env python3
"""train.py MODEL FILE.tok: twenty LoRA steps by lora-train and by PEFT, from the same adapter on the same samples, in f32.

Losses agree to 1e-4, gradient norms to 1e-3, the change of each factor to 1e-3 of its norm (not each element: Adam makes a step of
full size from a gradient that is nothing but rounding). FILE.tok has 80 samples or more.
"""
import json
import math
import os
import sys
import tempfile

import torch
from common import check, load, loss_sum, ours, samples
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import get_cosine_schedule_with_warmup

STEPS, BATCH, LR, WARMUP, DECAY, CLIP = 20, 4, 1e-3, 4, 0.01, 1.0


def start(path, out):
    torch.manual_seed(0)
    model = get_peft_model(load(path), LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    model.save_pretrained(out)
    return model.train()


def train(model, data):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=DECAY)
    schedule = get_cosine_schedule_with_warmup(optimizer, WARMUP, STEPS)
    for step in range(STEPS):
        batch = data[step * BATCH:(step + 1) * BATCH]
        count, total = sum(int(mask[1:].sum()) for _, mask in batch), 0.0
        for ids, mask in batch:
            part = loss_sum(model, ids, mask) / count
            part.backward()
            total += part.item()
        yield total, torch.nn.utils.clip_grad_norm_(trained, CLIP).item()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


def main(path, tok):
    data, good = samples(tok), True
    with tempfile.TemporaryDirectory() as d:
        model, out = start(path, d + "/start"), d + "/out"
        ours("lora-train", "-m", path, "-o", out, "--adapter", d + "/start", "--dtype", "f32", "--order", "file", "--steps", STEPS,
             "--batch", BATCH, "--lr", LR, "--schedule", "cosine", "--warmup", WARMUP, "--weight-decay", DECAY, "--clip", CLIP, tok)
        log = [r for r in map(json.loads, open(out + "/log.jsonl")) if r["type"] == "step"]
        for record, (loss, norm) in zip(log, train(model, data), strict=True):
            good &= check(f"step {record['step']}: loss", record["loss"], loss, 1e-4)
            good &= check(f"step {record['step']}: gradient norm", record["grad_norm"], norm, 1e-3)
        model.save_pretrained(d + "/end")
        got, want, first = (load_file(os.path.join(x, "adapter_model.safetensors")) for x in (out, d + "/end", d + "/start"))
        assert set(got) == set(want)
        worst = max(((got[n] - want[n]).norm() / (want[n] - first[n]).norm()).item() for n in want)
        good &= worst <= 1e-3 and math.isfinite(worst)
        print(f"{'ok' if worst <= 1e-3 else 'NOT OK'}: final factors: largest difference {worst:.2g}")
    return 0 if good else 1


if len(sys.argv) != 3:
    sys.exit(__doc__)
sys.exit(main(*sys.argv[1:]))
