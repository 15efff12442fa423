/* Few rows of x by 4-bit codes of GPTQ, as sums of integers: within a run of inputs of one group x is an integer of 24 bits times a power
 * of two, 2^23 or less for the largest, and taken apart into signed bytes. What is left out of x is less than 2^-23 of the run's largest
 * magnitude, about what sums of f32 lose. Included within few_quantized_tmpl.h.
 *
 * A row of x is its digits, as v_digits_store() lays them out, in the place of its values, then for each run the unit of its integers and
 * the sums of its digits. */
#ifndef KERNELS_CPU_FEW_DIGITS_TMPL_H
#define KERNELS_CPU_FEW_DIGITS_TMPL_H

#ifdef V_DIGITS

VEC bool few_by_digits(const struct quantized *q)
{
    return q->kind == QUANTIZED_GPTQ && q->bits == 4 && !q->g_idx && (q->group % 8 == 0 || q->group >= q->in) && q->out % (FEW_VECS * VL) == 0;
}

struct few_digits {
    float unit, sum[V_DIGITS];
};

/* Inputs from i on that are a run. */
VEC int64_t few_run_length(const struct few *f, int64_t i)
{
    int64_t group = f->m->b.quantized->group, group_end = (i / group + 1) * group, end = f->depth0 + f->depth;
    int64_t n = (group_end < end ? group_end : end) - i;
    return n < FEW_RUN ? n : FEW_RUN;
}

/* 2^n with which integers of x, up to `most`, have 24 bits. */
VEC int few_digits_exponent(float most)
{
    uint32_t u;
    most *= 1.0078125f; /* the digits reach from -0x808080 to 0x7f7f7f */
    memcpy(&u, &most, 4);
    int n = 22 + 127 - (int)(u >> 23);
    return n < 120 ? n : 120;
}

VEC float few_power(int n)
{
    float f;
    memcpy(&f, &(uint32_t){(uint32_t)(n + 127) << 23}, 4);
    return f;
}

VEC struct few_digits few_digits_run(float *x, int64_t n)
{
    struct few_digits d;
    vf most = v_set(0), bad = v_set(0);
    vi sum[V_DIGITS] = {vi_set(0), vi_set(0), vi_set(0)};
    for (int64_t i = 0; i < n; i += VL) {
        vf v = v_load(x + i);
        most = v_max(most, v_max(v, v_sub(v_set(0), v)));
        bad = v_add(bad, v_mul(v, v_set(0)));
    }
    bool finite = v_sum(bad) == 0;
    int exponent = finite ? few_digits_exponent(v_top(most)) : 0;
    vf scale = v_set(finite ? few_power(exponent) : 0);
    for (int64_t i = 0; i < n; i += VL) {
        vi digits = vi_add(vi_nearest(v_mul(v_load(x + i), scale)), vi_set(0x808080));
        for (int j = 0; j < V_DIGITS; j++)
            sum[j] = vi_add(sum[j], vi_and(vi_shift_down(digits, 8 * j), vi_set(255)));
        v_digits_store(x + i, digits);
    }
    d.unit = finite ? few_power(-exponent) : NAN;
    for (int j = 0; j < V_DIGITS; j++)
        d.sum[j] = v_sum(v_of_int(sum[j])) - 128 * (float)n;
    return d;
}

static void few_digits_row(float *x, float *runs, const struct few *f)
{
    for (int64_t i = 0, n; i < f->depth; i += n, runs += sizeof(struct few_digits) / sizeof *runs) {
        n = few_run_length(f, f->depth0 + i);
        struct few_digits d = few_digits_run(x + i, n);
        memcpy(runs, &d, sizeof d);
    }
}

/* Codes of a run: `line` bytes from one row of words to the next; those of the run that comes next. */
struct few_words {
    const char *p, *next;
    int64_t line;
};

/* `words` rows of words, which 8 inputs each make. */
VEC void few_digits_words(vi total[FEW_VECS][V_DIGITS], const struct few_words *w, int64_t at, const float *x, const int words)
{
    vi part[FEW_VECS][V_DIGITS];
#pragma GCC unroll 2
    for (int v = 0; v < FEW_VECS; v++)
#pragma GCC unroll 3
        for (int j = 0; j < V_DIGITS; j++)
            part[v][j] = vi_set(0);
#pragma GCC unroll 4
    for (int k = 0; k < words; k++) {
        vi even[FEW_VECS], odd[FEW_VECS];
        __builtin_prefetch(w->next + (at + k) * w->line);
#pragma GCC unroll 2
        for (int v = 0; v < FEW_VECS; v++) {
            vi codes = vi_load(w->p + (at + k) * w->line + v * VL * 4);
            even[v] = v_even_nibbles(codes), odd[v] = v_odd_nibbles(codes);
        }
#pragma GCC unroll 3
        for (int j = 0; j < V_DIGITS; j++) {
            vi xe = v_digits_load(x + (at + k) * 8, 2 * j), xo = v_digits_load(x + (at + k) * 8, 2 * j + 1);
#pragma GCC unroll 2
            for (int v = 0; v < FEW_VECS; v++)
                part[v][j] = v_digits_add(v_digits_add(part[v][j], even[v], xe), odd[v], xo);
        }
    }
#pragma GCC unroll 2
    for (int v = 0; v < FEW_VECS; v++)
#pragma GCC unroll 3
        for (int j = 0; j < V_DIGITS; j++)
            total[v][j] = v_digits_widen(total[v][j], part[v][j]);
}

/* sums[l], FEW_VECS vectors of outputs, += scale * unit * (sum of x times code - zero * sum of x). */
VEC void few_digits_outputs(float *sums, const float *scale, const float *zero, const struct few_words *w, const float *x, int64_t n, const struct few_digits *d)
{
    vi total[FEW_VECS][V_DIGITS];
#pragma GCC unroll 2
    for (int v = 0; v < FEW_VECS; v++)
#pragma GCC unroll 3
        for (int j = 0; j < V_DIGITS; j++)
            total[v][j] = vi_set(0);
    int64_t k = 0;
    for (; k + 4 <= n / 8; k += 4)
        few_digits_words(total, w, k, x, 4);
    for (; k < n / 8; k++)
        few_digits_words(total, w, k, x, 1);
#pragma GCC unroll 2
    for (int v = 0; v < FEW_VECS; v++) {
        vf z = v_load(zero + v * VL), sum = v_set(0);
#pragma GCC unroll 3
        for (int j = V_DIGITS - 1; j >= 0; j--)
            sum = v_fma(sum, v_set(256), v_fnma(z, v_set(d->sum[j]), v_of_int(total[v][j])));
        v_store(sums + v * VL, v_fma(v_mul(v_load(scale + v * VL), v_set(d->unit)), sum, v_load(sums + v * VL)));
    }
}

VEC void few_run_digits(float sums[][UNPACK_WIDE], struct unpack *u, const struct few_run *r)
{
    const struct few *f = r->f;
    const struct quantized *q = u->q;
    int slot = unpack_slot(u, r->i);
    int64_t line = q->out * 4, run = 0, end = f->depth0 + f->depth;
    const char *codes = (const char *)q->codes + r->i / 8 * line + u->first * 4;
    const char *next = r->i + r->n < end ? codes + r->n / 8 * line : (const char *)q->codes + f->depth0 / 8 * line + (u->first + UNPACK_WIDE) * 4;
    for (int64_t i = f->depth0; i < r->i; i += few_run_length(f, i))
        run++;
    for (int64_t row = 0; row < f->m->m; row++) {
        const float *x = f->x + row * f->x_row;
        struct few_digits d;
        memcpy(&d, x + f->x_scaled + run * (int64_t)(sizeof d / sizeof *x), sizeof d);
        for (int l = 0; l < u->n; l += FEW_VECS * VL)
            few_digits_outputs(sums[row] + l, u->scale[slot] + l, u->zero[slot] + l, &(struct few_words){codes + l * 4, next + l * 4, line}, x + (r->i - f->depth0),
                               r->n, &d);
    }
}

#else

VEC bool few_by_digits(const struct quantized *q) { return (void)q, false; }
VEC void few_digits_row(float *x, float *runs, const struct few *f) { (void)x, (void)runs, (void)f; }
VEC void few_run_digits(float sums[][UNPACK_WIDE], struct unpack *u, const struct few_run *r) { (void)sums, (void)u, (void)r; }

#endif

#endif
