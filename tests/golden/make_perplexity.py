#!/usr/bin/env python3
"""make_perplexity.py TEXT OUT.json: perplexity of a text by three protocols, and distances of two models, by transformers in f32.

Needs torch and transformers 5.23, and in PATH tests/tools' make-model, which makes the models: "model", "model" stored as bf16 and "other"
(--salt other); "bos" is "model" with a tokenizer that puts <|endoftext|> before a text. tests/cli/eval-loss.t compares eval-loss with the result.

One entry a line. "PROTOCOL WINDOW": [tokens that count, mean loss], the protocols plain, plain_bos, half, half_bos and stride (WINDOW/STRIDE); "loop": the
loss that the loop of transformers' documentation prints for the last of stride, whose weights of windows differ a little; "bf16 KEY" and
"other KEY", as in eval-loss's line: of that model against "model" over plain windows of 64.
"""
import json
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

BOS = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
       "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
       "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [256], "tokens": ["<|endoftext|>"]}}}


def losses(model, ids, first):
    """-log p of the tokens ids[first:], first >= 1."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    return torch.nn.functional.cross_entropy(logits[first - 1:-1], torch.tensor(ids[first:]), reduction="none")


def tell(parts):
    x = torch.cat(parts)
    return [x.numel(), x.mean().item()]


def plain(model, ids, window):
    return tell([losses(model, ids[i * window:(i + 1) * window], 1) for i in range(len(ids) // window)])


def half(model, ids, window, bos):
    parts = []
    for i in range(len(ids) // window):
        w = list(ids[i * window:(i + 1) * window])
        if bos is not None:
            w[0] = bos
        parts.append(losses(model, w, window // 2 + 1))
    return tell(parts)


def stride(model, ids, window, step):
    """The tokens that count, and the loss of the documentation's loop: a mean of windows' means with these weights."""
    parts, total, weights, seen = [], 0.0, 0, 0
    for begin in range(0, len(ids), step):
        end = min(begin + window, len(ids))
        fresh = end - seen
        w = torch.tensor([ids[begin:end]])
        labels = w.clone()
        labels[:, :-fresh] = -100
        with torch.no_grad():
            total += model(w, labels=labels).loss.item() * (fresh - 1)
        weights += fresh - 1
        parts.append(losses(model, ids[begin:end], max(end - begin - fresh, 1)))
        seen = end
        if end == len(ids):
            break
    return tell(parts), total / weights


def states(model, ids):
    """Scores and the output of every layer."""
    seen = []
    hooks = [layer.register_forward_hook(lambda m, a, out: seen.append((out[0] if isinstance(out, tuple) else out)[0].double())) for layer in model.model.layers]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    for h in hooks:
        h.remove()
    return logits, [x if x.dim() == 2 else x[0] for x in seen]


def against(model, reference, ids, window):
    kl, agree, layers = [], [], []
    for i in range(len(ids) // window):
        w = ids[i * window:(i + 1) * window]
        (q, a), (p, b) = states(model, w), states(reference, w)
        q, p = torch.log_softmax(q[:-1], -1), torch.log_softmax(p[:-1], -1)
        kl.append((p.exp() * (p - q)).sum(-1))
        agree.append(p.argmax(-1) == q.argmax(-1))
        layers.append(torch.stack([((x - y)[:-1] ** 2).sum(-1) / (y[:-1] ** 2).sum(-1) for x, y in zip(a, b)]))
    kl = torch.cat(kl)
    return {"mean_kl": kl.mean().item(), "mean_kl_error": (kl.std(unbiased=False) / (kl.numel() - 1) ** 0.5).item(), "max_kl": kl.max().item(),
            "top1_agreement": torch.cat(agree).double().mean().item(), "layer_errors": torch.cat(layers, 1).mean(1).tolist()}


def main(path, out):
    torch.set_num_threads(1)
    text = open(path, encoding="utf-8").read()
    with tempfile.TemporaryDirectory() as d:
        for name, options in ("model", []), ("bf16", ["-t", "bf16"]), ("other", ["--salt", "other"]), ("bos", []):
            subprocess.run(["make-model", "-q", "-o", f"{d}/{name}", *options], check=True)
        name = f"{d}/bos/tokenizer.json"
        tokenizer = json.load(open(name))
        tokenizer["post_processor"] = BOS
        with open(name, "w") as f:
            json.dump(tokenizer, f)
        ids = AutoTokenizer.from_pretrained(f"{d}/model")(text).input_ids
        with_bos = AutoTokenizer.from_pretrained(f"{d}/bos")(text).input_ids
        assert with_bos == [256] + ids
        m = {k: AutoModelForCausalLM.from_pretrained(f"{d}/{k}", dtype=torch.float32).eval() for k in ("model", "bf16", "other")}
    model, loop, strided = m["model"], None, {}
    for window, step in (64, 24), (64, 64), (100, 33), (4096 // 10, 300), (64, 17):
        strided[f"{window}/{step}"], loop = stride(model, ids, window, step)
    entries = {f"plain {w}": plain(model, ids, w) for w in (64, 300)}
    entries["plain_bos 64"] = plain(model, with_bos, 64)
    entries.update({f"half {w}": half(model, ids, w, None) for w in (64, 51, 4)})
    entries["half_bos 64"] = half(model, with_bos, 64, 256)
    entries.update({f"stride {w}": v for w, v in strided.items()})
    entries["loop"] = loop
    for name in "bf16", "other":
        entries.update({f"{name} {k}": v for k, v in against(m[name], model, ids, 64).items()})
    with open(out, "w") as f:
        f.write("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in entries.items()) + "\n}\n")


if len(sys.argv) != 3:
    sys.exit(__doc__)
main(*sys.argv[1:])
