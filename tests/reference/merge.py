#!/usr/bin/env python3
"""merge.py MODEL ADAPTER FILE.tok: adapter-merge writes what PEFT's merge_and_unload makes, and transformers loads it.

In f32 each tensor agrees to 1e-6 of its largest element. In the stored type an element may differ where the exact sum (in f64) is so
near to a rounding tie that sums in f32 fall on both sides. The merged folder's loss by transformers is that of base and
adapter by PEFT and by eval-loss.
"""
import os
import sys
import tempfile

import torch
from common import check, load, loss, our_loss, ours, samples
from peft import PeftModel

ROUNDING = 2 * torch.finfo(torch.float32).eps  # of the summands' sizes


def exact_deltas(peft):
    """{tensor: (s B A, s |B| |A|)} in f64"""
    out = {}
    for name, module in peft.base_model.model.named_modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            a, b = module.lora_A["default"].weight.double(), module.lora_B["default"].weight.double()
            scale = module.scaling["default"]
            out[name + ".weight"] = ((b @ a * scale).detach(), (b.abs() @ a.abs() * scale).detach())
    return out


def same_but_for_ties(name, got, want, base, delta):
    """How many elements differ; -1: one of them not by a tie."""
    at = got != want
    if not at.any():
        return 0
    if delta is None:
        return -1
    w = base[at].double()
    exact, slack = w + delta[0][at], ROUNDING * (w.abs() + delta[1][at])
    low, high = (exact - slack).to(got.dtype), (exact + slack).to(got.dtype)
    ties = (torch.minimum(got[at], want[at]) >= low) & (torch.maximum(got[at], want[at]) <= high)
    if not ties.all():
        print(f"NOT OK: {name}: {int((~ties).sum())} of {int(at.sum())} differences are no ties")
        return -1
    return int(at.sum())


def compare(kind, model, adapter, out, dtype):
    base = load(model, dtype)
    before = {n: p.clone() for n, p in base.state_dict().items()}
    peft = PeftModel.from_pretrained(base, adapter)
    deltas = exact_deltas(peft)
    want = peft.merge_and_unload().state_dict()
    got = load(out, dtype).state_dict()
    if set(got) != set(want):
        sys.exit(f"NOT OK: {kind}: other tensors: {set(got) ^ set(want)}")
    ties, worst, changed = 0, 0.0, 0
    for name in want:
        changed += not torch.equal(got[name], before[name])
        if dtype == torch.float32:
            worst = max(worst, ((got[name] - want[name]).abs().max() / want[name].abs().max()).item())
        else:
            n = same_but_for_ties(name, got[name], want[name], before[name], deltas.get(name))
            if n < 0:
                return False
            ties += n
    good = worst <= 1e-6 and changed == len(deltas)
    print(f"{'ok' if good else 'NOT OK'}: {kind}: {len(want)} tensors, {changed} changed, largest difference {worst:.2g}, {ties} ties")
    return good


def main(model, adapter, tok):
    data = samples(tok)
    with tempfile.TemporaryDirectory() as d:
        kept, wide = os.path.join(d, "kept"), os.path.join(d, "f32")
        ours("adapter-merge", "-m", model, "-o", kept, adapter)
        ours("adapter-merge", "-m", model, "--dtype", "f32", "-o", wide, adapter)
        good = compare("f32", model, adapter, wide, torch.float32)
        good &= compare("bf16", model, adapter, kept, torch.bfloat16)
        want = loss(PeftModel.from_pretrained(load(model), adapter).eval(), data)
        good &= check("base and adapter, ours and PEFT", our_loss(model, tok, adapter), want, 1e-5)
        good &= check("merged in f32, transformers and PEFT", loss(load(wide), data), want, 1e-5)
        good &= check("merged in bf16, ours and transformers", our_loss(kept, tok), loss(load(kept), data), 1e-5)
    return 0 if good else 1


if len(sys.argv) != 4:
    sys.exit(__doc__)
sys.exit(main(*sys.argv[1:]))
