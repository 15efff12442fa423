#!/usr/bin/env python3
"""make_preference.py TRL113 OUT.json: preference losses, their gradients and metrics by TRL's own code, in double.

TRL's functions run on recorded log-probabilities of tokens instead of a model's. Needs torch and trl 1.16, and in the folder TRL113 the
unpacked wheel of trl 1.13, the last release with the BCO trainer. TRL's casts to single precision are replaced (in_double), so that
values can be compared to 1e-6, and WPO's product in place, which fails after some losses; nothing else of it is changed. tests/unit/preference.c reads the result.

{"batches": {NAME: [sample]}, "cases": [case]}; a sample has for each answer [count, shared, rest, reference shared, reference rest,
agreement], "prompt" [count, sum] and "label". A case has the options, "batch", "training", maybe "state" [mean, count], "loss", "gradients" (shared
and rest of chosen, of rejected; then the prompt's) and "metrics". null: TRL's value is not finite.
"""
import ast
import inspect
import json
import math
import os
import sys
import textwrap
from collections import defaultdict
from types import SimpleNamespace

import torch
from trl.experimental.cpo import cpo_trainer
from trl.experimental.orpo import orpo_trainer
from trl.trainer import dpo_trainer, kto_trainer

torch.set_default_dtype(torch.float64)

LOSSES = ["sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop",
          "sigmoid_norm", "sft"]
DIVERGENT = ["sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop"]
SMOOTHED = {"robust": 0.1, "exo_pair": 1e-3, "aot": 0.1, "aot_unpaired": 0.1}


def in_double(function, names):
    source = textwrap.dedent(inspect.getsource(function)) if callable(function) else function
    source = source.replace(".float()", ".double()").replace("torch.float32: 80.0}", "torch.float32: 80.0, torch.float64: 80.0}")
    source = source.replace("per_sequence_loss *= ", "per_sequence_loss = per_sequence_loss * ")
    space = dict(names)
    exec(source, space)
    return space


def old_bco(folder):
    """bco_loss and RunningMoments out of trl 1.13, whose module does not import beside 1.16."""
    source = open(os.path.join(folder, "trl/experimental/bco/bco_trainer.py"), encoding="utf-8").read()
    wanted = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in ("bco_loss", "RunningMoments"):
            wanted[node.name] = textwrap.dedent("\n".join(source.splitlines()[node.lineno - 1:node.end_lineno]))
    space = in_double(wanted["bco_loss"], {"torch": torch, "F": torch.nn.functional})
    moments = in_double("@dataclasses.dataclass\n" + wanted["RunningMoments"],
                        {"torch": torch, "dataclasses": __import__("dataclasses"), "Accelerator": object, "json": json})
    return space["bco_loss"], moments["RunningMoments"]


def tokens(seed, count, level, spread):
    """Log-probabilities of tokens: a fixed, uneven row around `level`."""
    return [level - spread * abs(math.sin(1.7 * seed + 2.3 * i)) for i in range(count)]


def make_pair(seed, counts, levels, spread=1.5, prompt=3):
    sample = {"label": seed % 3 != 0, "prompt_row": tokens(seed + 50, prompt, -1.2, spread)}
    for k in range(2):
        sample[k] = {"policy": tokens(seed + 7 * k, counts[k], levels[k], spread), "reference": tokens(seed + 7 * k + 3, counts[k], levels[2 + k], spread),
                     "square": tokens(seed + 7 * k + 5, counts[k], -0.3, 1.0)}
    return sample


BATCHES = {
    "one": [make_pair(1, (4, 5), (-1.5, -2.0, -1.7, -1.6))],
    "five": [make_pair(i, c, v) for i, (c, v) in enumerate([((3, 7), (-.7, -.9, -.8, -.6)), ((9, 2), (-1.1, -.2, -.9, -.7)), ((1, 1), (-.05, -.4, -.6, -.1)),
                                                            ((6, 5), (-2.2, -1.8, -2.0, -2.4)), ((2, 8), (-.3, -.5, -.3, -.5))])],
    "self": [{**p, 0: {**p[0], "reference": p[0]["policy"]}, 1: {**p[1], "reference": p[1]["policy"]}}
             for p in (make_pair(11, (3, 3), (-.6, -.9, 0, 0)), make_pair(12, (5, 4), (-.6, -1.9, 0, 0)))],
    "extreme": [make_pair(21, (3, 2), (-3500, -1, -1, -2)), make_pair(22, (2, 3), (-1, -3500, -2, -1)), make_pair(23, (1, 2), (-10000, -4000, -1, -1)),
                make_pair(24, (2, 1), (-1, -1, -5000, -9000)), make_pair(25, (1, 1), (-2e-9, -3e-9, -1, -1), 0), make_pair(26, (2, 2), (-400, -30, -30, -400))],
    "ties": [make_pair(31, (2, 2), (-1, -2, -1.5, -1.5), 0), make_pair(32, (2, 2), (-1, -2, -1.5, -1.5), 0), make_pair(33, (4, 3), (-1, -1, -1, -2), 0)],
}


class Model(torch.nn.Module):
    """Answers each call with the next of the recorded outputs."""

    is_gradient_checkpointing = False

    def __init__(self, outputs):
        super().__init__()
        self.outputs = list(outputs)

    def forward(self, **_):
        return self.outputs.pop(0)


def padded(rows, fill=0.0):
    width = max(len(r) for r in rows)
    return torch.tensor([r + [fill] * (width - len(r)) for r in rows])


def output(rows, squares=None, leaf=False):
    log_probs = padded(rows).requires_grad_(leaf)
    zeros = torch.zeros_like(log_probs)
    return SimpleNamespace(log_probs=log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool(), log_sum_sq_probs=padded(squares or rows))


ACCELERATOR = SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=lambda x: x, gather=lambda x: x, unwrap_model=lambda m: m, use_distributed=False)


def dpo(batch, o, shift=0.0):
    """TRL's DPO: (loss, gradient by token [chosen rows, then rejected rows], metrics). shift: added to the sums of the reference."""
    rows = [s[k] for k in range(2) for s in batch]
    policy = output([r["policy"] for r in rows], [r["square"] for r in rows], leaf=True)
    mask = padded([[1.0] * (len(r["policy"])) for r in rows]).long()
    mask = torch.cat([torch.zeros(len(rows), 1, dtype=torch.long), mask], 1)
    reference = output([[r["reference"][0] + shift] + r["reference"][1:] for r in rows])
    losses = [item.split(":") for item in o["losses"].split(",")]
    me = SimpleNamespace(model=Model([]), accelerator=ACCELERATOR, aux_loss_enabled=False, ld_alpha=o.get("ld_alpha"), precompute_ref_logps=False,
                         ref_model=Model([reference]), f_divergence_type=o.get("f_divergence", "reverse_kl"), f_alpha_divergence_coef=o.get("f_alpha", 0.5),
                         loss_types=[x[0] for x in losses], loss_weights=[float(x[1]) if len(x) > 1 else 1.0 for x in losses], beta=o.get("beta", 0.1),
                         label_smoothing=o.get("label_smoothing", 0.0), use_weighting=o.get("wpo", False), _metrics={"train": defaultdict(list)},
                         _total_train_tokens=0, _tp_size=1, args=SimpleNamespace(discopop_tau=o.get("discopop_tau", 0.05), gradient_checkpointing_kwargs=None))
    inputs = {"input_ids": torch.ones_like(mask), "attention_mask": torch.ones_like(mask), "completion_mask": mask}
    compute = in_double(dpo_trainer.DPOTrainer._compute_loss, vars(dpo_trainer))["_compute_loss"]
    loss = compute(me, Model([policy]), inputs, False)
    loss.backward()
    keep = ("logps",) if o["losses"] == "sft" else ("rewards", "logps")  # ours makes no reference for sft alone
    return loss, policy.log_probs.grad, {k: v[0] for k, v in me._metrics["train"].items() if k.startswith(keep)}


def free(batch, o):
    """TRL's ORPO or CPO trainer on averages or sums of the recorded tokens, whose cross-entropy is formed as concatenated_forward does."""
    name = o["losses"].split(",")[0]
    module = orpo_trainer if name == "orpo" else cpo_trainer
    rows = padded([s[k]["policy"] for k in range(2) for s in batch]).requires_grad_()
    prompt = padded([s["prompt_row"] for s in batch]).requires_grad_()
    counts = torch.tensor([float(len(s[k]["policy"])) for k in range(2) for s in batch])
    n = len(batch)
    logps = rows.sum(1) / (1 if name == "cpo" else counts)
    nll = -rows[:n].sum() / counts[:n].sum()
    if o.get("train_prompt"):
        nll = -(rows[:n].sum() + prompt.sum()) / (counts[:n].sum() + sum(len(s["prompt_row"]) for s in batch))
    me = SimpleNamespace(accelerator=ACCELERATOR, aux_loss_enabled=False, beta=o.get("beta", 0.1), label_smoothing=o.get("label_smoothing", 0.0),
                         loss_type={"cpo": "sigmoid", "alphapo": "simpo"}.get(name, name), simpo_gamma=o.get("simpo_gamma", 0.5),
                         alpha=o.get("alpha", 0.25) if name == "alphapo" else 0.0, cpo_alpha=1.0 if name == "cpo" else o.get("sft", 0.0))
    me.concatenated_forward = lambda *_: (logps[:n], logps[n:], torch.zeros(1), torch.zeros(1), nll)
    trainer = module.ORPOTrainer if name == "orpo" else module.CPOTrainer
    space = dict(vars(module))
    if name == "orpo":
        space |= in_double(module.log1mexp, vars(inspect.getmodule(module.log1mexp)))
    for method in ("odds_ratio_loss",) if name == "orpo" else ("cpo_loss",):
        bound = in_double(getattr(trainer, method), space)[method]
        setattr(me, method, lambda *a, f=bound: f(me, *a))
    loss, metrics = in_double(trainer.get_batch_loss_metrics, vars(module))["get_batch_loss_metrics"](me, None, {})
    loss.backward()
    metrics = {k: float(v) for k, v in metrics.items() if not k.startswith("logits")}
    if name in ("simpo", "alphapo") and not o.get("sft"):
        del metrics["nll_loss"]
    return loss, rows.grad, metrics, prompt.grad


def smoothed_sigmoid(batch, o):
    """cDPO: TRL's DPO has no label smoothing, its CPO has; log-ratios take the place of log-probabilities."""
    rows = padded([s[k]["policy"] for k in range(2) for s in batch]).requires_grad_()
    reference = padded([s[k]["reference"] for k in range(2) for s in batch])
    ratio = (rows - reference).sum(1)
    me = SimpleNamespace(accelerator=ACCELERATOR, beta=o.get("beta", 0.1), label_smoothing=o["label_smoothing"], loss_type="sigmoid", alpha=0.0)
    losses, chosen, rejected = cpo_trainer.CPOTrainer.cpo_loss(me, *ratio.chunk(2))
    loss = losses.mean()
    loss.backward()
    return loss, rows.grad, {"rewards/chosen": chosen.mean().item(), "rewards/rejected": rejected.mean().item()}


def kto(batch, o):
    rows = [s[0] for s in batch]
    mask = padded([[1.0] * len(r["policy"]) for r in rows]).long()
    mask = torch.cat([torch.zeros(len(rows), 1, dtype=torch.long), mask], 1)
    policy = output([r["policy"] for r in rows], leaf=True)
    mismatched = torch.tensor([sum(s[1]["policy"]) for s in batch])
    me = SimpleNamespace(model=Model([]), accelerator=ACCELERATOR, aux_loss_enabled=False, precompute_ref_logps=True, calculate_KL=o["losses"] == "kto",
                         _compute_kl_logps=lambda *_: mismatched, loss_type=o["losses"], beta=o.get("beta", 0.1), _metrics={"train": defaultdict(list)},
                         desirable_weight=o.get("desirable_weight", 1.0), undesirable_weight=o.get("undesirable_weight", 1.0), _total_train_tokens=0, _tp_size=1)
    inputs = {"input_ids": torch.ones_like(mask), "attention_mask": torch.ones_like(mask), "completion_mask": mask, "label": torch.tensor([s["label"] for s in batch]),
              "ref_logps": torch.tensor([sum(r["reference"]) for r in rows]), "ref_KL_logps": torch.tensor([sum(s[1]["reference"]) for s in batch])}
    compute = in_double(kto_trainer.KTOTrainer._compute_loss, vars(kto_trainer))["_compute_loss"]
    loss = compute(me, Model([policy]), inputs, False)
    loss.backward()
    keep = ("rewards", "logps", "kl") if o["losses"] == "kto" else ("rewards", "logps")
    return loss, policy.log_probs.grad, {k: v[0] for k, v in me._metrics["train"].items() if k.startswith(keep)}


def bco(batch, o, functions, state, training):
    loss_of, moments = functions
    rows = padded([s[0]["policy"] for s in batch]).requires_grad_()
    reference = padded([s[0]["reference"] for s in batch]).sum(1)
    label = torch.tensor([s["label"] for s in batch])
    me = SimpleNamespace(beta=o.get("beta", 0.1), match_underlying_distribution=False,
                         running=moments(ACCELERATOR, mean=state[0], count=state[1] or 1e-24))
    sums = rows.sum(1)
    losses, _, _, delta = loss_of(me, sums[label], sums[~label], reference[label], reference[~label], None, None, do_train=training)
    loss = losses.nanmean()
    loss.backward()
    return loss, rows.grad, {"delta": float(delta)}


def number(x):
    x = float(x.detach() if isinstance(x, torch.Tensor) else x)
    return float(f"{x:.9g}") if math.isfinite(x) else None


def entry(batch, o, loss, grad, metrics, prompt=None, **more):
    """Gradients by token as one coefficient for the shared tokens and one for the rest; they must be the same within each."""
    gradients = []
    labelled = len(grad) == len(batch)
    for i, s in enumerate(batch):
        row = []
        for k in range(1 if labelled else 2):
            n = len(s[k]["policy"])
            shared = n if labelled else min(n, len(s[1 - k]["policy"]))
            g = grad[i + k * len(batch)]
            for part in (g[:shared], g[shared:n]):
                assert not len(part) or not torch.isfinite(part).all() or torch.allclose(part, part[0], rtol=1e-12, atol=0)
                row.append(number(part[0]) if len(part) else 0)
        gradients.append((row + [0, 0] if labelled else row) + [number(prompt[i, 0]) if prompt is not None and o.get("train_prompt") else 0])
    return {"options": o, **more, "loss": number(loss), "gradients": gradients, "metrics": {k: number(v) for k, v in metrics.items()}}


def pair_options():
    for loss in LOSSES:
        yield {"losses": loss, **({"label_smoothing": SMOOTHED[loss]} if loss == "exo_pair" else {})}
        if loss in SMOOTHED:
            yield {"losses": loss, "label_smoothing": SMOOTHED[loss] * 2, "beta": 0.3}
    yield {"losses": "discopop", "discopop_tau": 0.7, "beta": 0.5}
    yield {"losses": "sigmoid:0.8,sft:0.5"}
    yield {"losses": "sigmoid:0.25,ipo:2,apo_zero,sft:0.1,aot:0.5", "beta": 0.2}
    for kind in ({"f_divergence": "forward_kl"}, {"f_divergence": "js_divergence"}, {"f_divergence": "alpha_divergence"},
                 {"f_divergence": "alpha_divergence", "f_alpha": 2.0}, {"f_divergence": "alpha_divergence", "f_alpha": 1.0000001},
                 {"f_divergence": "alpha_divergence", "f_alpha": -0.5}):
        for loss in DIVERGENT:
            yield {"losses": loss, **({"label_smoothing": SMOOTHED[loss]} if loss in SMOOTHED else {}), **kind}
    yield {"losses": "sigmoid,sft:0.3,sigmoid_norm", "f_divergence": "js_divergence"}
    for alpha in (0.5, 0.0):
        for loss in LOSSES:
            yield {"losses": loss, "ld_alpha": alpha, **({"label_smoothing": SMOOTHED[loss]} if loss in SMOOTHED else {})} if loss != "sft" else {"losses": "sigmoid,sft", "ld_alpha": alpha}
    for loss in LOSSES:
        if loss not in ("aot", "aot_unpaired", "sft"):
            yield {"losses": loss, "wpo": True, **({"label_smoothing": SMOOTHED[loss]} if loss in SMOOTHED else {})}
    yield {"losses": "sigmoid,ipo:0.5", "wpo": True, "ld_alpha": 0.3, "f_divergence": "forward_kl"}


FREE = [{"losses": "orpo"}, {"losses": "orpo", "beta": 0.5, "train_prompt": True}, {"losses": "cpo"}, {"losses": "cpo", "label_smoothing": 0.1, "beta": 0.2},
        {"losses": "simpo"}, {"losses": "simpo", "beta": 2.0, "simpo_gamma": 1.0, "label_smoothing": 0.2}, {"losses": "simpo,sft:0.7", "sft": 0.7},
        {"losses": "alphapo"}, {"losses": "alphapo", "alpha": -0.25, "beta": 2.0, "simpo_gamma": 0.3}, {"losses": "alphapo", "alpha": 2.0, "label_smoothing": 0.1}]


def make(folder):
    functions, cases = old_bco(folder), []
    for name, batch in BATCHES.items():
        def add(result, o, training=True, state=None, **more):
            o = {k: v for k, v in o.items() if k != "sft"}
            cases.append({"batch": name, "training": training, **({"state": state} if state else {}), **entry(batch, o, *result, **more)})
        plain = name in ("one", "five")
        for o in pair_options():
            if plain or (name == "self" and set(o) <= {"losses", "label_smoothing"}) or (name == "extreme" and "ld_alpha" not in o) or (name == "ties" and o["losses"].startswith("aot")):
                add(dpo(batch, o), o)
        for o in FREE:
            if name != "ties":
                add(free(batch, o), o)
        for beta in (0.1, 0.4):
            o = {"losses": "bco_pair", "beta": beta}
            rewards = [beta * (sum(s[k]["policy"]) - sum(s[k]["reference"])) for s in batch for k in range(2)]
            delta = sum(rewards) / len(rewards)
            loss, grad, _ = dpo(batch, o, delta / beta)
            add((loss, grad, {"delta": delta}), o)
        add(dpo(batch, {"losses": "bco_pair"}), {"losses": "bco_pair"}, training=False)
        if name == "ties":
            continue
        o = {"losses": "sigmoid", "label_smoothing": 0.1}
        add(smoothed_sigmoid(batch, o), o)
        for o in ({"losses": "kto"}, {"losses": "kto", "beta": 0.5, "desirable_weight": 1.5, "undesirable_weight": 0.75}, {"losses": "apo_zero_unpaired"}):
            add(kto(batch, o), o)
        o = {"losses": "bco"}
        add(bco(batch, o, functions, [0.0, 0.0], True), o)
        add(bco(batch, o, functions, [-0.25, 12.0], True), o, state=[-0.25, 12.0])
        add(bco(batch, o, functions, [-0.25, 12.0], False), o, training=False, state=[-0.25, 12.0])
    return cases


def samples(batch):
    out = []
    for s in batch:
        answers = []
        for k in range(2):
            p, r, q = (s[k][x] for x in ("policy", "reference", "square"))
            n = min(len(p), len(s[1 - k]["policy"]))
            answers.append([len(p), sum(p[:n]), sum(p[n:]), sum(r[:n]), sum(r[n:]), sum(a - b for a, b in zip(p, q)) / len(p)])
        out.append({"answers": answers, "prompt": [len(s["prompt_row"]), sum(s["prompt_row"])], "label": s["label"]})
    return out


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    made = make(sys.argv[1])
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        f.write('{"batches": {\n' + ",\n".join(f'{json.dumps(n)}: {json.dumps(samples(b))}' for n, b in BATCHES.items()) + "},\n")
        f.write('"cases": [\n' + ",\n".join(json.dumps(c) for c in made) + "]}\n")
    print(len(made), "cases")
