#!/usr/bin/env python3
"""make_answers.py: how TRL's DPOTrainer and KTOTrainer cut preference data into prompts and answers, as token ids.

    make_answers.py tests/golden/answers [SHARED_DATA [SMOLLM2]]

Needs trl and transformers. Writes into the folder, for records made up here and the tokenizer of pipelines/base-model, the records as
NAME.json and what TRL makes of them as NAME.jsonl: the lines of `tok-decode --json`, with every token of an answer trained. With the
shared data folder (dpo_en_demo.json, kto_en_demo.json, tokenizers/) also demo.sha256: the SHA-256 of these lines for the whole files and
each tokenizer that is there, and with SMOLLM2 (a folder that make-smollm2 has made) for that one.
"""
import hashlib
import json
import os
import sys
from types import SimpleNamespace

from datasets import Dataset, disable_progress_bars
from transformers import AutoTokenizer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer

ROLES = {"human": "user", "gpt": "assistant", "system": "system"}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


# Conversations: one turn, a system text, several turns in the prompt, answers that share their beginning or are one token long.
CHAT = [
    {"prompt": [user("Who are you?")], "chosen": [assistant("A small model.")], "rejected": [assistant("I do not know.")]},
    {"prompt": [{"role": "system", "content": "Be brief."}, user("What is blue?")], "chosen": [assistant("The sky is.")],
     "rejected": [assistant("The sky is, and the sea is, too.")]},
    {"prompt": [user("Hello"), assistant("Hello!"), user("What colour is snow?")], "chosen": [assistant("white")], "rejected": [assistant("é…")]},
    {"prompt": [user("Print <|im_end|> twice")], "chosen": [assistant("<|im_end|><|im_end|>")], "rejected": [assistant("\n\nno")]},
]

# The prompt inside both lists.
IMPLICIT = [{"chosen": r["prompt"] + r["chosen"], "rejected": r["prompt"] + r["rejected"]} for r in CHAT]

# Raw text: tokens that the end of the prompt and an answer share; answers that do the one and not the other.
TEXT = [
    {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."},
    {"prompt": "The sky is bl", "chosen": "ue.", "rejected": "ack."},
    {"prompt": "What colour is the ap", "chosen": "ple?", "rejected": "e?"},
    {"prompt": "Once upon a ti", "chosen": "me", "rejected": " me"},
    {"prompt": "Snow is\n", "chosen": "\nwhite", "rejected": "white"},
]

# Raw text without a prompt: what both begin with.
BARE = [
    {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    {"chosen": "What colour is the apple? It is red.", "rejected": "What colour is the apple? It is round."},
    {"chosen": "It is white", "rejected": "It is white."},
    {"chosen": "It is caf\u00e9", "rejected": "It is caf\u00e8"},
]

KTO = [{"prompt": r["prompt"], "completion": r["chosen"], "label": i % 2 == 0} for i, r in enumerate(CHAT)]
KTO_TEXT = [{"prompt": r["prompt"], "completion": r["rejected"], "label": i % 2 == 1} for i, r in enumerate(TEXT)]


def trl(records, tokenizer, kto):
    trainer = KTOTrainer if kto else DPOTrainer
    this = SimpleNamespace(_tokenizer=tokenizer, calculate_KL=False, desirable_weight=1.0, undesirable_weight=1.0)
    args = SimpleNamespace(dataset_num_proc=None, max_length=None, truncation_mode="keep_start", per_device_train_batch_size=8)
    return trainer._prepare_dataset(this, Dataset.from_list(records), tokenizer, args, "train")


def lines(records, tokenizer):
    """What tok-decode --json shows of a token file made with fmt-chat --train all."""
    kto = "label" in records[0]
    answers = ["completion"] if kto else ["chosen", "rejected"]
    for i, row in enumerate(trl(records, tokenizer, kto)):
        out = {"sample": i + 1, "prompt": row["prompt_ids"], "prompt_mask": [0] * len(row["prompt_ids"])}
        for name in answers:
            ids = row[name + "_ids"]
            out[name] = ids
            out[name + "_mask"] = [1] * len(ids)
        if kto:
            out["label"] = row["label"]
        yield json.dumps(out, separators=(",", ":")) + "\n"


def messages(conversation):
    return [{"role": m["role"] if "role" in m else ROLES[m["from"]], "content": m["content"] if "content" in m else m["value"]} for m in conversation]


def demo(name, data):
    with open(os.path.join(data, name)) as f:
        records = json.load(f)
    if name.startswith("dpo"):
        return [{"prompt": messages(r["conversations"]), "chosen": messages([r["chosen"]]), "rejected": messages([r["rejected"]])} for r in records]
    return [{"prompt": messages(r["messages"][:-1]), "completion": messages(r["messages"][-1:]), "label": r["label"]} for r in records]


def main():
    disable_progress_bars()
    out = sys.argv[1]
    here = os.path.dirname(os.path.abspath(__file__))
    tokenizer = AutoTokenizer.from_pretrained(os.path.join(here, "../../pipelines/base-model/model"))
    for name, records in (("chat", CHAT), ("implicit", IMPLICIT), ("text", TEXT), ("bare", BARE), ("kto", KTO), ("kto-text", KTO_TEXT)):
        with open(os.path.join(out, name + ".json"), "w") as f:
            f.write("[" + ",\n".join(json.dumps(r) for r in records) + "]\n")
        with open(os.path.join(out, name + ".jsonl"), "w") as f:
            f.writelines(lines(records, tokenizer))
    if len(sys.argv) < 3:
        return
    folders = [("llama3", os.path.join(sys.argv[2], "tokenizers/llama3")), ("qwen3", os.path.join(sys.argv[2], "tokenizers/qwen3"))]
    if len(sys.argv) > 3:
        folders.append(("smollm2", sys.argv[3]))
    with open(os.path.join(out, "demo.sha256"), "w") as f:
        for tokenizer_name, folder in folders:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            for name in ("dpo_en_demo.json", "kto_en_demo.json"):
                text = "".join(lines(demo(name, sys.argv[2]), tokenizer))
                f.write(f"{hashlib.sha256(text.encode()).hexdigest()} {tokenizer_name} {name}\n")


if __name__ == "__main__":
    main()
