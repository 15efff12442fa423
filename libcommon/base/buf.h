/* Growable bytes.  struct buf b = BUF_INIT; buf_add(&b, ...); ... buf_release(&b).
 * `data` is always followed by a NUL that `len` does not count (data may be NULL while len is 0 and nothing
 * was added; buf_str() never returns NULL). The buffer owns data; buf_detach() hands it over. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>

struct buf {
    char *data;
    size_t len;
    size_t cap;
};

#define BUF_INIT {NULL, 0, 0}

void buf_add(struct buf *b, const void *data, size_t len);
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_reserve(struct buf *b, size_t extra); /* room for `extra` more bytes and the NUL */
void buf_set_len(struct buf *b, size_t len);   /* len <= cap - 1; writes the NUL */
const char *buf_str(const struct buf *b);
char *buf_detach(struct buf *b);               /* caller frees; b is empty afterwards */
void buf_clear(struct buf *b);                 /* keeps the memory */
void buf_release(struct buf *b);

#endif
