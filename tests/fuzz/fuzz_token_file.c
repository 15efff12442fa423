/* Token files. The hash is made right first, or nothing behind it would ever be reached. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/token_file.h"
#include "format/token_layout.h"
#include "tests/tools/tail_hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *d = malloc(size ? size : 1);
    if (!d)
        return 0;
    memcpy(d, data, size);
    if (size >= TOKEN_HEADER_FIXED + TOKEN_TAIL) {
        tail_hash_fix(d, size, TOKEN_TAIL - TOKEN_TAIL_HASH);
        memcpy(d + size - 8, TOKEN_END_MARK, 8);
    }
    struct err e = ERR_INIT;
    struct token_file *t = token_file_parse(d, size, "fuzz", &e);
    uint64_t sum = 0;
    if (t)
        for (int64_t i = 0; i < t->n_samples; i++) {
            struct token_sample s = token_file_sample(t, i);
            for (uint32_t k = 0; k < s.n; k++)
                sum += s.ids[k] + s.mask[k] + (k >= s.prompt && k < s.prompt + s.chosen);
        }
    token_file_close(t);
    free(d);
    return sum == UINT64_MAX ? -1 : 0;
}
