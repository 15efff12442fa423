/* Sampling filters against the vectors computed with transformers' logits processors (generation/logits_process.py). */
#include "model/sampler.h"
#include "tests/unit/tap.h"

static const float logits[5] = {2, 1, 0, -1, 0.5f};
static const struct sampler_options plain = {.temperature = 1, .top_p = 1, .repeat_penalty = 1};

/* The kept ids as a set of bits. */
static int kept(struct sampler_options o, const int32_t *history, int n_history, double *first)
{
    float z[5];
    const int32_t *ids;
    const double *p;
    memcpy(z, logits, sizeof z);
    struct sampler *s = sampler_new(&o, 5);
    int64_t n = sampler_distribution(s, z, history, n_history, &ids, &p);
    int bits = 0;
    for (int64_t i = 0; i < n; i++)
        bits |= 1 << ids[i];
    if (first)
        *first = p[0];
    sampler_free(s);
    return bits;
}

static void keeps(int want, double temperature, int top_k, double top_p, double min_p)
{
    struct sampler_options o = {temperature, top_k, top_p, min_p, 1, 0};
    char what[80];
    snprintf(what, sizeof what, "temperature %g top-k %d top-p %g min-p %g", temperature, top_k, top_p, min_p);
    is_int(kept(o, NULL, 0, NULL), want, what);
}

static void test_filters(void)
{
    double p;
    is_int(kept(plain, NULL, 0, &p), 31, "no filter keeps all");
    is_near(p, 0.563021, 2e-6, "softmax");
    keeps(0x03, 1, 2, 1, 0);
    keeps(0x1f, 1, 50, 1, 0);
    keeps(0x17, 1, 0, 0.9, 0);
    keeps(0x13, 1, 0, 0.85, 0);
    keeps(0x03, 1, 0, 0.6, 0);
    keeps(0x01, 1, 0, 0.55, 0);
    keeps(0x01, 1, 0, 0, 0);
    keeps(0x17, 1, 0, 1, 0.1);
    keeps(0x03, 1, 0, 1, 0.3);
    keeps(0x01, 0, 0, 1, 0);
    keeps(0x03, 1, 3, 0.7, 0); /* top-p on the softmax of what top-k left */
}

static void test_penalty(void)
{
    static const int32_t history[] = {0, 3, 1, 3, 7, -1};
    struct sampler_options o = plain;
    float z[5];
    const int32_t *ids;
    const double *p;
    o.repeat_penalty = 1.5;
    memcpy(z, logits, sizeof z);
    struct sampler *s = sampler_new(&o, 5);
    sampler_distribution(s, z, history, 6, &ids, &p);
    static const double want[5] = {1.333333, 0.666667, 0, -1.5, 0.5};
    for (int i = 0; i < 5; i++)
        is_near(z[i], want[i], 1e-6, "repetition penalty, once per id, ids outside the vocabulary ignored");
    sampler_free(s);
}

static void test_draws(void)
{
    struct sampler_options o = plain;
    int count[5] = {0}, same = 0;
    o.seed = 7;
    struct sampler *s = sampler_new(&o, 5);
    for (int i = 0; i < 20000; i++) {
        float z[5], y[5];
        memcpy(z, logits, sizeof z);
        memcpy(y, logits, sizeof y);
        int32_t id = sampler_pick(s, z, NULL, 0, 3, (uint64_t)i);
        count[id]++;
        same += id == sampler_pick(s, y, NULL, 0, 3, (uint64_t)i);
    }
    is_int(same, 20000, "the same seed, stream and step give the same token");
    is_near(count[0] / 20000.0, 0.563021, 0.012, "the most probable comes at its rate");
    is_near(count[3] / 20000.0, 0.028031, 0.004, "the least probable comes at its rate");
    float none[5] = {NAN, NAN, -INFINITY, NAN, INFINITY}, ties[5] = {1, 3, 3, 0, 3};
    float one[5] = {1, NAN, 3, 0, 2}, plus[5] = {1, INFINITY, 3, 0, 2}, minus[5] = {-INFINITY, -INFINITY, 3, -INFINITY, -INFINITY};
    is_int(sampler_pick(s, none, NULL, 0, 0, 0), -1, "no finite logit");
    is_int(sampler_pick(s, one, NULL, 0, 0, 0), -1, "a NaN among the logits");
    is_int(sampler_pick(s, plus, NULL, 0, 0, 0), -1, "infinity among the logits");
    is_int(sampler_pick(s, minus, NULL, 0, 0, 0), 2, "minus infinity is never drawn");
    sampler_free(s);
    o.temperature = 0;
    s = sampler_new(&o, 5);
    is_int(sampler_pick(s, ties, NULL, 0, 0, 0), 1, "greedy takes the first of equals");
    sampler_free(s);
}

int main(void)
{
    test_filters();
    test_penalty();
    test_draws();
    return tap_end();
}
