/* Byte offsets of token-file(5), shared by the reader (token_file.c) and the writer (token_writer.c). */
#ifndef FORMAT_TOKEN_LAYOUT_H
#define FORMAT_TOKEN_LAYOUT_H

#include <stdint.h>

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

/* le32 n, le32 trained, n ids, n mask bytes, zeros up to a multiple of 8 */
static inline uint64_t token_record_size(uint64_t n) { return token_pad8(8 + 5 * n); }

#endif
