#include "model/rope.h"

#include <math.h>

/* base^(2i/d) in f32, as torch computes it. */
static float position_power(double base, int i, int head_dim)
{
    return powf((float)base, (float)(2 * i) / (float)head_dim);
}

static void llama3(float *inv, int n, const struct rope_config *r)
{
    double low = r->original_max_positions / r->low_freq_factor, high = r->original_max_positions / r->high_freq_factor;
    for (int i = 0; i < n; i++) {
        float wavelength = (float)(2 * M_PI) / inv[i];
        if (wavelength < (float)high)
            continue;
        float scaled = inv[i] / (float)r->factor;
        if (wavelength > (float)low) {
            inv[i] = scaled;
            continue;
        }
        float smooth = ((float)r->original_max_positions / wavelength - (float)r->low_freq_factor) /
                       (float)(r->high_freq_factor - r->low_freq_factor);
        inv[i] = (1 - smooth) * scaled + smooth * inv[i];
    }
}

/* The dimension whose wave turns `rotations` times over the original context (YaRN, arXiv 2309.00071, section 3.2). */
static double yarn_dimension(const struct rope_config *r, double rotations, int head_dim)
{
    return head_dim * log(r->original_max_positions / (rotations * 2 * M_PI)) / (2 * log(r->theta));
}

static void yarn(float *inv, int head_dim, const struct rope_config *r)
{
    double low = yarn_dimension(r, r->beta_fast, head_dim), high = yarn_dimension(r, r->beta_slow, head_dim);
    if (r->truncate)
        low = floor(low), high = ceil(high);
    low = fmax(low, 0);
    high = fmin(high, head_dim - 1);
    if (low == high)
        high += 0.001;
    for (int i = 0; i < head_dim / 2; i++) {
        float power = position_power(r->theta, i, head_dim);
        float ramp = fminf(fmaxf(((float)i - (float)low) / (float)(high - low), 0), 1);
        float keep = 1 - ramp;
        inv[i] = 1 / ((float)r->factor * power) * (1 - keep) + 1 / power * keep;
    }
}

static double yarn_mscale(double factor, double m)
{
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

static float yarn_attention(const struct rope_config *r)
{
    if (r->attention_factor)
        return (float)r->attention_factor;
    if (r->mscale && r->mscale_all_dim)
        return (float)(yarn_mscale(r->factor, r->mscale) / yarn_mscale(r->factor, r->mscale_all_dim));
    return (float)yarn_mscale(r->factor, 1);
}

float rope_frequencies(float *inv, const struct model_config *c, int64_t seq_len)
{
    const struct rope_config *r = &c->rope;
    int d = c->head_dim;
    if (r->type == ROPE_YARN) {
        yarn(inv, d, r);
        return yarn_attention(r);
    }
    double base = r->theta;
    if (r->type == ROPE_DYNAMIC && seq_len > c->max_positions && d > 2)
        base *= pow(r->factor * (double)seq_len / (double)c->max_positions - (r->factor - 1), d / (d - 2.0));
    for (int i = 0; i < d / 2; i++)
        inv[i] = 1 / position_power(base, i, d);
    if (r->type == ROPE_LINEAR)
        for (int i = 0; i < d / 2; i++)
            inv[i] /= (float)r->factor;
    if (r->type == ROPE_LLAMA3)
        llama3(inv, d / 2, r);
    return 1;
}

void rope_fill(float *cos_sin, const float *inv, int head_dim, float scaling, int64_t position)
{
    for (int i = 0; i < head_dim / 2; i++) {
        double angle = (float)position * inv[i];
        cos_sin[2 * i] = scaling * (float)cos(angle);
        cos_sin[2 * i + 1] = scaling * (float)sin(angle);
    }
}
