/* Tokenizers: tokenizer.json of the BPE family, exactly as the `tokenizers` library reads it.
 *
 *     struct tokenizer *t = tokenizer_open("model/", &err);
 *     struct token_list out = {0};
 *     tokenizer_encode(t, text, len, NULL, 0, false, &out, &err);  ...  token_list_release(&out);
 * A tokenizer is immutable after opening and may be used by many threads at once. A component that is not supported is an error at
 * opening that names it. Text must be valid UTF-8; callers replace or refuse what is not (utf8_valid()). */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct tokenizer;
struct tokenizer_scratch;

struct token_list {
    uint32_t *ids;
    /* Byte range in the text of each token: starts and ends never go back. Tokens that a normalizer made out of nothing or out of
     * one character have the range of what they stand before or for (so ranges may overlap); those of the post-processor have start == end. */
    uint32_t *start, *end;
    size_t n, cap;
    struct tokenizer_scratch *scratch; /* working memory and word cache: keep one list per thread, clear it, and use it again */
};

struct text_range { size_t start, end; }; /* bytes */

struct tokenizer *tokenizer_open(const char *dir_or_file, struct err *e) MUST_CHECK;
struct tokenizer *tokenizer_parse(const char *json, size_t len, const char *name, struct err *e) MUST_CHECK;
void tokenizer_close(struct tokenizer *t);

/* Appends to `out`. plain: ascending ranges in which special added tokens are not recognised (text that comes from
 * users: "a text that spells a control token must not become one"). add_special: run the post-processor (bos ...). */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, const struct text_range *plain, size_t n_plain,
                     bool add_special, struct token_list *out, struct err *e) MUST_CHECK;
void token_list_clear(struct token_list *l);
void token_list_release(struct token_list *l);

/* Appends text. Invalid UTF-8 made by cut sequences becomes U+FFFD, as the reference does. */
int tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip_special, struct buf *out, struct err *e) MUST_CHECK;

uint32_t tokenizer_size(const struct tokenizer *t);                         /* largest id + 1, added tokens included */
int64_t tokenizer_id(const struct tokenizer *t, const char *token, size_t len); /* -1 when there is no such token */
const char *tokenizer_token(const struct tokenizer *t, uint32_t id, size_t *len); /* NULL when unused */
bool tokenizer_is_special(const struct tokenizer *t, uint32_t id);

#endif
