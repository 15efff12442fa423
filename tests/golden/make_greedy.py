#!/usr/bin/env python3
"""make_greedy.py MODEL >smollm2-greedy.jsonl: what transformers answers greedily, in f32, with MODEL's own chat template.

One record a line, as gen --batch reads it: the last message is transformers' answer (64 tokens at most, no sampling, no
repetition penalty), which gen counts as a match when it says the same. "margin" is the smallest difference between the two
best logits on the way: an answer with a margin of rounding size would prove nothing, and stops the script. The first record
also holds the SHA-256 of MODEL's weights, so that tests/cli/smollm2.t knows the model that this is about.
Needs torch and transformers. Made from the folder that ../shared/data/make-smollm2 writes.
"""
import hashlib
import json
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    "Who are you?", "What is the capital of Peru?", "Write a Python function that reverses a string.",
    "Translate to French: The bread is on the table.", "List three uses of salt.", "Why is the sky blue? Answer in one sentence.",
    "Erzähle mir etwas über Berlin.", "用中文介绍一下你自己。", "  2 + 2 =\n\n\t?", "Continue: 🐌 slow, 🐇 fast, 🐢",
]
SYSTEMS = [("You are Captain Hook, a pirate.", "Who are you?"), ("Answer with one word.", "What colour is snow?")]
HISTORIES = [
    [("user", "My name is Ada."), ("assistant", "Hello, Ada!"), ("user", "What is my name?")],
    [("system", "You are a cook."), ("user", "I have eggs."), ("assistant", "Make an omelette."), ("user", "And with milk?"),
     ("assistant", "Then make pancakes."), ("user", "Write down the second recipe.")],
]
TOKENS = 64


def conversations():
    for prompt in PROMPTS:
        yield [("user", prompt)]
    for system, prompt in SYSTEMS:
        yield [("system", system), ("user", prompt)]
    yield from HISTORIES


def main(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    digest = hashlib.sha256(open(os.path.join(folder, "model.safetensors"), "rb").read()).hexdigest()
    for turns in conversations():
        messages = [{"role": role, "content": content} for role, content in turns]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            out = model.generate(**prompt, do_sample=False, repetition_penalty=1.0, max_new_tokens=TOKENS,
                                 return_dict_in_generate=True, output_logits=True)
        best = torch.stack(out.logits)[:, 0].topk(2).values
        margin = (best[:, 0] - best[:, 1]).min().item()
        if margin < 1e-3:
            sys.exit(f"{turns[-1][1]!r}: margin {margin}: choose another prompt")
        answer = tokenizer.decode(out.sequences[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True)
        record = {"messages": messages + [{"role": "assistant", "content": answer}], "margin": round(margin, 4)}
        if digest:
            record["weights"], digest = digest, None
        print(json.dumps(record, ensure_ascii=False))


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(sys.argv[1])
