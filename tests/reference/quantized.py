#!/usr/bin/env python3
"""quantized.py MODEL FILE.tok CALIBRATE.tok [CASE...]: folders that quantize writes load in the peers as they are and give our loss.

For every case and every reader of its layout:
    loads      no tensor is missing or left over (transformers tells), and the model as it was loaded gives our loss but for the reader's
               own 16-bit products
    exactly    the values that the reader's own code unpacks, in a model of f32, with whatever else it loaded, give our loss in f32
Readers: transformers with bitsandbytes, GPTQModel, transformers with GPTQModel's modules, AutoAWQ's unpacking of the stored words.
Needs torch, transformers 5.23, bitsandbytes 0.50.2, gptqmodel 7.7.0 with optimum 2.3, and autoawq 0.2.9 without its dependencies.
"""
import importlib.util
import json
import os
import sys
import tempfile
import types

os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import torch
from common import check, load, loss, our_loss, ours, samples
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AwqConfig, GPTQConfig

GROUP = ["--group", 64]
SKIP = ["--skip", r"model\.layers\.1\..*|.*\.down_proj"]
BITSANDBYTES = {
    "int8": ["--method", "int8"],
    "nf4": ["--method", "nf4"],
    "nf4 double, blocks of 256": ["--method", "nf4", "--double-quant", "--block", 256],
    "fp4": ["--method", "fp4"],
    "nf4, skips": ["--method", "nf4", *SKIP],
    "int8, skips": ["--method", "int8", *SKIP],
}
GPTQ = {
    **{f"gptq {bits} bits": ["--method", "gptq", "--bits", bits, *GROUP] for bits in (2, 3, 4, 8)},
    **{f"gptq {bits} bits, act-order, asym": ["--method", "gptq", "--bits", bits, "--act-order", "--asym", *GROUP] for bits in (2, 3, 4, 8)},
    "gptq 4 bits, act-order": ["--method", "gptq", "--act-order", *GROUP],
    "gptq 4 bits, asym": ["--method", "gptq", "--asym", *GROUP],
    "gptq 4 bits, groups of 32": ["--method", "gptq", "--group", 32],
    "gptq 4 bits, one group": ["--method", "gptq", "--group", 0],
    "gptq 4 bits, skips": ["--method", "gptq", *GROUP, *SKIP],
    "rtn 4 bits": ["--method", "rtn", *GROUP],
}
AWQ = {
    "awq": ["--method", "awq", *GROUP],
    "awq, one group": ["--method", "awq", "--group", 0],
    "awq, skips": ["--method", "awq", *GROUP, *SKIP],
}


def quantization_config(folder):
    with open(os.path.join(folder, "config.json")) as f:
        return json.load(f)["quantization_config"]


def transformers(folder):
    """The loaded model, and whether it is whole. The kernels that GPTQModel chooses for words on a CPU take no larger groups than 256."""
    settings, plain = quantization_config(folder), {}
    if settings.get("group_size") == -1:
        gptq = settings["quant_method"] == "gptq"
        plain["quantization_config"] = GPTQConfig(bits=4, backend="torch") if gptq else AwqConfig(bits=4, group_size=-1, backend="torch_awq")
    model, info = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu", attn_implementation="eager", output_loading_info=True, **plain)
    left = {k: sorted(v) for k, v in info.items() if v and k != "error_msgs"} | ({"errors": info["error_msgs"]} if info.get("error_msgs") else {})
    print(f"{'NOT OK' if left else 'ok'}: transformers: every tensor has its place{f': {left}' if left else ''}", flush=True)
    return model.eval(), not left


def gptqmodel(folder):
    from gptqmodel import BACKEND, GPTQModel
    awq = quantization_config(folder)["quant_method"] == "awq"
    # In f16, as the scales are stored: in bf16 it would round those of AWQ.
    loaded = GPTQModel.load(folder, backend=BACKEND.TORCH_AWQ if awq else BACKEND.TORCH, device="cpu", attn_implementation="eager", dtype=torch.float16)
    return loaded.model.eval(), True


def unpacked_words(m):
    """(in, out) values of one of GPTQModel's modules; its scales are f32 for the time, so that no product is rounded."""
    held = m.scales
    del m.scales
    m.scales = held.float()
    if m.qweight.shape[0] == m.in_features:
        from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
        values = dequantize_gemm(m.qweight, m.qzeros, m.scales, m.bits, m.group_size)
    else:
        values = m.dequantize_weight()
    m.scales = held
    return values


@torch.no_grad()
def unpacked(model):
    """{module: (out, in) values in f32} of the peers' modules, by their own functions. To be called before they compute: some then pack
    their words anew."""
    import bitsandbytes as bnb
    found = {}
    for name, m in model.named_modules():
        if isinstance(m, bnb.nn.Linear4bit):
            found[name] = bnb.functional.dequantize_4bit(m.weight.data, m.weight.quant_state).float().reshape(m.out_features, m.in_features)
        elif isinstance(m, bnb.nn.Linear8bitLt):
            found[name] = bnb.functional.int8_vectorwise_dequant(m.weight.data, m.weight.SCB if m.weight.SCB is not None else m.state.SCB)
        elif hasattr(m, "qweight"):
            found[name] = unpacked_words(m).t()
    return found


def autoawq(folder):
    """The values that AutoAWQ's functions unpack, without its package's __init__, which no longer loads beside transformers 5."""
    if "awq" not in sys.modules:
        package = types.ModuleType("awq")
        package.__path__ = list(importlib.util.find_spec("awq").submodule_search_locations)
        sys.modules["awq"] = package
    from awq.utils.packing_utils import dequantize_gemm
    settings = quantization_config(folder)
    t = load_file(os.path.join(folder, "model.safetensors"))
    modules = [name[:-len(".qweight")] for name in t if name.endswith(".qweight")]
    width = {name: t[name + ".qweight"].shape[0] for name in modules}
    group = settings["group_size"]
    return {name: dequantize_gemm(t[name + ".qweight"], t[name + ".qzeros"], t[name + ".scales"].float(), settings["bits"],
                                  group if group > 0 else width[name]).t() for name in modules}, t


@torch.no_grad()
def exact(original, values, others):
    """The model in f32 with these values of the quantized modules, and all else as it was loaded."""
    model = load(original)
    state = model.state_dict()
    for name, value in values.items():
        state[name + ".weight"].copy_(value)
    for name, value in others.items():
        if name in state and name[:-len(".weight")] not in values:
            state[name].copy_(value)
    return model


def check_folder(name, model, folder, data, tok, readers):
    want, good = our_loss(folder, tok), True
    for reader in readers:
        what = f"{name}: {reader.__name__}"
        if reader is autoawq:
            values, others = autoawq(folder)
        else:
            loaded, whole = reader(folder)
            values, others = unpacked(loaded), {k: v.clone() for k, v in loaded.state_dict().items()}
            good &= whole and check(f"{what} as it is", loss(loaded, data), want, 2e-2 if "int8" in name else 4e-3)
        good &= check(f"{what}, {len(values)} modules exactly", loss(exact(model, values, others), data), want, 1e-5)
    return good


def main(model, tok, calibration, *names):
    data, good = samples(tok), True
    kinds = [(BITSANDBYTES, [transformers], []), (GPTQ, [gptqmodel, transformers], ["--calibrate", calibration]),
             (AWQ, [gptqmodel, transformers, autoawq], ["--calibrate", calibration])]
    for cases, readers, calibrate in kinds:
        for name, options in cases.items():
            if names and not any(n in name for n in names):
                continue
            with tempfile.TemporaryDirectory() as d:
                ours("quantize", "-m", model, "-o", d + "/q", *options, *([] if "rtn" in name else calibrate))
                good &= check_folder(name, model, d + "/q", data, tok, readers)
    return 0 if good else 1


if len(sys.argv) < 4:
    sys.exit(__doc__)
sys.exit(main(*sys.argv[1:]))
