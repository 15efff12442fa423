/* Private to tokenizer*.c: what a tokenizer is made of.
 *
 *     text -> added tokens -> normalizer -> added tokens (normalized) -> pre-tokenizer -> words -> BPE -> post-processor
 *
 * Text flows through views: bytes plus, for each byte, the range of the original text it stands for; while nothing has
 * changed the text, `from` is NULL and byte i stands for [base + i, base + i + 1). What changes a text writes a struct
 * aligned and hands on a view of it.
 *
 * Words come in two forms. Byte words (the usual byte-level tokenizer): words are raw bytes, and the letters that stand
 * for bytes in the vocabulary were turned back into bytes at loading. Character words (everything else): symbols are
 * characters, spelled as in the vocabulary. */
#ifndef TEXT_TOKENIZER_IMPL_H
#define TEXT_TOKENIZER_IMPL_H

#include <jansson.h>

#include "text/tokenizer.h"
#include "text/tokenizer_cut.h"
#include "text/unicode.h"

#define TOKENIZER_NONE UINT32_MAX
#define MARK "\xE2\x96\x81" /* U+2581, which stands for blanks in vocabularies made by sentencepiece */
#define MARK_LEN 3
#define MARK_POINT 0x2581
#define TOKENIZER_MAX_TEXT ((size_t)1 << 30) /* bytes of one text */
#define TOKENIZER_MAX_ID ((uint64_t)1 << 24)

/* --- views --- */

struct text_view {
    const char *s;
    size_t len;
    const uint32_t *from, *to;
    uint32_t base; /* where the whole begins in the original */
};

static inline uint32_t view_from(const struct text_view *v, size_t i)
{
    return v->from ? v->from[i] : v->base + (uint32_t)i;
}

static inline uint32_t view_to(const struct text_view *v, size_t i)
{
    return v->from ? v->to[i] : v->base + (uint32_t)i + 1;
}

static inline struct text_view view_part(const struct text_view *v, size_t start, size_t end)
{
    if (start == 0 && end == v->len)
        return *v;
    if (!v->from)
        return (struct text_view){v->s + start, end - start, NULL, NULL, v->base + (uint32_t)start};
    return (struct text_view){v->s + start, end - start, v->from + start, v->to + start, start < v->len ? v->from[start] : v->base};
}

struct aligned {
    char *s;
    uint32_t *from, *to;
    size_t len, cap;
};

void aligned_put(struct aligned *a, const char *s, size_t len, uint32_t from, uint32_t to); /* every byte stands for [from, to) */
void aligned_copy(struct aligned *a, const struct text_view *v, size_t start, size_t end);
struct text_view aligned_view(const struct aligned *a, uint32_t base);
void aligned_release(struct aligned *a);

struct piece { uint32_t start, end; };
struct pieces { struct piece *items; size_t n, cap; };

void pieces_add(struct pieces *p, size_t start, size_t end);

/* --- vocabulary and merges: tokenizer_vocab.c --- */

struct token_ref { uint32_t at, len; }; /* at == TOKENIZER_NONE: no token has this id */

struct vocab {
    struct buf pool;          /* the strings, one after another */
    struct token_ref *tokens; /* by id */
    size_t cap;
    uint32_t size;            /* largest id + 1 */
    uint64_t *slots;          /* upper half of the hash << 32 | id; UINT64_MAX: free */
    size_t mask, used;
};

uint32_t vocab_find(const struct vocab *v, const char *s, size_t len);
void vocab_add(struct vocab *v, const char *s, size_t len, uint32_t id); /* a string that is there already gets the new id */
void vocab_release(struct vocab *v);

struct merges {
    uint64_t *slots;  /* (left << id_bits | right) << rank_bits | rank; UINT64_MAX: free */
    size_t mask;
    unsigned id_bits, rank_bits, shift;
    uint32_t *result; /* by rank */
    uint32_t n;
};

int merges_init(struct merges *m, uint32_t vocab_size, size_t n, struct err *e) MUST_CHECK; /* n: an upper bound */
void merges_add(struct merges *m, uint32_t left, uint32_t right, uint32_t result); /* a pair that is there gets the new rank */
void merges_release(struct merges *m);

static inline uint32_t merges_rank(const struct merges *m, uint32_t left, uint32_t right) /* TOKENIZER_NONE: no rule */
{
    uint64_t key = (uint64_t)left << m->id_bits | right;
    for (size_t i = (size_t)(key * 0x9E3779B97F4A7C15u >> m->shift);; i++) {
        uint64_t slot = m->slots[i & m->mask];
        if (slot >> m->rank_bits == key)
            return (uint32_t)(slot & (((uint64_t)1 << m->rank_bits) - 1));
        if (slot == UINT64_MAX)
            return TOKENIZER_NONE;
    }
}

/* --- the byte-level alphabet: tokenizer_vocab.c --- */

#define BYTE_LETTERS 324 /* its letters are code points below this */

uint32_t byte_letter(unsigned char byte);
int letter_byte(uint32_t c);                                               /* -1: not a letter of the alphabet */
bool letters_to_bytes(const char *s, size_t len, struct buf *out);         /* false: not all letters are of the alphabet */
void bytes_to_letters(const struct text_view *v, struct aligned *out);

/* --- patterns: tokenizer_patterns.c (hand-written), tokenizer_regex.c (PCRE2) --- */

struct regex;

struct regex_walk { void *data; }; /* PCRE2's working memory for the matches in one text */

struct regex *regex_new(const char *pattern, size_t len, const char *place, struct err *e) MUST_CHECK;
void regex_free(struct regex *r);
/* The next match at or after `at`, where the last one ended if `matched`: 1, 0 (none), -1 (error). */
int regex_find(const struct regex *r, struct regex_walk *w, const char *s, size_t len, size_t at, bool matched, size_t *start, size_t *end,
               struct err *e) MUST_CHECK;
void regex_end(struct regex_walk *w);

/* End of the match that starts at i, for patterns whose matches follow each other without gaps. */
typedef size_t pattern_match(const uint8_t *classes, const char *s, size_t len, size_t i);
pattern_match pattern_gpt2;
pattern_match *pattern_known(const char *regex, size_t len); /* NULL: no matcher for it */

enum matcher_kind { MATCH_LITERAL, MATCH_REGEX, MATCH_KNOWN, MATCH_NUMERIC, MATCH_PUNCTUATION, MATCH_CHAR_SPACE, MATCH_WORDS };

struct matcher {
    enum matcher_kind kind;
    char *text; /* MATCH_LITERAL */
    size_t len;
    struct regex *regex;
    pattern_match *known;
};

struct finder { /* a walk over the matches in a text */
    const struct matcher *m;
    const uint8_t *classes;
    const char *s;
    size_t len, at;
    bool matched; /* there was a match already; it ended at `at` */
    struct regex_walk walk;
};

int matcher_parse(struct matcher *m, const json_t *pattern, const char *place, struct err *e) MUST_CHECK; /* {"String"} or {"Regex"} */
void matcher_release(struct matcher *m);
int finder_next(struct finder *f, size_t *start, size_t *end, struct err *e) MUST_CHECK; /* 1, 0, -1 */
void finder_end(struct finder *f);

/* --- normalizer: tokenizer_normalize.c --- */

enum normal_kind { NORMAL_NFC, NORMAL_NFD, NORMAL_NFKC, NORMAL_NFKD, NORMAL_PREPEND, NORMAL_REPLACE, NORMAL_STRIP, NORMAL_LOWERCASE,
                   NORMAL_STRIP_ACCENTS, NORMAL_NMT, NORMAL_BYTE_LEVEL };

struct normal_step {
    enum normal_kind kind;
    struct matcher pattern;
    char *content; /* Prepend, Replace */
    size_t content_len;
    bool left, right;
};

struct normalizer { struct normal_step *steps; size_t n; };

int normalizer_parse(struct normalizer *n, const json_t *json, const char *place, struct err *e) MUST_CHECK;
void normalizer_release(struct normalizer *n);
/* Turns *v into a view of the normalized text, in one of the two buffers when anything changed. */
int normalizer_run(const struct normalizer *n, struct text_view *v, struct aligned buffers[2], struct err *e) MUST_CHECK;
/* NFC and kin of *v into out; false: nothing changed and out is not written (tokenizer_compose.c) */
bool unicode_normalize(enum normal_kind kind, const struct text_view *v, struct aligned *out);

/* --- pre-tokenizer: tokenizer_pretokenize.c --- */

enum split_behavior { SPLIT_REMOVED, SPLIT_ISOLATED, SPLIT_PREVIOUS, SPLIT_NEXT, SPLIT_CONTIGUOUS };
enum pre_kind { PRE_SPLIT, PRE_METASPACE, PRE_BYTE_LEVEL };
enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

struct pre_step {
    enum pre_kind kind;
    struct matcher pattern;
    enum split_behavior behavior;
    bool invert;
    char replacement[4]; /* Metaspace */
    int replacement_len;
    enum prepend_scheme scheme;
    bool split;          /* Metaspace: at its character; ByteLevel: with GPT-2's pattern */
    bool prefix_space;   /* ByteLevel */
    bool to_letters;     /* ByteLevel: write letters for bytes (not for byte words) */
};

struct pre_tokenizer {
    struct pre_step *steps;
    size_t n;
    pattern_match *direct; /* all that the steps do is to cut at this pattern's matches, and before that, with cut_digits, */
    bool cut_digits;       /* around every single numeric character */
};

int pre_tokenizer_parse(struct pre_tokenizer *p, const json_t *json, const char *place, struct err *e) MUST_CHECK;
void pre_tokenizer_release(struct pre_tokenizer *p);
void pre_tokenizer_prepare(struct pre_tokenizer *p); /* finds `direct`, when all steps are settled */

/* Start of the next numeric character, or len. */
size_t pre_next_numeric(const uint8_t *classes, const char *s, size_t i, size_t len);

struct pre_work { /* scratch */
    struct aligned text[2];
    struct pieces pieces[2], spans;
};

/* Cuts *v into w->pieces[0]; *v may become a view of changed text in w. */
int pre_tokenizer_run(const struct pre_tokenizer *p, struct text_view *v, struct pre_work *w, struct err *e) MUST_CHECK;

/* --- model: tokenizer_bpe.c --- */

struct bpe {
    struct vocab vocab;           /* as spelled in the file */
    struct vocab words;           /* byte words with ignore_merges: the same tokens as bytes, where they are of the alphabet */
    struct merges merges;
    bool byte_words, fuse_unk, byte_fallback, ignore_merges;
    bool drops_bytes;             /* byte words: not all bytes are tokens; the others vanish */
    struct cuts cuts;
    char *unk_token, *prefix, *suffix; /* NULL: none */
    size_t unk_len, prefix_len, suffix_len;
    uint32_t unk;                 /* TOKENIZER_NONE: none, or not in the vocabulary */
    uint32_t byte_symbol[256];    /* id of the byte (byte words) or of its <0xXX> token; TOKENIZER_NONE: none */
    uint32_t *byte_pair;          /* byte words: rank of each pair of bytes, by first << 8 | second */
    uint32_t *char_symbol;        /* character words: id by code point below 0x10000 */
};

struct bpe_work; /* scratch: symbols, heap, word cache */

void bpe_prepare(struct bpe *b); /* after vocabulary and merges are in */
void bpe_release(struct bpe *b);
/* Encodes the word v[start..end). What comes out may lie in `w` until bpe_flush(); all words up to it are of the same view. After an error it
 * holds nothing. */
int bpe_encode(const struct bpe *b, struct bpe_work *w, const struct text_view *v, size_t start, size_t end, struct token_list *out, struct err *e) MUST_CHECK;
/* The same for text in which every blank stands for U+2581, and which may be cut at `start` and `end`. */
int bpe_encode_marked(const struct bpe *b, struct bpe_work *w, const struct text_view *v, size_t start, size_t end, struct token_list *out,
                      struct err *e) MUST_CHECK;
int bpe_flush(const struct bpe *b, struct bpe_work *w, const struct text_view *v, struct token_list *out, struct err *e) MUST_CHECK;
struct bpe_work *bpe_work_new(void);
void bpe_work_free(struct bpe_work *w);

/* --- added tokens: tokenizer_added.c --- */

struct added_token {
    uint32_t id;
    char *content, *shown; /* shown: what it is searched by and decodes to: normalized when `normalized` */
    size_t content_len, shown_len;
    bool single_word, lstrip, rstrip, normalized, special;
    bool skipped; /* left out by skip_special: what it is shown as is the content of a special token */
};

struct added_set {
    const struct added_token **sorted; /* by the bytes searched */
    size_t n;
    bool first[256];
    int only; /* the one byte that all begin with, -1: there are several */
};

struct added {
    struct added_token *tokens; /* by id */
    size_t n, cap;
    struct added_set raw, normalized;
};

struct tokenizer {
    char *name;
    uint64_t serial;          /* tells scratch of one tokenizer from that of another */
    struct bpe bpe;
    struct added added;
    struct normalizer normalizer;
    struct pre_tokenizer pre;
    bool marked;              /* the normalizer writes U+2581 for blanks and before the text, and nothing else happens to it */
    struct decoder *decoder;  /* NULL: none */
    uint32_t *before, *after; /* what the post-processor puts around the text */
    size_t n_before, n_after;
    uint32_t size;
};

int added_parse(struct tokenizer *t, const json_t *json, struct err *e) MUST_CHECK;
void added_release(struct added *a);
const struct added_token *added_by_id(const struct added *a, uint32_t id);

struct segment { uint32_t start, end, id; }; /* id TOKENIZER_NONE: text */
struct segments {
    struct segment *items;
    size_t n, cap;
    bool overlap; /* set when a token reaches back into one before it */
};

/* Cuts the view at the tokens of the set; special ones that touch a `plain` range (of the original text) are left as text. */
void added_split(const struct added_set *set, const struct text_view *v, const struct text_range *plain, size_t n_plain, struct segments *out);

/* --- decoder: tokenizer_decode.c --- */

int tok_decoder_parse(struct decoder **d, const json_t *json, const char *place, struct err *e) MUST_CHECK;
void tok_decoder_free(struct decoder *d);
int tok_decoder_run(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip_special, struct buf *out, struct err *e) MUST_CHECK;

/* --- post-processor and file: tokenizer_post.c, tokenizer_json.c --- */

int post_parse(struct tokenizer *t, const json_t *json, const char *place, struct err *e) MUST_CHECK;
int tokenizer_load(struct tokenizer *t, const char *json, size_t len, struct err *e) MUST_CHECK;

/* JSON fields; errors name `place`. */
int field_bool(const json_t *o, const char *key, const char *place, bool *out, struct err *e) MUST_CHECK;
int field_bool_or(const json_t *o, const char *key, bool fallback, const char *place, bool *out, struct err *e) MUST_CHECK;
/* A copy that the caller frees; absent or null: *out is NULL. */
int field_text(const json_t *o, const char *key, const char *place, bool required, char **out, size_t *len, struct err *e) MUST_CHECK;
const char *field_type(const json_t *o, const char *place, struct err *e); /* "type" of a tagged object, NULL on error */

void token_list_grow(struct token_list *l, size_t n);

static inline void token_list_room(struct token_list *l, size_t n) /* for n more */
{
    if (l->cap - l->n < n)
        token_list_grow(l, n);
}

static inline void token_list_add(struct token_list *l, uint32_t id, uint32_t start, uint32_t end)
{
    token_list_room(l, 1);
    l->ids[l->n] = id;
    l->start[l->n] = start;
    l->end[l->n++] = end;
}

#endif
