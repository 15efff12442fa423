#!/usr/bin/env python3
"""make_unicode.py > libcommon/text/unicode_tables.inc

Character classes as the `tokenizers` library (0.23) sees them, found by asking it about every code point, so that our
matchers agree with it whatever Unicode version any of our own libraries has:
  general category  of Oniguruma's \\p{..} (Unicode 16.0)
  WORD              Rust's \\w, which single_word looks at
  NUMERIC           char::is_numeric, which Digits splits at
  MARK              takes part in normalisation (Unicode 9.0): changed by NFC, reordered, or composing with what is before
and as ranges, where fewer or rarer: Oniguruma's \\w where it is not Rust's, Punctuation, what takes part in any of NFC,
NFD, NFKC, NFKD, what StripAccents removes, the lower case of letters, and the scripts that published patterns name."""
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

CATEGORIES = "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cs".split()
SCRIPTS = "Han Hiragana Katakana Hangul Latin Cyrillic Greek Arabic Hebrew Thai Devanagari Bengali Tamil Khmer Lao Myanmar Tibetan".split()
WORD, MARK, NUMERIC = 32, 64, 128
ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(map(chr, ALL))


def matching(pattern):
    """Code points of the runs that the pattern matches in the text of all of them."""
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    return {c for piece, _ in split.pre_tokenize_str(TEXT) for c in map(ord, piece)}


def removed(pre_tokenizer):
    return set(ALL) - {c for piece, _ in pre_tokenizer.pre_tokenize_str(TEXT) for c in map(ord, piece)}


def rust_word():
    """A single_word token is found after c only if c is not \\w."""
    tokenizer = Tokenizer(models.BPE(vocab={"x": 0, "-": 1}, merges=[]))
    tokenizer.add_tokens([AddedToken("ab", single_word=True, normalized=False)])
    found = set()
    for at in range(0, len(ALL), 4096):
        part = ALL[at:at + 4096]
        encoding = tokenizer.encode("".join(f"-{chr(c)}ab-" for c in part))
        token = tokenizer.token_to_id("ab")
        alone = {start // 5 for id, (start, _) in zip(encoding.ids, encoding.offsets) if id == token}
        found |= {c for i, c in enumerate(part) if i not in alone}
    return found


def numeric():
    pieces = pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str("".join("\0" + chr(c) + "\0" for c in ALL))
    whole = {start // 3 for _, (start, end) in pieces if end - start == 1 and start % 3 == 1}
    return {ALL[i] for i in whole}


def normalization():
    """(MARK set, active set): see the top; active also holds the first parts of compositions."""
    nfc, nfd, nfkd = normalizers.NFC(), normalizers.NFD(), normalizers.NFKD()
    mark, active = set(), set()
    for c in ALL:
        s = chr(c)
        moved = nfd.normalize_str("a\u0345" + s) != "a\u0345" + nfd.normalize_str(s)
        if moved or s == "\u0345":
            mark.add(c)
        if nfc.normalize_str(s) != s:
            mark.add(c)
        parts = nfd.normalize_str(s)
        if parts != s or nfkd.normalize_str(s) != s:
            active.add(c)
            active |= set(map(ord, nfkd.normalize_str(s)))
        if parts != s and nfc.normalize_str(parts) == s:
            step = unicodedata.decomposition(s)
            if step:  # the second of the pair that composes
                mark.add(int(step.split()[1], 16))
    mark |= set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))  # Hangul vowels and finals compose by arithmetic
    active |= mark | set(range(0x1100, 0x1113)) | set(range(0xAC00, 0xD7A4))
    return mark, active


def lower_runs():
    """(first, last, step, added to each); U+0130, which becomes two characters, is left to the code."""
    lower, out = normalizers.Lowercase(), []
    for c in ALL:
        to = lower.normalize_str(chr(c))
        if to == chr(c) or len(to) > 1:
            continue
        delta = ord(to) - c
        if out and out[-1][3] == delta and c - out[-1][1] in ((1, 2) if out[-1][0] == out[-1][1] else (out[-1][2],)):
            out[-1][2] = c - out[-1][1]
            out[-1][1] = c
        else:
            out.append([c, c, 1, delta])
    return out


def accents():
    strip = normalizers.StripAccents()
    return {c for c in ALL if not strip.normalize_str(chr(c))}


def ranges(points):
    out = []
    for c in sorted(points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def print_numbers(head, items):
    print(f"\n{head} = {{")
    line = "   "
    for item in items:
        if len(line) + len(item) > 138:
            print(line)
            line = "   "
        line += f" {item},"
    print(line + "\n};")


def print_ranges(name, points):
    print_numbers(f"static const struct unicode_range {name}[]", [f"{{{a:#x}, {b:#x}}}" for a, b in ranges(points)])


def main():
    kind = {c: 0 for c in ALL}
    for i, category in enumerate(CATEGORIES[:-1]):
        for c in matching(rf"\p{{{category}}}+"):
            kind[c] = i
    word, (mark, active) = rust_word(), normalization()
    for flag, points in (WORD, word), (MARK, mark), (NUMERIC, numeric()):
        for c in points:
            kind[c] |= flag
    runs = []
    for c in range(0x110000):
        k = kind.get(c, len(CATEGORIES) - 1)
        if runs and runs[-1][1] == k:
            runs[-1][0] += 1
        else:
            runs.append([1, k])
    print("/* Made by tests/golden/make_unicode.py; do not edit. */")
    print_numbers("/* length of the run, class */\nstatic const uint32_t class_runs[][2]", [f"{{{n},{k}}}" for n, k in runs])
    onig_word = matching(r"\w+")
    print_ranges("word_only_rust", word - onig_word)
    print_ranges("word_only_oniguruma", onig_word - word)
    print_ranges("punctuation", removed(pre_tokenizers.Punctuation("removed")))
    print_ranges("normalization_active", active)
    print_ranges("accents", accents())
    print_numbers("static const struct unicode_lower lower[]", [f"{{{a:#x}, {b:#x}, {step}, {delta}}}" for a, b, step, delta in lower_runs()])
    for script in SCRIPTS:
        print_ranges("script_" + script.lower(), matching(rf"\p{{{script}}}+"))
    print("\nstatic const struct unicode_set scripts[] = {")
    for script in SCRIPTS:
        print(f'    {{"{script}", script_{script.lower()}, sizeof script_{script.lower()} / sizeof *script_{script.lower()}}},')
    print("};")


main()
