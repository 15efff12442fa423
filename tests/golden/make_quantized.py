#!/usr/bin/env python3
"""make_quantized.py DIR [NAME...]: tiny models that bitsandbytes, GPTQModel and AutoAWQ's layout have quantized.

Writes DIR/NAME/, a model folder as the peer saves it, and DIR/NAME.safetensors, which tests/unit/quantized_model.c compares with:
    ids, start     samples, as in make_models.py
    logits         (rows, vocab) of a model in float64 whose linear layers hold the peer's own dequantized values
    and in the metadata, for every quantized module, SHA-256 of its dequantized values (f32, (out, in); negative zeros made positive).
Needs torch, transformers 5.23, bitsandbytes 0.50.2, gptqmodel 7.7.0 and autoawq 0.2.9 (without its dependencies) on a CPU. The models
are random: make_models.py's formula gives the weights, so that tests/tools/make-model makes the same ones and quantize's bytes can be
compared with bitsandbytes'. GPTQModel's search is not reproduced bit for bit by other versions: the folders are kept as they came out.
"""
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import types

os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from make_models import hashed, make_data, values  # noqa: E402

# Blocks cross rows, the last one is short, and the widest layers have more than one block of absmax.
BLOCKS = {"hidden_size": 60, "intermediate_size": 300, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
          "vocab_size": 43, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}
# Words want multiples of 32; GPTQModel's AWQ wants 64 outputs.
WORDS = {**BLOCKS, "hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4}
MODELS = {
    "bnb-nf4": (BLOCKS, torch.bfloat16, {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}),
    "bnb-nf4-f16": (BLOCKS, torch.float16, {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_quant_storage": torch.bfloat16,
                                            "llm_int8_skip_modules": ["down_proj"]}),
    "bnb-fp4": ({**BLOCKS, "tie_word_embeddings": True, "attention_bias": True}, torch.float32, {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}),
    "bnb-int8": ({**BLOCKS, "num_hidden_layers": 1}, torch.bfloat16, {"load_in_8bit": True}),
    "gptq-4-g32": (WORDS, torch.float16, {"bits": 4, "group_size": 32, "desc_act": False, "sym": True}),
    "gptq-4-g32-order": ({**WORDS, "attention_bias": True}, torch.bfloat16, {"bits": 4, "group_size": 32, "desc_act": True, "sym": False}),
    "gptq-3": (WORDS, torch.float16, {"bits": 3, "group_size": 32, "desc_act": False, "sym": True}),
    "gptq-2": ({**WORDS, "num_hidden_layers": 1}, torch.float16, {"bits": 2, "group_size": 16, "desc_act": True, "sym": False}),
    "gptq-8-v2": ({**WORDS, "num_hidden_layers": 1}, torch.float16, {"bits": 8, "group_size": -1, "desc_act": False, "act_group_aware": False,
                                                                            "sym": False, "format": "gptq_v2"}),
    "awq-4-g32": ({**WORDS, "intermediate_size": 192, "num_key_value_heads": 4}, torch.bfloat16, {"bits": 4, "group_size": 32, "method": "awq", "format": "gemm"}),
    "awq-autoawq": ({**WORDS, "num_hidden_layers": 1}, torch.float16, {"group_size": 32}),
}


def float_model(config, dtype):
    model = AutoModelForCausalLM.from_config(LlamaConfig(**config), attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(values(name, tuple(p.shape)).to(dtype).float())
    return model


def write_tokenizer(folder, vocab):
    from tokenizers import Tokenizer, models, pre_tokenizers
    t = Tokenizer(models.WordLevel({f"w{i}": i for i in range(vocab)}, unk_token="w0"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.save(os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "w0", "eos_token": "w2", "bos_token": "w1", "unk_token": "w0"}, f)


def dequantize_bitsandbytes(folder):
    """The peer's own functions on the modules of the saved folder, loaded again."""
    import bitsandbytes as bnb
    model = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu")
    found = {}
    for name, m in model.named_modules():
        if isinstance(m, bnb.nn.Linear4bit):
            found[name] = bnb.functional.dequantize_4bit(m.weight.data, m.weight.quant_state).float().reshape(m.out_features, m.in_features)
        elif isinstance(m, bnb.nn.Linear8bitLt):
            found[name] = bnb.functional.int8_vectorwise_dequant(m.weight.data, m.weight.SCB if m.weight.SCB is not None else m.state.SCB)
    return found


def dequantize_gptqmodel(folder, layout):
    """GPTQModel's torch kernels, with scales of f32 so that no product is rounded."""
    from gptqmodel import BACKEND, GPTQModel
    model = GPTQModel.load(folder, backend=BACKEND.TORCH_AWQ if layout == "awq" else BACKEND.TORCH, device="cpu", dtype=torch.float16 if layout != "awq" else torch.bfloat16)
    found = {}
    for name, m in model.model.named_modules():
        if not hasattr(m, "qweight"):
            continue
        if layout == "awq":
            from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
            w = dequantize_gemm(m.qweight, m.qzeros, m.scales.float(), 4, m.group_size)
        else:
            m.scales = m.scales.float()
            w = m.dequantize_weight()
        assert w.dtype == torch.float32, w.dtype
        found[name] = w.t().contiguous()
    return found


def quantize_bitsandbytes(plain, to, dtype, how):
    config = BitsAndBytesConfig(**how, **({"bnb_4bit_compute_dtype": dtype} if "load_in_4bit" in how else {}))
    AutoModelForCausalLM.from_pretrained(plain, dtype=dtype, quantization_config=config, device_map="cpu").save_pretrained(to)


def quantize_gptqmodel(plain, to, how, vocab):
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
    settings = {**how, "offload_to_disk": False, "device": "cpu"}
    model = GPTQModel.load(plain, QuantizeConfig(**settings))
    ids = [[int(x) % vocab for x in hashed(f"calibration {i}", np.arange(48))] for i in range(32)]
    model.quantize([{"input_ids": x, "attention_mask": [1] * len(x)} for x in ids], batch_size=4,
                   **({"backend": BACKEND.TORCH_AWQ} if how.get("method") == "awq" else {}))
    model.save(to)


def import_autoawq():
    """Its modules without its package's __init__, which no longer loads beside transformers 5."""
    package = types.ModuleType("awq")
    package.__path__ = list(importlib.util.find_spec("awq").submodule_search_locations)
    sys.modules["awq"] = package
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.utils.packing_utils import dequantize_gemm
    return WQLinear_GEMM, dequantize_gemm


@torch.no_grad()
def quantize_autoawq(plain, to, group):
    """AutoAWQ's module packs what its formula for scales and zeros (pseudo_quantize_tensor) gives, without a search; saved as its
    save_quantized does."""
    linear, dequantize = import_autoawq()
    model = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float16)
    found = {}
    for layer, name in [(parent, n) for parent in model.model.layers.modules() for n, m in parent.named_children() if isinstance(m, torch.nn.Linear)]:
        m = getattr(layer, name)
        w = m.weight.reshape(-1, group)
        low, high = w.amin(1, keepdim=True), w.amax(1, keepdim=True)
        scales = (high - low).clamp(min=1e-5) / 15
        zeros = (-torch.round(low / scales)).clamp(0, 15)
        w = (torch.clamp(torch.round(w / scales) + zeros, 0, 15) - zeros) * scales
        m.weight.copy_(w.reshape(m.weight.shape))
        rows = m.weight.shape[0]
        packed = linear.from_linear(m, 4, group, scales=scales.view(rows, -1).t().contiguous(), zeros=zeros.view(rows, -1).t().contiguous())
        setattr(layer, name, packed)
    for name, m in model.named_modules():
        if isinstance(m, linear):
            found[name] = dequantize(m.qweight, m.qzeros, m.scales.float(), 4, group).t().contiguous()
    os.makedirs(to)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, os.path.join(to, "model.safetensors"), metadata={"format": "pt"})
    settings = {"quant_method": "awq", "zero_point": True, "group_size": group, "bits": 4, "version": "gemm", "modules_to_not_convert": None}
    with open(os.path.join(plain, "config.json")) as f:
        saved = json.load(f)
    with open(os.path.join(to, "config.json"), "w") as f:
        json.dump({**saved, "quantization_config": settings}, f, indent=2, sort_keys=True)
    return found


@torch.no_grad()
def reference(config, folder, weights, name):
    """A float64 model of what the folder stores, and of the dequantized weights in place of what is quantized."""
    state = {}
    with safe_open(os.path.join(folder, "model.safetensors"), "pt") as f:
        for key in f.keys():
            if not any(key.startswith(m + ".") and key != m + ".bias" for m in weights):
                state[key] = f.get_tensor(key).double()
    state.update({m + ".weight": w.double() for m, w in weights.items()})
    model = AutoModelForCausalLM.from_config(LlamaConfig(**config), attn_implementation="eager", dtype=torch.float64)
    missing, extra = model.load_state_dict(state, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not extra, (missing, extra)
    model.tie_weights()
    ids, _, start = make_data(name, config["vocab_size"])
    logits = [model(input_ids=ids[None, a:b].long(), use_cache=False).logits[0] for a, b in zip(start[:-1], start[1:])]
    return {"ids": ids, "start": start, "logits": torch.cat(logits).float()}


def sha256(w):
    return hashlib.sha256((w.float() + 0.0).contiguous().numpy().tobytes()).hexdigest()


def make(name, out):
    config, dtype, how = MODELS[name]
    folder = os.path.join(out, name)
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as plain:
        float_model(config, dtype).to(dtype).save_pretrained(plain)
        write_tokenizer(plain, config["vocab_size"])
        if name.startswith("bnb"):
            quantize_bitsandbytes(plain, folder, dtype, how)
            weights = dequantize_bitsandbytes(folder)
        elif name == "awq-autoawq":
            weights = quantize_autoawq(plain, folder, how["group_size"])
        else:
            quantize_gptqmodel(plain, folder, how, config["vocab_size"])
            weights = dequantize_gptqmodel(folder, "awq" if name.startswith("awq") else "gptq")
    keep = {"config.json", "model.safetensors", "quantize_config.json"}
    for file in os.listdir(folder):
        if file not in keep:
            path = os.path.join(folder, file)
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
    tensors = reference(config, folder, weights, name)
    save_file(tensors, os.path.join(out, name + ".safetensors"), metadata={"sha256": json.dumps({m: sha256(w) for m, w in weights.items()})})


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for model_name in sys.argv[2:] or MODELS:
        make(model_name, sys.argv[1])
