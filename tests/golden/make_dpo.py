#!/usr/bin/env python3
"""make_dpo.py DATA DIR: ten steps of preference training of a tiny model by TRL 1.16 in f32.

Writes DIR/NAME.safetensors for each entry of CASES; tests/unit/preference_golden.c runs the same with our training loop. DATA holds
dpo_en_demo.json and kto_en_demo.json, of which the beginnings of the first records are taken as bytes; ids are bytes, an answer ends with id 3.
Weights, and the first LoRA factors A, follow tests/golden/make_models.py's formula and are not stored.

Samples are taken in their order, a step's worth at a time, a shorter step at the end of each pass; kto's step is all of them, because TRL
mismatches prompts and answers within a step and we do within the file.

Metadata: config, and settings as JSON. Tensors: ids, prompt, first, second (lengths; second is 0 for labelled samples), label, loss and
grad_norm (one a step), metric.NAME (one a step), final.TENSOR of some tensors.
"""
import json
import os
import sys
import tempfile

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
from datasets import Dataset
from make_models import fill, values
from peft import LoraConfig
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from torch.utils.data import SequentialSampler
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

CONFIG = {"model_type": "llama", "hidden_size": 24, "intermediate_size": 36, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
          "vocab_size": 256, "max_position_embeddings": 160, "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "bos_token_id": None, "eos_token_id": 3,
          "pad_token_id": 0}
RUN = {"lr": 3e-3, "warmup": 2, "steps": 10, "batch": 4, "weight_decay": 0.01, "clip": 1.0, "samples": 10}
LORA = {**RUN, "rank": 4, "alpha": 8.0, "lr": 2e-2}
CASES = {
    "sigmoid": {**LORA, "losses": "sigmoid", "beta": 0.1},
    "sigmoid-full": {**RUN, "losses": "sigmoid:0.8,sft:0.5", "beta": 0.3},
    "weighted": {**LORA, "losses": "sigmoid", "beta": 0.2, "wpo": True, "ld_alpha": 0.5},
    "ipo": {**RUN, "losses": "ipo", "beta": 0.2},
    "orpo": {**LORA, "losses": "orpo", "beta": 0.5, "train_prompt": True},
    "simpo": {**RUN, "losses": "simpo", "beta": 2.0, "simpo_gamma": 1.0},
    "kto": {**LORA, "lr": 5e-3, "losses": "kto", "beta": 0.3, "batch": 6, "samples": 6, "desirable_weight": 1.25},
    "cpo": {**RUN, "losses": "cpo", "beta": 0.1},
}
KEPT = ("model.layers.1.mlp.down_proj", "model.layers.0.self_attn.q_proj", "model.norm")
EOS = "\x03"


def text(s, most):
    return s.encode()[:most].decode("latin-1")


def pairs(folder, n):
    out = []
    for i, r in enumerate(json.load(open(os.path.join(folder, "dpo_en_demo.json"), encoding="utf-8"))[:n]):
        out.append({"prompt": text(r["conversations"][-1]["value"], 20 + 5 * (i % 4)), "chosen": text(r["chosen"]["value"], 16 + 7 * (i % 5)) + EOS,
                    "rejected": text(r["rejected"]["value"], 40 - 6 * (i % 6)) + EOS})
    return out


def labelled(folder, n):
    records = json.load(open(os.path.join(folder, "kto_en_demo.json"), encoding="utf-8"))
    kept = []
    for r in records:
        if len(kept) < n and r["label"] == (len(kept) % 3 != 1):
            kept.append(r)
    return [{"prompt": text(r["messages"][0]["content"], 20 + 5 * (i % 4)), "completion": text(r["messages"][1]["content"], 16 + 6 * (i % 5)) + EOS,
             "label": r["label"]} for i, r in enumerate(kept)]


def tokenizer():
    t = Tokenizer(models.WordLevel({chr(i): i for i in range(256)}, unk_token=chr(1)))
    t.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=t, pad_token=chr(0), eos_token=EOS)


def model():
    with tempfile.TemporaryDirectory() as d:
        with open(os.path.join(d, "config.json"), "w") as f:
            json.dump(CONFIG, f)
        parsed = AutoConfig.from_pretrained(d)
    m = AutoModelForCausalLM.from_config(parsed, attn_implementation="eager", dtype=torch.float32)
    fill(m, torch.float32)
    return m


def trainer_of(s):
    name = s["losses"].split(":")[0]
    trainer, config = {"kto": (KTOTrainer, KTOConfig), "orpo": (ORPOTrainer, ORPOConfig), "simpo": (CPOTrainer, CPOConfig), "cpo": (CPOTrainer, CPOConfig)}.get(
        name, (DPOTrainer, DPOConfig))
    own = {"beta": s["beta"]}
    if name == "kto":
        own["desirable_weight"] = s["desirable_weight"]
    elif name in ("simpo", "cpo"):
        own |= {"loss_type": {"cpo": "sigmoid"}.get(name, name), "simpo_gamma": s.get("simpo_gamma", 0.5), "cpo_alpha": 1.0 if name == "cpo" else 0.0}
    elif trainer is DPOTrainer:
        items = [x.split(":") for x in s["losses"].split(",")]
        own |= {"loss_type": [x[0] for x in items], "loss_weights": [float(x[1]) if len(x) > 1 else 1.0 for x in items],
                "use_weighting": s.get("wpo", False), "ld_alpha": s.get("ld_alpha")}

    class Recorded(trainer):
        losses = []

        def compute_loss(self, *args, **kwargs):
            loss = super().compute_loss(*args, **kwargs)
            self.losses.append(loss.item())
            return loss

        def _get_train_sampler(self, dataset=None):
            return SequentialSampler(dataset if dataset is not None else self.train_dataset)

    return Recorded, config, own


def run(name, s, folder):
    rows = labelled(folder, s["samples"]) if s["losses"] == "kto" else pairs(folder, s["samples"])
    trainer, config, own = trainer_of(s)
    with tempfile.TemporaryDirectory() as d:
        args = config(output_dir=d, per_device_train_batch_size=s["batch"], max_steps=s["steps"], learning_rate=s["lr"], lr_scheduler_type="cosine",
                      warmup_steps=s["warmup"], weight_decay=s["weight_decay"], max_grad_norm=s["clip"], logging_steps=1, save_strategy="no", report_to="none",
                      use_cpu=True, bf16=False, fp16=False, gradient_checkpointing=False, disable_tqdm=True, max_length=150, **own)
        more = {}
        if "rank" in s:
            more["peft_config"] = LoraConfig(r=s["rank"], lora_alpha=s["alpha"], target_modules="all-linear", task_type="CAUSAL_LM")
        elif trainer.__mro__[1] is DPOTrainer:
            more["ref_model"] = model()
        t = trainer(model=model(), args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer(), **more)
        trained = {n.replace(".default", ""): p for n, p in t.model.named_parameters() if p.requires_grad}
        with torch.no_grad():
            for key, p in trained.items():
                if "lora_A" in key:
                    p.copy_(values(key, tuple(p.shape)))
        t.losses.clear()
        t.train()
        log = [x for x in t.state.log_history if "grad_norm" in x]
        return rows, t.losses, log, {n: p.detach().clone() for n, p in trained.items()}


def ids(s):
    return [ord(c) for c in s]


def make(name, folder, out):
    s = CASES[name]
    rows, losses, log, final = run(name, s, folder)
    assert len(losses) == len(log) == s["steps"]
    kto = "label" in rows[0]
    first, second = ("completion", None) if kto else ("chosen", "rejected")
    tensors = {
        "ids": torch.tensor([i for r in rows for k in ("prompt", first, second) if k for i in ids(r[k])], dtype=torch.int32),
        "prompt": torch.tensor([len(r["prompt"]) for r in rows], dtype=torch.int32),
        "first": torch.tensor([len(r[first]) for r in rows], dtype=torch.int32),
        "second": torch.tensor([len(r[second]) if second else 0 for r in rows], dtype=torch.int32),
        "label": torch.tensor([bool(r.get("label")) for r in rows], dtype=torch.uint8),
        "loss": torch.tensor(losses, dtype=torch.float64),
        "grad_norm": torch.tensor([float(x["grad_norm"]) for x in log], dtype=torch.float64),
    }
    for key in sorted({k for x in log for k in x} - ({"nll_loss"} if s["losses"] == "simpo" else set())):  # it has none; TRL logs 0
        if key.startswith(("rewards/", "logps/", "logits/", "log_odds")) or key in ("entropy", "kl", "nll_loss"):
            tensors["metric." + key] = torch.tensor([float(x.get(key, "nan")) for x in log], dtype=torch.float64)
    tensors |= {"final." + n: p.contiguous() for n, p in final.items() if any(k in n for k in KEPT)}
    save_file(tensors, os.path.join(out, name + ".safetensors"), metadata={"config": json.dumps(CONFIG), "settings": json.dumps(s)})
    print(name, [f"{x:.5f}" for x in losses], {k: v for k, v in log[-1].items() if isinstance(v, float)}, flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    torch.set_num_threads(1)
    for case in sys.argv[3:] or CASES:
        make(case, sys.argv[1], sys.argv[2])
