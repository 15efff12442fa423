#!/usr/bin/env python3
"""Makes tok-train.json: what the tokenizers library's BpeTrainer learns from a small text of ours.

    pip install tokenizers; python3 tests/golden/make_tok_train.py > tests/golden/tok-train.json
The text is written here so that the test in tests/unit/bpe_train.c and this script see the same.
"""
import json
import sys
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

TEXT = [
    "The rain in 1998 was heavier than the rain in 2007, wasn't it?",
    "the the the then them theme   thermal\n\n  anthem 12 12 123",
    "naïve café, naïve cafés; Straße und Straßen ½ ½ ２２",
    "\tif (x == 1) {\n\t\treturn x + 1;\n\t}\n\tif (y == 2) {\n\t\treturn y + 2;\n\t}\n",
    "it's it's they're we've I'm I'll he'd  3  4   5",
]

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
trainer = trainers.BpeTrainer(vocab_size=330, min_frequency=2, special_tokens=["<|endoftext|>", "<|pad \"1\"|>"],
                              initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
tokenizer.train_from_iterator(TEXT, trainer)
model = json.loads(tokenizer.to_str())["model"]
json.dump({"text": TEXT, "vocab": model["vocab"], "merges": [list(m) for m in model["merges"]]}, sys.stdout, ensure_ascii=False, indent=0)
print()
