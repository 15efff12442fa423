#include "train/divergence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define SCORES ((int64_t)1 << 25) /* of the reference that are held at once, about */

struct compare {
    int64_t vocab;
    float *held;     /* (rows, V) scores of the reference */
    double *kl;      /* (rows) */
    int64_t agree, bad, bad_reference;
};

static int hold(void *arg, int64_t first, int64_t count, const float *logits)
{
    struct compare *c = arg;
    memcpy(c->held + first * c->vocab, logits, (size_t)(count * c->vocab) * sizeof *logits);
    return 0;
}

static double log_sum_exp(const float *z, int64_t n)
{
    double top = z[0], sum = 0;
    for (int64_t i = 1; i < n; i++)
        top = z[i] > top ? z[i] : top;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)z[i] - top);
    return top + log(sum);
}

static int64_t likeliest(const float *z, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        best = z[i] > z[best] ? i : best;
    return best;
}

static int measure(void *arg, int64_t first, int64_t count, const float *logits)
{
    struct compare *c = arg;
    int64_t agree = 0, bad = 0, bad_reference = 0;
#pragma omp parallel for reduction(+ : agree, bad, bad_reference)
    for (int64_t i = 0; i < count; i++) {
        const float *p = c->held + (first + i) * c->vocab, *q = logits + i * c->vocab;
        double zp = log_sum_exp(p, c->vocab), zq = log_sum_exp(q, c->vocab), sum = 0;
        for (int64_t v = 0; v < c->vocab; v++) {
            double lp = (double)p[v] - zp;
            sum += exp(lp) * (lp - ((double)q[v] - zq));
        }
        c->kl[first + i] = sum > 0 ? sum : isnan(sum) ? sum : 0; /* rounding may take equal ones just below 0 */
        agree += likeliest(p, c->vocab) == likeliest(q, c->vocab);
        bad_reference += !isfinite(zp);
        bad += !isfinite(zq);
    }
    c->agree += agree;
    c->bad += bad;
    c->bad_reference += bad_reference;
    return 0;
}

static int64_t rows_held(int64_t rows, int64_t vocab)
{
    int64_t most = SCORES / vocab > 1 ? SCORES / vocab : 1;
    return most < rows ? most : rows;
}

int64_t divergence_memory(int64_t rows, int64_t vocab)
{
    return rows_held(rows, vocab) * (vocab * (int64_t)sizeof(float) + (int64_t)sizeof(double) + (int64_t)sizeof(int32_t));
}

int divergence_add(struct decoder *d, struct decoder *reference, const struct pack *p, int64_t vocab, double *sum, struct divergence *r,
                   struct err *e)
{
    int64_t most = rows_held(p->trained, vocab), n = 0;
    struct compare c = {vocab, mem_array(NULL, (size_t)(most * vocab) + 1, sizeof(float)), mem_array(NULL, (size_t)most + 1, sizeof(double)), 0, 0, 0};
    int32_t *rows = mem_array(NULL, (size_t)most + 1, sizeof *rows);
    int code = decoder_forward(reference, &p->batch, e) < 0 || decoder_forward(d, &p->batch, e) < 0 ? -1 : 0;
    for (int64_t i = 0; i < p->batch.n && code == 0; i++) {
        if (p->targets[i] >= 0)
            rows[n++] = (int32_t)i;
        if (n == 0 || (n < most && i + 1 < p->batch.n))
            continue;
        code = decoder_scores(reference, rows, n, hold, &c, e);
        if (code == 0)
            code = decoder_scores(d, rows, n, measure, &c, e);
        for (int64_t k = 0; k < n && code == 0; k++) {
            *sum += c.kl[k];
            r->squares += c.kl[k] * c.kl[k];
            r->max = c.kl[k] > r->max || isnan(c.kl[k]) ? c.kl[k] : r->max;
        }
        r->rows += n;
        n = 0;
    }
    r->agree += c.agree;
    r->bad += c.bad;
    r->bad_reference += c.bad_reference;
    r->mean = r->rows ? *sum / (double)r->rows : 0;
    double variance = r->rows ? r->squares / (double)r->rows - r->mean * r->mean : 0;
    r->error = r->rows > 1 && !(variance < 0) ? sqrt(variance / (double)(r->rows - 1)) : 0;
    free(c.held);
    free(c.kl);
    free(rows);
    return code;
}
