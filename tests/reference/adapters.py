#!/usr/bin/env python3
"""adapters.py MODEL FILE.tok: adapters that PEFT saved give PEFT's loss in eval-loss, and what is not supported is refused.

Every adapter gets random factors of a size that moves the loss.
"""
import subprocess
import sys
import tempfile

import torch
from common import BIN, check, load, loss, our_loss, samples
from peft import LoraConfig, get_peft_model

COMMON = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"}
CASES = {
    "default targets": {},
    "rsLoRA": {"use_rslora": True, "target_modules": ["q_proj", "down_proj"]},
    "patterns": {"target_modules": ["q_proj", "v_proj", "o_proj"], "rank_pattern": {"q_proj": 16, r"layers\.1\d\.self_attn\.v_proj": 2},
                 "alpha_pattern": {"v_proj": 2, "layers.0.self_attn.o_proj": 32}},
    "patterns and rsLoRA": {"use_rslora": True, "target_modules": "all-linear", "rank_pattern": {"q_proj": 16}, "alpha_pattern": {"v_proj": 2}},
    "bias all": {"bias": "all", "target_modules": ["q_proj"]},
    "bias lora_only": {"bias": "lora_only", "target_modules": ["q_proj"]},
    "regex": {"target_modules": r".*\.(2[0-9])\.(self_attn|mlp)\.(k|up)_proj"},
    "all-linear": {"target_modules": "all-linear"},
    "some layers": {"target_modules": ["up_proj"], "layers_to_transform": [0, 7, 29], "layers_pattern": "layers"},
    "excluded": {"target_modules": "all-linear", "exclude_modules": r".*\.1\d\..*"},
}
REFUSED = {
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "modules_to_save": {"target_modules": ["q_proj"], "modules_to_save": ["norm"]},
    "DoRA": {"target_modules": ["q_proj"], "use_dora": True},
    "trainable tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [1, 2]},
}


def save(model_path, settings, out):
    torch.manual_seed(0)
    model = get_peft_model(load(model_path), LoraConfig(**{**COMMON, **settings})).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name or "lora_embedding_A" in name:
                p.normal_(std=0.02)
            elif p.requires_grad and name.endswith("bias"):
                p.add_(torch.randn_like(p) * 0.02)
    model.save_pretrained(out)
    return model


def main(model_path, tok):
    data, good = samples(tok), True
    base = loss(load(model_path), data)
    good &= check("base", our_loss(model_path, tok), base, 1e-5)
    for name, settings in CASES.items():
        with tempfile.TemporaryDirectory() as d:
            want = loss(save(model_path, settings, d), data)
            moved = abs(want - base) > 1e-4 * base
            good &= check(name, our_loss(model_path, tok, d), want, 1e-5) and moved
            if not moved:
                print(f"NOT OK: {name}: the adapter does nothing")
    for name, settings in REFUSED.items():
        with tempfile.TemporaryDirectory() as d:
            save(model_path, settings, d)
            done = subprocess.run([f"{BIN}/eval-loss", "-q", "-m", model_path, "-a", d, tok], capture_output=True, text=True)
            refused = done.returncode == 1 and done.stderr.count("\n") == 1
            print(f"{'ok' if refused else 'NOT OK'}: {name}: {done.stderr.strip()}")
            good &= refused
    return 0 if good else 1


if len(sys.argv) != 3:
    sys.exit(__doc__)
sys.exit(main(*sys.argv[1:]))
