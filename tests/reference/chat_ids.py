#!/usr/bin/env python3
"""chat_ids.py MODEL ALPACA.json: are `fmt-chat | tok-encode` ids and masks those of transformers' apply_chat_template?

Takes the first 200 records of ALPACA.json through the programs in $BUILD/bin (build/bin) and through transformers. The template
needs no {% generation %}: the answer is what comes after the generation prompt, up to and with the end-of-turn token.
"""
import json
import os
import subprocess
import sys
import tempfile

from transformers import AutoTokenizer

RECORDS = 200
BIN = os.path.join(os.environ.get("BUILD", "build"), "bin")


def ours(model, records):
    with tempfile.TemporaryDirectory() as d:
        with open(f"{d}/a.json", "w", encoding="utf-8") as f:
            json.dump(records, f)
        subprocess.run(f"{BIN}/fmt-chat -q -m {model} {d}/a.json | {BIN}/tok-encode -q -m {model} -o {d}/a.tok", shell=True, check=True)
        text = subprocess.run([f"{BIN}/tok-decode", "-q", "--json", f"{d}/a.tok"], check=True, capture_output=True).stdout
    return [json.loads(line) for line in text.splitlines()]


def theirs(tokenizer, record):
    question = record["instruction"] + ("\n" + record["input"] if record["input"] else "")
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": record["output"]}]
    ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    prompt = tokenizer.apply_chat_template(messages[:-1], tokenize=True, add_generation_prompt=True, return_dict=False)
    assert ids[:len(prompt)] == prompt
    end = max(i for i, token in enumerate(ids) if token == tokenizer.eos_token_id)
    return ids, [int(len(prompt) <= i <= end) for i in range(len(ids))]


def main(model, path):
    records = json.load(open(path, encoding="utf-8"))[:RECORDS]
    tokenizer = AutoTokenizer.from_pretrained(model)
    got = ours(model, records)
    assert len(got) == len(records), (len(got), len(records))
    for n, (record, sample) in enumerate(zip(records, got), 1):
        ids, mask = theirs(tokenizer, record)
        if (sample["ids"], sample["mask"]) != (ids, mask):
            sys.exit(f"record {n} differs:\n{sample['ids']}\n{ids}\n{sample['mask']}\n{mask}")
    print(f"chat ids: {len(got)} records, {sum(len(s['ids']) for s in got)} tokens: equal")


if len(sys.argv) != 3:
    sys.exit(__doc__)
main(*sys.argv[1:])
