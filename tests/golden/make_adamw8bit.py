#!/usr/bin/env python3
"""make_adamw8bit.py OUT.json: steps of bitsandbytes' AdamW8bit on the CPU, as SHA-256 of its state after every step.

Needs torch and bitsandbytes 0.50. Parameters and gradients are not stored: with u of tests/tools/formula.h, the parameter is u(NAME, i) and the
gradient of step t is 2 u(NAME.t, i) 2^-(i mod 13) 2^scale, both exact in f32; with "zeros" every third block, every fifth element and
all of step 4 have no gradient. One thing is replaced: torch's square root (Intel's VML), which is off by a unit in the last place now
and then, by the exact one. With that, tests/unit/adamw_8bit.c expects the same bits; how many parameters differ without it, and by how much, is
printed.

{"maps": {"signed": sha256, "unsigned": sha256}, "cases": [{name, n, scale, zeros, lr, beta1, beta2, eps, weight_decay, steps: [{"p", "state1",
"state2", "absmax1", "absmax2": sha256}]}]}. A tensor below 4096 elements has a state of f32; its steps have "p", "state1" and "state2" of
elements 0, 273, 546 ... as numbers.
"""
import hashlib
import json
import sys

import bitsandbytes as bnb
import numpy as np
import torch
from make_models import hashed

EIGHT = ("state1", "state2", "absmax1", "absmax2")
CASES = [
    {"name": "below", "n": 4095},
    {"name": "below-decay", "n": 4095, "weight_decay": 0.1},
    {"name": "least", "n": 4096},
    {"name": "one-more", "n": 4097, "weight_decay": 0.1},
    {"name": "short-block", "n": 10000},
    {"name": "short-block-decay", "n": 10000, "weight_decay": 0.01, "lr": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-6},
    {"name": "zeros", "n": 5000, "zeros": True},
    {"name": "tiny", "n": 4200, "scale": -70, "weight_decay": 0.1},
    {"name": "huge", "n": 4200, "scale": 60},
]
DEFAULTS = {"scale": 0, "zeros": False, "lr": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
STEPS = 7


def unit(name, n):
    return (hashed(name, np.arange(n, dtype=np.uint64)) >> np.uint64(40)).astype(np.float32) * np.float32(2**-24) - np.float32(0.5)


def gradient(c, step):
    i = np.arange(c["n"])
    g = np.ldexp(2 * unit(f"{c['name']}.{step}", c["n"]), c["scale"] - i % 13).astype(np.float32)
    if c["zeros"]:
        g[(i // 256 % 3 == 1) | (i % 5 == 0) | (step == 4)] = 0
    return torch.from_numpy(g)


def run(c):
    p = torch.nn.Parameter(torch.from_numpy(unit(c["name"], c["n"])))
    o = bnb.optim.AdamW8bit([p], lr=c["lr"], betas=(c["beta1"], c["beta2"]), eps=c["eps"], weight_decay=c["weight_decay"])
    steps = []
    for step in range(1, STEPS + 1):
        p.grad = gradient(c, step)
        o.step()
        s = o.state[p]
        steps.append({"p": p.detach().numpy().copy(), **{k: s[k].numpy().copy() for k in EIGHT if k in s}})
    return steps, o.state[p]


def sha256(x):
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()


def tell(c):
    if "absmax1" in c[0]:
        return [{k: sha256(v) for k, v in s.items()} for s in c]
    return [{k: [float(x) for x in v[::273]] for k, v in s.items()} for s in c]


def main(path):
    torch.set_num_threads(1)
    own, cases, maps = torch.Tensor.sqrt, [], None
    for case in CASES:
        c = {**case, **{k: v for k, v in DEFAULTS.items() if k not in case}}
        plain, _ = run(c)
        torch.Tensor.sqrt = lambda x: own(x.double()).float()
        steps, state = run(c)
        torch.Tensor.sqrt = own
        cases.append({**c, "steps": tell(steps)})
        a, b = plain[-1]["p"], steps[-1]["p"]
        print(f"{c['name']}: torch's square root changes {np.sum(a != b)} of {a.size} parameters, at most by {np.abs(a - b).max():.2g}",
              "and no state" if all((x[k] == y[k]).all() for x, y in zip(plain, steps) for k in EIGHT if k in x) else "AND A STATE")
        if "qmap1" in state:
            maps = {"signed": sha256(state["qmap1"].numpy()), "unsigned": sha256(state["qmap2"].numpy())}
    with open(path, "w") as f:
        f.write(json.dumps({"maps": maps, "cases": cases}, indent=1) + "\n")


main(sys.argv[1])
