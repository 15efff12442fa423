/* Pieces of JSON text, byte for byte as the reference programs write them. Strings are valid UTF-8. */
#ifndef FORMAT_JSON_WRITE_H
#define FORMAT_JSON_WRITE_H

#include <jansson.h>

#include "base/buf.h"

void json_add_string(struct buf *b, const char *s); /* quoted, escaped as Rust's serde_json does: UTF-8 stays */
void json_add_ascii(struct buf *b, const char *s);  /* quoted, escaped as Python's json.dumps does: ASCII only */
void json_add_real(struct buf *b, double v);        /* finite; Python's repr: shortest that reads back, with ".0" or exponent */
void json_add_number(struct buf *b, double v);      /* the same, but without ".0" when v is integral */

/* A whole value as Python's json.dumps(v, indent=2) writes it, members in their order. */
void json_add_value(struct buf *b, const json_t *v);

#endif
