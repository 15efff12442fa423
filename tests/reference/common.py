"""What the comparisons share: our programs, the samples of a token file, a model's loss over them as eval-loss defines it."""
import json
import os
import subprocess

import torch
from transformers import AutoModelForCausalLM

BIN = os.path.join(os.environ.get("BUILD", "build"), "bin")


def ours(tool, *args):
    """Runs one of our programs; its stdout."""
    done = subprocess.run([f"{BIN}/{tool}", "-q", *map(str, args)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{tool} {' '.join(map(str, args))}: status {done.returncode}: {done.stderr}")
    return done.stdout


def samples(path):
    """[(ids, mask)] of a token file."""
    lines = ours("tok-decode", "--json", path).splitlines()
    return [(torch.tensor(s["ids"]), torch.tensor(s["mask"], dtype=torch.bool)) for s in map(json.loads, lines)]


def load(path, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="eager").eval()


def loss_sum(model, ids, mask):
    """The sum over the trained tokens of one sample, none of which is predicted from nothing. From the logits on in double: torch's sum
    of 50,000 exponentials in f32 is off by several 1e-6, in one direction, which after twenty steps is 2e-3 of the factors."""
    logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits[mask[1:]].double(), ids[1:][mask[1:]], reduction="sum")


def loss(model, data):
    with torch.no_grad():
        total = sum(loss_sum(model, ids, mask).double() for ids, mask in data)
    return (total / sum(int(mask[1:].sum()) for _, mask in data)).item()


def our_loss(model, data, adapter=None):
    args = ["-m", model, "--dtype", "f32"] + (["-a", adapter] if adapter else [])
    return json.loads(ours("eval-loss", *args, data))["loss"]


def check(what, got, want, tolerance):
    difference = abs(got - want) / max(abs(want), 1e-30)
    good = difference <= tolerance
    print(f"{'ok' if good else 'NOT OK'}: {what}: {got:.9g} and {want:.9g}, relative difference {difference:.2g}", flush=True)
    return good
