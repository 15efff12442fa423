/* edit-ref IN OUT RECORD ANSWER ADD: a copy of a ref-logprobs(5) file in which one value of one answer (0 or 1) of one record (from 1) is more by
 * ADD. For tests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/ref_logprobs.h"

static int copy(const struct ref_logprobs *r, FILE *out, const char *path, int64_t record, int which, float add, struct err *e)
{
    struct ref_writer *w = ref_writer_begin(out, path, r->kind, r->mismatched, &r->provenance, e);
    int code = w ? 0 : -1;
    for (int64_t i = 0; i < r->n_samples && code == 0; i++) {
        float *values[2];
        struct ref_answer y[2];
        for (int k = 0; k < 2; k++) {
            y[k] = ref_logprobs_answer(r, i, k);
            values[k] = mem_array(NULL, (size_t)y[k].n + 1, sizeof *values[k]);
            if (y[k].n)
                memcpy(values[k], y[k].logp, y[k].n * sizeof *values[k]);
        }
        if (i + 1 == record)
            values[which][0] += add;
        code = ref_writer_add(w, values[0], y[0].n, values[1], y[1].n, e);
        free(values[0]);
        free(values[1]);
    }
    if (code == 0)
        return ref_writer_end(w, e);
    ref_writer_free(w);
    return code;
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    struct ref_logprobs *r = argc == 6 ? ref_logprobs_open(argv[1], &e) : NULL;
    FILE *out = r ? fopen(argv[2], "wb") : NULL;
    int code = out ? copy(r, out, argv[2], atoll(argv[3]), atoi(argv[4]) == 1, strtof(argv[5], NULL), &e) : -1;
    if (out && fclose(out) != 0)
        code = -1;
    if (code)
        fprintf(stderr, "edit-ref: %s\n", e.text[0] ? e.text : "IN OUT RECORD ANSWER ADD");
    ref_logprobs_close(r);
    return code != 0;
}
