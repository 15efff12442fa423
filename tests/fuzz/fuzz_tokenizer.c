/* tokenizer.json up to the first NUL byte, then text: places never go back, ids are known, and decoding takes what encoding made. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tokens(const struct tokenizer *t, const struct token_list *l, size_t len)
{
    struct buf text = BUF_INIT;
    struct err e = ERR_INIT;
    for (size_t i = 0; i < l->n; i++) {
        if (l->ids[i] >= tokenizer_size(t) || l->start[i] > l->end[i] || l->end[i] > len)
            abort();
        if (i && (l->start[i] < l->start[i - 1] || l->end[i] < l->end[i - 1]))
            abort();
    }
    if (tokenizer_decode(t, l->ids, l->n, false, &text, &e) == 0 && utf8_valid(buf_str(&text), text.len) < text.len)
        abort();
    buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char standard[] = "Hi <|im_end|>\n it's 123  caf\xc3\xa9 e\xcc\x81 \xe6\x97\xa5\xf0\x9f\x98\x80";
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    struct err e = ERR_INIT;
    struct tokenizer *t = tokenizer_parse((const char *)data, nul ? (size_t)(nul - data) : size, "fuzz", &e);
    if (!t) {
        if (!e.set)
            abort();
        return 0;
    }
    const char *text = nul ? (const char *)nul + 1 : standard;
    size_t len = nul ? (size_t)(data + size - nul) - 1 : sizeof standard - 1;
    if (utf8_valid(text, len) == len) {
        struct token_list list = {0};
        for (int i = 0; i < 2; i++) {
            struct text_range plain = {0, len};
            token_list_clear(&list);
            e = (struct err)ERR_INIT;
            if (tokenizer_encode(t, text, len, &plain, (size_t)i, i == 0, &list, &e) == 0)
                check_tokens(t, &list, len);
            else if (!e.set)
                abort();
        }
        token_list_release(&list);
    }
    tokenizer_close(t);
    return 0;
}
