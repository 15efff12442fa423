#!/usr/bin/env python3
"""make_calibrated.py FILE: what GPTQ and AWQ make of small matrices, by a transcription of the reference implementations to torch.

Writes FILE (tests/golden/calibrated.json), which tests/unit/calibrated.c compares with. GPTQ: AutoGPTQ 0.7.1, quantization/gptq.py
(GPTQ.fasterquant) and quantizer.py (Quantizer.find_params), in float32 as there. AWQ: AutoAWQ 0.2.9, quantize/quantizer.py
(_search_best_scale, _compute_best_clip, pseudo_quantize_tensor), the inspected module being the linear itself. The inputs X and weights W are not
stored: tests/tools/formula.h computes the same from the names given here; X is of small integers, so that no sum of products is
rounded. What is written of GPTQ: codes (a hexadecimal digit each, row by row), scales and zeros by group and output, g_idx, and the
squared error of the outputs; of AWQ: the best ratio, its scales, the errors of all ratios, the range that each group of each row is cut to.
Needs torch on a CPU.
"""
import json
import math
import os
import sys

import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from make_models import hashed  # noqa: E402

FACTORS = 12
GPTQ = [
    {"name": "sym", "out": 16, "in": 256, "rows": 512, "bits": 4, "group": 128, "sym": True, "order": False, "static": False},
    {"name": "asym-order", "out": 16, "in": 256, "rows": 512, "bits": 3, "group": 128, "sym": False, "order": True, "static": False},
    {"name": "one-group", "out": 16, "in": 192, "rows": 512, "bits": 2, "group": -1, "sym": True, "order": False, "static": False},
    {"name": "static", "out": 16, "in": 256, "rows": 512, "bits": 4, "group": 64, "sym": False, "order": True, "static": True},
]
AWQ = {"name": "awq", "out": 24, "in": 128, "rows": 384, "group": 32}


def unit(name, count):
    return ((hashed(name, np.arange(count, dtype=np.uint64)) >> np.uint64(40)).astype(np.float64) * 2.0**-24 - 0.5)


def inputs(rows, n):
    """Rows of a few common factors and something of their own; every seventh column is larger."""
    z = np.rint(8 * unit("calibrated.factors", rows * FACTORS)).reshape(rows, FACTORS)
    mix = np.rint(6 * unit("calibrated.mix", FACTORS * n)).reshape(FACTORS, n)
    x = z @ mix + np.rint(8 * unit("calibrated.own", rows * n)).reshape(rows, n)
    x[:, 3::7] *= 4
    return torch.from_numpy(x).float()


def weights(out, n):
    return torch.from_numpy((0.5 * unit("calibrated.weight", out * n)).astype(np.float32).reshape(out, n))


def find_params(w, bits, sym):
    maxq = 2**bits - 1
    low = torch.minimum(w.min(1)[0], torch.zeros(w.shape[0]))
    high = torch.maximum(w.max(1)[0], torch.zeros(w.shape[0]))
    if sym:
        high = torch.maximum(low.abs(), high)
        low = torch.where(low < 0, -high, low)
    none = (low == 0) & (high == 0)
    low[none], high[none] = -1, 1
    scale = (high - low) / maxq
    zero = torch.full_like(scale, (maxq + 1) / 2) if sym else torch.round(-low / scale)
    return scale, zero


def gptq(c):
    maxq, n, out = 2**c["bits"] - 1, c["in"], c["out"]
    group = n if c["group"] == -1 else c["group"]
    x, w = inputs(c["rows"], n), weights(out, n)
    original = w.clone()
    h = 2 / c["rows"] * (x.t() @ x)
    groups = math.ceil(n / group)
    scales, zeros = torch.zeros(groups, out), torch.zeros(groups, out)
    if c["static"]:
        for g in range(groups):
            scales[g], zeros[g] = find_params(w[:, g * group:(g + 1) * group], c["bits"], c["sym"])
    perm = torch.argsort(torch.diag(h), descending=True, stable=True) if c["order"] else torch.arange(n)
    w, h = w[:, perm].clone(), h[perm][:, perm].clone()
    h[range(n), range(n)] += 0.01 * torch.mean(torch.diag(h))
    u = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    codes, g_idx = torch.zeros(out, n, dtype=torch.int64), torch.zeros(n, dtype=torch.int64)
    q_all = torch.zeros_like(w)
    for i1 in range(0, n, 128):
        i2 = min(i1 + 128, n)
        w1, err1 = w[:, i1:i2].clone(), torch.zeros(out, i2 - i1)
        for i in range(i2 - i1):
            at = i1 + i
            g = int(perm[at]) // group if c["static"] else at // group
            if not c["static"] and at % group == 0:
                scales[g], zeros[g] = find_params(w[:, at:at + group], c["bits"], c["sym"])
            code = torch.clamp(torch.round(w1[:, i] / scales[g]) + zeros[g], 0, maxq)
            q = scales[g] * (code - zeros[g])
            e = (w1[:, i] - q) / u[at, at]
            w1[:, i:] -= e.unsqueeze(1) @ u[at, at:i2].unsqueeze(0)
            err1[:, i] = e
            codes[:, perm[at]], q_all[:, perm[at]], g_idx[perm[at]] = code.long(), q, g
        w[:, i2:] -= err1 @ u[i1:i2, i2:]
    error = ((x.double() @ (original - q_all).double().t())**2).sum()
    return {**c, "codes": "".join("%x" % v for v in codes.flatten().tolist()), "scales": scales.tolist(), "zeros": zeros.int().tolist(),
            "g_idx": g_idx.tolist(), "error": float(error)}


def pseudo_quantize(w, group):
    shape = w.shape
    w = w.reshape(-1, group)
    high, low = w.amax(1, keepdim=True), w.amin(1, keepdim=True)
    scale = (high - low).clamp(min=1e-5) / 15
    zero = (-torch.round(low / scale)).clamp(0, 15)
    return ((torch.clamp(torch.round(w / scale) + zero, 0, 15) - zero) * scale).reshape(shape)


def awq(c):
    x, w, group, n = inputs(c["rows"], c["in"]) / 16, weights(c["out"], c["in"]), c["group"], c["in"]
    w_group = w.reshape(-1, group)
    w_mean = (w_group.abs() / (w_group.abs().amax(1, keepdim=True) + 1e-6)).reshape(w.shape).mean(0)
    x_mean = x.abs().mean(0)
    want, best, errors = x @ w.t(), None, []
    for i in range(20):
        r = i / 20
        s = (x_mean.pow(r) / (w_mean.pow(1 - r) + 1e-4)).clamp(min=1e-4)
        s = s / (s.max() * s.min()).sqrt()
        s[torch.isinf(s) | torch.isnan(s)] = 1
        errors.append(float(((want - x @ (pseudo_quantize(w * s, group) / s).t()).double()**2).mean()))
        if best is None or errors[-1] < errors[best]:
            best, scales = i, s
    w, x = w * scales, x / scales
    xg, wg = x.reshape(1, -1, n // group, group), w.reshape(c["out"], 1, n // group, group)
    whole = wg.abs().amax(-1, keepdim=True)
    limit, least = whole.clone(), torch.full_like(whole, 1e9)
    org = (xg * wg).sum(-1)
    for i in range(10):
        most = whole * (1 - i / 20)
        cut = torch.clamp(wg, -most, most)
        got = (xg * pseudo_quantize(cut, group)).sum(-1)
        err = (got - org).pow(2).mean(1).view(whole.shape)
        limit = torch.where(err < least, most, limit)
        least = torch.minimum(err, least)
    return {**c, "ratio": best, "scales": scales.tolist(), "errors": errors, "limits": limit.reshape(c["out"], n // group).tolist()}


def main():
    torch.manual_seed(0)
    with open(sys.argv[1], "w") as f:
        json.dump({"gptq": [gptq(c) for c in GPTQ], "awq": awq(AWQ)}, f, indent=0)
        f.write("\n")


main()
