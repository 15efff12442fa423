/* Byte offsets of token-file(5) and the rules of one record, shared by the reader (token_file.c) and the writer (token_writer.c). */
#ifndef FORMAT_TOKEN_LAYOUT_H
#define FORMAT_TOKEN_LAYOUT_H

#include "format/token_file.h"

/* A byte above 127 and a CR LF: a transfer that treats the file as text is noticed at once. */
#define TOKEN_MAGIC "\x89" "FTTOK\r\n"
#define TOKEN_END_MARK "FTTOKEND"

enum {
    TOKEN_HEADER_FIXED = 24, /* magic, version, kind, length of the JSON, zero */
    TOKEN_TAIL = 96,         /* input 32, samples 8, tokens 8, trained 8, longest 4, zero 12, hash 16, end marker 8 */
    TOKEN_TAIL_HASH = 72,    /* where the hash starts in the tail */
    TOKEN_MAX_JSON = 1 << 20,
};

static inline uint64_t token_pad8(uint64_t n) { return (n + 7) & ~(uint64_t)7; }

/* le32 n, le32 trained; pairs: le32 prompt, le32 chosen; labelled: le32 prompt, le32 label */
static inline uint64_t token_record_head(enum token_kind kind) { return kind == TOKEN_KIND_SAMPLES ? 8 : 16; }

/* Behind the head n ids, n mask bytes, zeros up to a multiple of 8. */
static inline uint64_t token_record_size(enum token_kind kind, uint64_t n) { return token_pad8(token_record_head(kind) + 5 * n); }

/* What breaks the rules of a sample, or NULL. `trained` of it must be right. */
const char *token_record_fault(enum token_kind kind, const struct token_sample *s);

#endif
