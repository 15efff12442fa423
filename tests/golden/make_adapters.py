"""Adapters as PEFT saves them and the models that PEFT merges from them (peft 0.21.2, transformers 5.23, torch 2.15, CPU).

For each case a folder adapters/CASE with PEFT's adapter_config.json and adapter_model.safetensors, and what merge_and_unload()
makes of the base in f32 and bf16: merged-f32.safetensors, merged-bf16.safetensors (changed tensors only). The base is the tiny model of
tests/tools/make-model with the options in base_options; its weights follow the formula of tests/tools/formula.h, computed here
again, so they are not stored. adapters/combined: the sum of two adapters with weights 0.5 and -1.25 (PEFT's "cat" combination).
"""
import json, os, shutil
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "adapters")
# make-model --layers 2 --hidden 8 --heads 2 --kv-heads 1 --head-dim 4 --ffn 12 --vocab 16 [--bias]
SIZES = dict(num_hidden_layers=2, hidden_size=8, num_attention_heads=2, num_key_value_heads=1, head_dim=4, intermediate_size=12, vocab_size=16)
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

def formula(name, shape):
    hash = 0xcbf29ce484222325
    for c in name.encode():
        hash = (hash ^ c) * 0x100000001b3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(hash) + np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(0x9e3779b97f4a7c15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xbf58476d1ce4e5b9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94d049bb133111eb)
        z = z ^ z >> np.uint64(31)
    unit = (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24) - np.float32(0.5)
    centre, width = 0, 0.5
    if "norm" in name:
        centre, width = 1, 0.25
    elif "lora_" in name or name.endswith(".bias"):
        width = 0.25
    elif "embed_tokens" in name or "lm_head" in name:
        width = 1
    return torch.from_numpy((np.float32(centre) + np.float32(width) * unit).reshape(shape))

def base(bias, dtype):
    config = LlamaConfig(**SIZES, attention_bias=bias, mlp_bias=bias, tie_word_embeddings=False)
    model = LlamaForCausalLM(config)
    model.load_state_dict({k: formula(k, tuple(v.shape)) for k, v in model.state_dict().items()})
    return model.to(dtype)

CASES = {
    "plain": (False, dict(r=4, lora_alpha=8, lora_dropout=0.05, target_modules=["q_proj", "v_proj"])),
    "rslora": (False, dict(r=4, lora_alpha=6, use_rslora=True, target_modules="all-linear", rank_pattern={"q_proj": 3, "layers.1.mlp.up_proj": 5},
                           alpha_pattern={"k_proj": 2.5, "layers.[0-9]+.mlp.down_proj": 16})),
    "regex": (False, dict(r=3, lora_alpha=5, target_modules=r".*\.(q|down)_proj", exclude_modules=[r"layers.0.mlp.down_proj"])),
    "layers": (False, dict(r=2, lora_alpha=2, target_modules=["o_proj", "gate_proj"], layers_to_transform=[1], layers_pattern="layers")),
    "bias-all": (True, dict(r=2, lora_alpha=4, bias="all", target_modules=["q_proj", "up_proj"])),
    "bias-lora": (True, dict(r=2, lora_alpha=4, bias="lora_only", target_modules=["k_proj", "down_proj"])),
    "head": (False, dict(r=2, lora_alpha=3, target_modules=["lm_head", "q_proj"])),
    "embedding": (False, dict(r=2, lora_alpha=3, target_modules=["embed_tokens", "v_proj"])),
}

def fill(model, case):
    """Gives what was trained values of its own: LoRA factors and biases, seeded by the case's name and PEFT's key."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad:
                p.copy_(formula(case + name.replace(".default", ""), tuple(p.shape)))

def keep_changed(merged, bias, dtype, path):
    before = base(bias, dtype).state_dict()
    save_file({k: v.contiguous() for k, v in merged.state_dict().items() if not torch.equal(v, before[k])}, path, metadata={"format": "pt"})

def make(case):
    bias, options = CASES[case]
    folder = os.path.join(OUT, case)
    for dtype, name in ((torch.float32, "f32"), (torch.bfloat16, "bf16")):
        model = get_peft_model(base(bias, dtype), LoraConfig(task_type="CAUSAL_LM", **options))
        fill(model, case)
        if dtype == torch.float32:
            model.save_pretrained(folder)
            os.remove(os.path.join(folder, "README.md"))
        keep_changed(model.merge_and_unload(), bias, dtype, os.path.join(folder, f"merged-{name}.safetensors"))

def combine():
    model = get_peft_model(base(False, torch.float32), LoraConfig(task_type="CAUSAL_LM", **CASES["plain"][1]), adapter_name="plain")
    model.load_adapter(os.path.join(OUT, "plain"), "plain2")
    model.load_adapter(os.path.join(OUT, "rslora"), "rslora")
    model.add_weighted_adapter(["plain2", "rslora"], [0.5, -1.25], "sum", combination_type="cat")
    model.set_adapter("sum")
    os.makedirs(os.path.join(OUT, "combined"))
    keep_changed(model.merge_and_unload(), False, torch.float32, os.path.join(OUT, "combined", "merged-f32.safetensors"))

shutil.rmtree(OUT, ignore_errors=True)
os.makedirs(OUT)
for case in CASES:
    make(case)
combine()
for root, _, files in sorted(os.walk(OUT)):
    for f in sorted(files):
        print(os.path.relpath(os.path.join(root, f), OUT), os.path.getsize(os.path.join(root, f)))
