#!/usr/bin/env python3
"""make_tokenizer.py [DATA [SMOLLM2]]: what the `tokenizers` library (0.23) makes of 10,000 strings with each tokenizer.

Writes into tokenizer/ beside this script:
  NAME.json   small tokenizers, trained or put together here, that between them use every component
  strings.json  fragments from which the strings are made
  NAME.sums   for each hundred strings, the first 16 digits of the SHA-256 of their ids and decoded texts
also for DATA/tokenizers/{llama2,llama3,qwen3}/tokenizer.json and SMOLLM2/tokenizer.json when given, whose files are not
in the tree. Run again, it writes the same bytes. The strings follow from their number by the rule of text_of(), which
tests/unit/tokenizer_golden.c says again in C."""
import collections
import hashlib
import json
import os
import struct
import sys

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizer")
STRINGS, BLOCK = 10000, 100

FRAGMENTS = [
    "the", " the", " of", " and", "Hello", " world", "don't", "I'm", "WE'LL", "they've", "it's", "'", "''", " '", "\"", ".", ", ", "...", "?!", " - ", "--",
    "—", "“q”", " ", "  ", "   ", "        ", "\n", "\n\n", "\r\n", " \n", "\n ", "\t", "\t\t", "\u00a0", "\u3000", "\u2028", "\x85", "\u200b", "\ufeff",
    "0", "7", "42", "123", "2024", "1234567", "3.14", "1,000", "½", "Ⅷ", "x²", "١٢٣", "３４", "〇", "一二三",
    "中文", "你好，世界。", "我们在学习机器翻译", "今天天气很好", "日本語のテキスト", "カタカナ", "ﾊﾝｶｸ", "한국어 문장", "가각힣",
    "été", "naïve", "e\u0301", "a\u0323\u0307", "Å", "\u212b", "Ω", "ſ", "ß", "ẞ", "İ", "ı", "ŉ", "ﬁ", "Ǆ", "Straße", "ΟΔΥΣΣΕΥΣ", "Привет, мир", "ёлка",
    "שלום", "مرحبا", "नमस्ते", "क्षि", "ภาษาไทย", "தமிழ்", "ქართული", "አማርኛ", "ꙮ", "𝔘𝔫𝔦", "𐍈", "𠀀", "①", "㍻", "ａｂｃ",
    "😀", "👍🏽", "👨‍👩‍👧", "🇩🇪", "🏳️‍🌈", "☃", "→", "∑", "€5", "$x$", "#tag", "@user", "a_b", "__init__", "CamelCase", "snake_case", "kebab-case",
    "def f(x):\n    return x + 1\n", "for (int i = 0; i < n; i++) {", "}\n", "a[i]->b", "//", "/* c */", "&&", "!=", "==", "0x1F", "\\n", "<div class=\"a\">",
    "{\"k\": [1, 2]}", "https://example.org/a?b=c&d", "me@example.org", "C:\\dir", "1e-5", "i18n", "A1b2",
    "▁", "▁▁", "▁a", "a▁b", "Ġ", "Ċ", "<0x41>", "<unk>", "<s>", "</s>", "<|", "|>", "<|im_start|>", "<|eot_id|>", "[INST]", "##ing", "</w>",
    "\x00", "\x01", "\x7f", "\ufffd", "\ud7ff", "\ue000", "\U0010ffff", "aaaaaaaaaaaaaaaa", "abcabcabcabcabc", "internationalization",
]
SPACES = [" ", "  ", "\n", "\r", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\x85", "a", "1", "!", "'", "s", "\u0301"]
MARKS = [0x345, 0x327, 0x31B, 0x338, 0x5B0, 0x64B, 0x651, 0x670, 0x93C, 0x9BE, 0xB57, 0xCD5, 0xDCA, 0x1DF6, 0x7FD, 0x3099, 0x309A, 0xFF9E, 0xFF9F,
         0x11131, 0x11127, 0x11935, 0x11930, 0x1D165, 0x1D16E, 0xF71, 0xF72, 0xF74, 0xF80, 0xF73, 0x344, 0x958, 0x212B, 0x1E9B, 0x3B1, 0x3C9, 0x1B05, 0x1B35,
         0x30AB, 0x30CF, 0x3046, 0x112C5, 0xFFC2, 0xFFA1, 0xFDFA, 0x2F81D, 0xFB2C, 0x1FED]


class Draw:
    """splitmix64"""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        z = self.state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return (z ^ z >> 31) % n


def char(c):
    return "x" if 0xD800 <= c < 0xE000 else chr(c)


def text_of(i, extra):
    """String number i; `extra`: contents of the first 24 added tokens."""
    draw, kind = Draw(i), i % 8
    if kind in (2, 3):  # every 128 code points that have any assigned, and more
        block = i // 8 * 2 + kind - 2
        base = block * 128 if block < 1664 else 0xE0000 + (block - 1664) * 128
        return "".join((" " if kind == 3 and c % 5 == 0 else "") + char(c) for c in range(base, base + 128))
    n = draw.below(40)
    out = []
    for _ in range(n):
        if kind == 4:
            low, high = ((0x20, 0x7F), (0x80, 0x800), (0x800, 0x10000), (0x10000, 0x34000))[draw.below(4)]
            out.append(char(low + draw.below(high - low)))
        elif kind == 5:
            out.append(SPACES[draw.below(len(SPACES))])
        elif kind == 7:
            of = draw.below(4)
            out.append(chr(0x41 + draw.below(58)) if of == 0 else chr(0x300 + draw.below(0x70)) if of == 1 else
                       chr(MARKS[draw.below(len(MARKS))]) if of == 2 else chr(0x1100 + draw.below(0x100)))
        elif kind == 6 and extra and draw.below(2):
            out.append(extra[draw.below(len(extra))])
        else:
            out.append(FRAGMENTS[draw.below(len(FRAGMENTS))])
    return "".join(out)


def sums(path, name):
    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    with open(path, encoding="utf-8") as f:
        extra = [token["content"] for token in json.load(f).get("added_tokens", [])[:24]]
    lines, digest = [], hashlib.sha256()
    for i in range(STRINGS):
        tokenizer.encode_special_tokens = bool(i >> 5 & 1)
        ids = tokenizer.encode(text_of(i, extra), add_special_tokens=bool(i >> 3 & 1)).ids
        text = tokenizer.decode(ids, skip_special_tokens=bool(i >> 4 & 1)).encode()
        digest.update(struct.pack(f"<I{len(ids)}I", len(ids), *ids) + struct.pack("<I", len(text)) + text)
        if i % BLOCK == BLOCK - 1:
            lines.append(digest.hexdigest()[:16] + "\n")
            digest = hashlib.sha256()
    with open(os.path.join(OUT, name + ".sums"), "w") as f:
        f.writelines(lines)


def added(content, **flags):
    token = {"id": 0, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {**token, **flags}


def corpus():
    for i in range(600):
        yield "".join(FRAGMENTS[Draw(i * 64 + k).below(len(FRAGMENTS))] for k in range(30))
        yield "".join(FRAGMENTS[Draw(i * 64 + k).below(24)] for k in range(30))


def frequent(tokenizer, most):
    """The most frequent characters of the corpus. The trainer draws lots among equally frequent ones; this takes the first by number."""
    counts = collections.Counter()
    for text in corpus():
        text = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text) if tokenizer.pre_tokenizer else [(text, None)]:
            counts.update(word)
    return sorted(counts, key=lambda c: (-counts[c], c))[:most]


def train(size, normalizer=None, pre_tokenizer=None, decoder=None, post=None, tokens=(), alphabet=(), limit=60, model=None, first=(), **options):
    """A trained tokenizer as a dict; `model` overrides fields of the result, `first` are pieces that get the first ids."""
    tokenizer = Tokenizer(models.BPE(**options))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    if decoder:
        tokenizer.decoder = decoder
    if post:
        tokenizer.post_processor = post
    special = [o for o in [options.get("unk_token")] if o]
    glue = {key: options[key] for key in ("continuing_subword_prefix", "end_of_word_suffix") if key in options}
    letters = list(alphabet) or frequent(tokenizer, limit)
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=letters, limit_alphabet=max(limit, len(letters)),
                                  special_tokens=special + list(first), **glue)
    tokenizer.train_from_iterator(corpus(), trainer)
    out = json.loads(tokenizer.to_str())
    if glue and not first:
        # The trainer numbers the pieces of one character with a prefix or suffix in the order of a hash table, another one each time,
        # and equal counts are merged by number: trained again with these pieces given in order, the result is always the same.
        affix = "".join(glue.values())
        pieces = sorted(piece for piece in out["model"]["vocab"] if affix in piece and len(piece) == len(affix) + 1)
        return train(size, normalizer, pre_tokenizer, decoder, post, tokens, alphabet, limit, model, pieces, **options)
    out["model"].update(model or {})
    out["added_tokens"] = list(tokens)
    return out


def with_bytes(out):
    """Adds the 256 <0xXX> tokens."""
    vocab = out["model"]["vocab"]
    for byte in range(256):
        vocab.setdefault(f"<0x{byte:02X}>", len(vocab))
    out["model"]["byte_fallback"] = True
    return out


LETTERS = pre_tokenizers.ByteLevel.alphabet()
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
          r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|"
         r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BLOOM = " ?[^(\\s|.,!?…。，、।۔،)]+"
OWN = r"(?i:the|k)|[\p{Han}&&[^一-三]]+|(?<=\d)\p{Lu}|^.|\b\w{2,3}+|\h{4}?|.$|[^\S\n]*+\n|(?m:\p{P}.)"


def small():
    P, N, D = pre_tokenizers, normalizers, decoders
    prefix, plain = P.ByteLevel(add_prefix_space=True), P.ByteLevel(add_prefix_space=False, use_regex=False)

    def isolated(pattern, last=plain):
        return P.Sequence([P.Split(Regex(pattern), "isolated"), last])

    def byte_level(pre_tokenizer, **more):
        return train(420, pre_tokenizer=pre_tokenizer, decoder=D.ByteLevel(), alphabet=LETTERS, **more)

    flags = [added("<|a|>", special=True), added("foo", normalized=True, lstrip=True), added("the", single_word=True), added("<m>", rstrip=True),
             added(" x"), added("\n\n", normalized=True), added("été", normalized=True, special=True), added("<s>", special=True, lstrip=True, rstrip=True)]
    llama_chain = D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
    marks = N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")])

    yield "gpt2", byte_level(prefix, tokens=flags, post=processors.ByteLevel(trim_offsets=True))
    yield "digits", byte_level(P.Sequence([P.Digits(individual_digits=True), P.ByteLevel(add_prefix_space=False)]), model={"ignore_merges": True},
                               tokens=[added(" the"), added("Ċ", special=True)])
    yield "tekken", byte_level(isolated(TEKKEN), post=processors.TemplateProcessing(single="foo $A bar:1 bar", special_tokens=[("foo", 3), ("bar", 5)]))
    yield "o200k", byte_level(isolated(O200K), normalizer=N.NFC())
    yield "bloom", byte_level(isolated(BLOOM), tokens=flags[:3], post=processors.Sequence([
        processors.ByteLevel(), processors.RobertaProcessing(("a", 1), ("b", 2))]))
    yield "own_pattern", byte_level(isolated(OWN))
    letters = train(380, normalizer=N.Sequence([N.NFD(), N.ByteLevel()]), decoder=D.ByteLevel(), alphabet=LETTERS, tokens=flags[:4],
                    pre_tokenizer=P.Sequence([P.Split("Ġ", "merged_with_next"), P.Split(Regex("[aeiou]"), "contiguous", invert=True),
                                              P.Split("t", "merged_with_previous")]))
    yield "letters", letters
    yield "bytes_missing", train(300, pre_tokenizer=prefix, decoder=D.ByteLevel(), unk_token="<unk>", tokens=flags[:2], limit=40)
    yield "llama", with_bytes(train(400, normalizer=marks, decoder=llama_chain, unk_token="<unk>", fuse_unk=True, tokens=flags + [added("</s>", special=True)],
                                    post=processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])))
    yield "llama_first", with_bytes(train(400, pre_tokenizer=P.Metaspace(prepend_scheme="first", split=False), decoder=D.Metaspace(prepend_scheme="first"),
                                          tokens=flags[:4], normalizer=N.Strip(left=True, right=False)))
    yield "metaspace", train(400, pre_tokenizer=P.Sequence([P.WhitespaceSplit(), P.Metaspace()]), decoder=D.Metaspace(), unk_token="<unk>")
    gemma = with_bytes(train(400, normalizer=N.Replace(" ", "▁"), pre_tokenizer=P.Split(" ", "merged_with_previous"), unk_token="<unk>", fuse_unk=True,
                             decoder=D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse()]), tokens=[added("▁▁"), added("\n"), added("<bos>", special=True)]))
    for byte in 0xC3, 0xE4:  # some bytes without a token
        del gemma["model"]["vocab"][f"<0x{byte:02X}>"]
    gemma["model"]["vocab"] = {token: i for i, token in enumerate(gemma["model"]["vocab"])}
    yield "gemma", gemma
    yield "norms", train(350, normalizer=N.Sequence([N.Nmt(), N.NFKD(), N.StripAccents(), N.Lowercase(), N.Replace(Regex("[0-9]+"), "0"), N.Replace("", ""),
                                                    N.Strip()]), pre_tokenizer=P.Whitespace(), unk_token="<unk>", tokens=flags[:3])
    yield "suffix", train(350, pre_tokenizer=P.Sequence([P.WhitespaceSplit(), P.Punctuation("merged_with_previous"), P.Digits(individual_digits=False)]),
                          decoder=D.BPEDecoder(), unk_token="<unk>", end_of_word_suffix="</w>", fuse_unk=True)
    yield "prefix", train(350, pre_tokenizer=P.Sequence([P.Whitespace(), P.Punctuation()]), decoder=D.WordPiece(prefix="##", cleanup=True),
                          unk_token="<unk>", continuing_subword_prefix="##")
    for form in "NFC", "NFKC", "NFD", "NFKD":
        yield form.lower(), with_bytes(train(64, normalizer=getattr(N, form)(), limit=24, decoder=D.Sequence([D.ByteFallback(), D.Fuse()])))


def main():
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(OUT, "strings.json"), "w") as f:
        json.dump({"fragments": FRAGMENTS, "spaces": SPACES, "marks": MARKS}, f, indent=0)
        f.write("\n")
    paths = []
    for name, tokenizer in small():
        paths.append((name, os.path.join(OUT, name + ".json")))
        with open(paths[-1][1], "w", encoding="utf-8") as f:
            json.dump(tokenizer, f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
    if len(sys.argv) > 1:
        paths += [(name, os.path.join(sys.argv[1], "tokenizers", name, "tokenizer.json")) for name in ("llama2", "llama3", "qwen3")]
    if len(sys.argv) > 2:
        paths.append(("smollm2", os.path.join(sys.argv[2], "tokenizer.json")))
    for name, path in paths:
        sums(path, name)
        print(name)


main()
