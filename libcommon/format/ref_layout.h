/* Byte offsets of ref-logprobs(5), shared by the reader (ref_logprobs.c) and the writer (ref_writer.c). */
#ifndef FORMAT_REF_LAYOUT_H
#define FORMAT_REF_LAYOUT_H

#include <stdint.h>

/* A byte above 127 and a CR LF: a transfer that treats the file as text is noticed at once. */
#define REF_MAGIC "\x89" "FTREF\r\n"
#define REF_END_MARK "FTREFEND"

enum {
    REF_HEADER_FIXED = 24, /* magic, version, kind, length of the JSON, flags */
    REF_TAIL = 40,         /* samples 8, values 8, hash 16, end marker 8 */
    REF_TAIL_HASH = 16,    /* where the hash starts in the tail */
    REF_MAX_JSON = 1 << 16,
    REF_MISMATCHED = 1,    /* flag */
};

/* le32 values of the first answer, le32 of the second, the values, zeros up to a multiple of 8 */
static inline uint64_t ref_record_size(uint64_t first, uint64_t second) { return (8 + 4 * (first + second) + 7) & ~(uint64_t)7; }

#endif
