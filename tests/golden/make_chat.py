#!/usr/bin/env python3
"""Writes chat.jsonl: SHA-256 of conversations rendered by transformers with chat templates.

The conversations are ours (chat-conversations.json). Templates: the built-in ones of libcommon/text/chat_builtin.c, those of the model
folders under ../shared/data/tokenizers, and the ones that TRL publishes, which are not part of this tree: a row names them and holds the
hash of their source. One template a line: its name, that hash, and for each conversation the first 16 digits of the hash of the text
without and with a generation prompt, null where rendering raises (--text: the texts themselves).
Run from the root of the project:  python tests/golden/make_chat.py >tests/golden/chat.jsonl
"""
import glob
import hashlib
import json
import os
import re
import sys
from datetime import datetime

import transformers.utils.chat_template_utils as chat

NOW = datetime.fromtimestamp(1700000000)
CONVERSATIONS = "tests/golden/chat-conversations.json"


class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def builtin_sources():
    """The C string constants of chat_builtin.c, and each template's bos and eos."""
    text = open("libcommon/text/chat_builtin.c", encoding="utf-8").read()
    piece = re.compile(r'"((?:[^"\\]|\\.)*)"|\b([A-Z_]+)\b')
    unescape = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}
    macros = {}

    def value(body):
        return "".join(macros[m[2]] if m[2] else re.sub(r"\\.", lambda e: unescape[e[0]], m[1]) for m in piece.finditer(body))

    for name, body in re.findall(r"^#define (\w+) ((?:.*\\\n)*.*)$", text, re.M):
        if '"' in body:
            macros[name] = value(body)
    sources = {name: value(body) for name, body in re.findall(r"^static const char (\w+)\[\] =\n(.*?);$", text, re.M | re.S)}
    rows = re.findall(r'^    \{"(\w+)", (\w+), (NULL|"[^"]*"), (NULL|"[^"]*"),', text, re.M)
    return {name: (sources[symbol], {k: v.strip('"') for k, v in (("bos_token", bos), ("eos_token", eos)) if v != "NULL"})
            for name, symbol, bos, eos in rows}


def folder_sources():
    for path in sorted(glob.glob("../shared/data/tokenizers/*/tokenizer_config.json")):
        config = json.load(open(path))
        if isinstance(config.get("chat_template"), str):
            tokens = {k: v["content"] if isinstance(v, dict) else v for k, v in config.items() if k.endswith("_token") and isinstance(v, (str, dict))}
            yield "data:" + os.path.basename(os.path.dirname(path)), config["chat_template"], tokens


def published_sources():
    import trl
    for path in sorted(glob.glob(os.path.join(os.path.dirname(trl.__file__), "chat_templates", "*.jinja"))):
        yield "file:" + os.path.basename(path), open(path, encoding="utf-8").read(), {}


def render(source, tokens, sample, prompt):
    messages = [{k: v for k, v in m.items() if v is not None} for m in sample["messages"]]
    text, _ = chat.render_jinja_template([messages], tools=sample.get("tools"), chat_template=source, add_generation_prompt=prompt,
                                         **{**tokens, **sample.get("chat_template_kwargs", {})})
    return text[0]


def render_or_none(*args):
    try:
        return render(*args)
    except Exception:
        return None


def main():
    chat.datetime = Clock
    conversations = json.load(open(CONVERSATIONS, encoding="utf-8"))
    templates = [("builtin:" + n, s, t) for n, (s, t) in builtin_sources().items()]
    templates += list(folder_sources()) + list(published_sources())
    for name, source, tokens in templates:
        texts = {}
        for label, sample in conversations.items():
            texts[label] = [render_or_none(source, tokens, sample, prompt) for prompt in (False, True)]
        if "--text" not in sys.argv:
            texts = {label: [None if t is None else hashlib.sha256(t.encode()).hexdigest()[:16] for t in pair] for label, pair in texts.items()}
        row = {"template": name, "source": hashlib.sha256(source.encode()).hexdigest(), "texts": texts}
        print(json.dumps(row, ensure_ascii=False, separators=(",", ":")))


main()
