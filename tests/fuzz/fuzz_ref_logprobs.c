/* Files of reference log-probabilities. The hash is made right first, or nothing behind it would ever be reached. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/ref_layout.h"
#include "format/ref_logprobs.h"
#include "tests/tools/tail_hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *d = malloc(size ? size : 1);
    if (!d)
        return 0;
    memcpy(d, data, size);
    if (size >= REF_HEADER_FIXED + REF_TAIL) {
        tail_hash_fix(d, size, REF_TAIL - REF_TAIL_HASH);
        memcpy(d + size - 8, REF_END_MARK, 8);
    }
    struct err e = ERR_INIT;
    struct ref_logprobs *r = ref_logprobs_parse(d, size, "fuzz", &e);
    double sum = 0, first, rest;
    if (r)
        for (int64_t i = 0; i < r->n_samples; i++)
            for (int k = 0; k < 2; k++) {
                struct ref_answer y = ref_logprobs_answer(r, i, k);
                ref_answer_sum(&y, 1, &first, &rest);
                sum += first + rest;
            }
    ref_logprobs_close(r);
    free(d);
    return isnan(sum) ? -1 : 0;
}
