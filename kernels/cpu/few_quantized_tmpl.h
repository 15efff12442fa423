/* Few rows of x by a quantized weight, straight from its codes. Included within few_tmpl.h.
 *
 * NF4 and FP4: the values of the specification, by a table for each block, whose sums are ordered otherwise. int8: the sum of x times code,
 * times the row's scale. GPTQ and AWQ: runs of up to FEW_RUN inputs of one group, each scale * (sum of x times code - zero * sum of x),
 * with 4 bits by few_digits_tmpl.h; where groups are not side by side (act-order) the values of the specification. round_bf16 rounds x and the values of NF4 and FP4; sums of codes
 * are as they are. */
#ifndef KERNELS_CPU_FEW_QUANTIZED_TMPL_H
#define KERNELS_CPU_FEW_QUANTIZED_TMPL_H

#define FEW_RUN 128
#define FEW_VECS 2 /* of outputs, side by side, by FEW_ROWS rows */

/* ---- along the inputs: a column at a time ---- */

struct few_sums {
    vf of[FEW_ROWS][2]; /* every other vector goes to the same one */
};

VEC void few_add(struct few_sums *s, int half, vf w, const float *x, int64_t x_row, const int rows)
{
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
        s->of[i][half] = v_fma(v_load(x + i * x_row), w, s->of[i][half]);
}

/* Elements e .. e + n - 1 of a block; x: of element e. */
VEC void few_nibbles(struct few_sums *s, const vf table[16 / VL], const uint8_t *codes, int64_t e, int64_t n, const float *x, int64_t x_row, const int rows)
{
    float values[64];
    if (e % NIBBLES_READ == 0)
        for (const uint8_t *p = codes + e / 2; n >= 2 * VL; e += 2 * VL, x += 2 * VL, n -= 2 * VL, p += VL) {
            few_add(s, 0, v_lookup(table, nibbles_at(p, 0, NIBBLE_OF_ELEMENT)), x, x_row, rows);
            few_add(s, 1, v_lookup(table, nibbles_at(p, VL, NIBBLE_OF_ELEMENT)), x + VL, x_row, rows);
        }
    for (int64_t part; n > 0; e += part, x += part, n -= part) {
        part = n < 64 ? n : 64;
        unpack_nibbles(values, table, codes, e, part);
        for (int64_t k = 0; k < part; k += VL) {
            int left = part - k < VL ? (int)(part - k) : VL;
            vf w = v_load_n(values + k, left);
            for (int i = 0; i < rows; i++)
                s->of[i][0] = v_fma(v_load_n(x + i * x_row + k, left), w, s->of[i][0]);
        }
    }
}

VEC void few_column_4bit(const struct few *f, int64_t row, int64_t col, const int rows)
{
    const struct quantized *q = f->m->b.quantized;
    const float *x = f->x + row * f->x_row;
    struct few_sums s;
    vf table[16 / VL];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
        s.of[i][0] = s.of[i][1] = v_set(0);
    int64_t e = col * q->in + f->depth0, last = e + f->depth, block = e / q->group, end = (block + 1) * q->group;
    for (; e < last; x += end - e, e = end, end += q->group, block++) {
        end = end < last ? end : last;
        block_table(table, q, block);
        for (int i = 0; i < 16 / VL && f->m->round_bf16 && q->value_type != DTYPE_BF16; i++)
            table[i] = v_round_bf16(table[i]);
        few_nibbles(&s, table, q->codes, e, end - e, x, f->x_row, rows);
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
        few_write(f, row + i, col, v_add(s.of[i][0], s.of[i][1]));
}

#include "kernels/cpu/few_batches_tmpl.h"

VEC void few_column_int8(const struct few *f, int64_t row, int64_t col, const int rows)
{
    const struct quantized *q = f->m->b.quantized;
    const float *x = f->x + row * f->x_row;
    const int8_t *codes = (const int8_t *)q->codes + col * q->in + f->depth0;
    struct few_sums s;
    vf scale = v_mul(v_set(float_at(q->scales, col)), v_set(0.007874015718698502f));
    int64_t k = 0;
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
        s.of[i][0] = s.of[i][1] = v_set(0);
    for (; k + 2 * VL <= f->depth; k += 2 * VL) {
        few_add(&s, 0, v_of_int(vi_bytes(codes + k)), x + k, f->x_row, rows);
        few_add(&s, 1, v_of_int(vi_bytes(codes + k + VL)), x + k + VL, f->x_row, rows);
    }
    for (; k < f->depth; k += VL) {
        int left = f->depth - k < VL ? (int)(f->depth - k) : VL;
        vf w = v_of_int(bytes_n(codes + k, left));
        for (int i = 0; i < rows; i++)
            s.of[i][0] = v_fma(v_load_n(x + i * f->x_row + k, left), w, s.of[i][0]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
        few_write(f, row + i, col, v_mul(scale, v_add(s.of[i][0], s.of[i][1])));
}

VEC void few_column_rows(const struct few *f, int64_t row, int64_t col, const int rows)
{
    if (f->m->b.quantized->kind == QUANTIZED_INT8)
        few_column_int8(f, row, col, rows);
    else
        few_column_4bit(f, row, col, rows);
}

static void few_column_all(const struct few *f, int64_t col)
{
    int64_t i = 0, n = f->m->m;
    for (; i + FEW_ROWS <= n; i += FEW_ROWS)
        few_column_rows(f, i, col, FEW_ROWS);
    for (; i + 2 <= n; i += 2)
        few_column_rows(f, i, col, 2);
    if (i < n)
        few_column_rows(f, i, col, 1);
}

/* All rows by columns col .. end - 1. */
static void few_columns(const struct few *f, int64_t col, int64_t end)
{
    if (few_use(f->m) == FEW_USE_BATCHES)
        few_columns_batches(f, col, end);
    else
        for (; col < end; col++)
            few_column_all(f, col);
}

/* ---- along the outputs: a strip at a time ---- */

/* Inputs whose codes begin and end with words. */
VEC int fields_of(int bits) { return bits == 3 ? 32 : 32 / bits; }

/* Field i of such words stands this far up in what few_field() gives; x is scaled to make up for it. */
VEC int few_field_up(int bits, int i) { return i * bits % 32 + bits >= 32 ? 0 : i * bits % 32; }

VEC vi few_field(const vi *words, const int bits, const int i)
{
    const int word = i * bits / 32, shift = i * bits % 32;
    const uint32_t mask = (1u << bits) - 1;
    if (shift + bits > 32)
        return vi_and(vi_or(vi_shift_down(words[word], shift), vi_shift_up(words[word + 1], 32 - shift)), vi_set(mask));
    return shift + bits == 32 ? vi_shift_down(words[word], shift) : vi_and(words[word], vi_set(mask << shift));
}

/* A row of x, each value scaled for its field. */
static void few_scale_row(float *to, const float *x, int64_t depth, int bits)
{
    float down[32];
    int fields = fields_of(bits);
    for (int i = 0; i < 32; i++)
        down[i] = 1.0f / (float)(1u << few_field_up(bits, i % fields));
    for (int64_t k = 0; k < depth; k++)
        to[k] = x[k] * down[k % 32];
}

/* Whether each group's inputs lie side by side and begin with a word. */
static bool few_in_runs(const struct quantized *q)
{
    if (q->kind == QUANTIZED_GPTQ && q->group < q->in && q->group % fields_of(q->bits))
        return false;
    for (int64_t i = 0; q->g_idx && i < q->in; i++)
        if (group_of(q, i) != i / q->group)
            return false;
    return true;
}

/* The codes of a run of inputs from i on. */
struct few_run {
    const struct few *f;
    int64_t i, n;
    int64_t row; /* of x */
};

VEC void few_run_gptq(vf s[FEW_ROWS][FEW_VECS], const struct few_run *r, int64_t o, const int bits, const int rows)
{
    const struct quantized *q = r->f->m->b.quantized;
    const int fields = fields_of(bits), words = fields * bits / 32;
    const char *p = (const char *)q->codes + (r->i * bits / 32 * q->out + o) * 4;
    const float *x = r->f->x + r->row * r->f->x_row + r->f->x_scaled + r->i - r->f->depth0;
    int64_t line = q->out * 4, ahead = r->n / fields * words * line;
    for (int64_t k = 0; k < r->n; k += fields, p += words * line) {
        vi w[FEW_VECS][3];
#pragma GCC unroll 4
        for (int j = 0; j < words; j++) {
            __builtin_prefetch(p + j * line + ahead);
#pragma GCC unroll 2
            for (int v = 0; v < FEW_VECS; v++)
                w[v][j] = vi_load(p + j * line + v * VL * 4);
        }
#pragma GCC unroll 32
        for (int i = 0; i < fields; i++) {
            vf code[FEW_VECS];
#pragma GCC unroll 2
            for (int v = 0; v < FEW_VECS; v++)
                code[v] = v_of_int(few_field(w[v], bits, i));
#pragma GCC unroll 4
            for (int j = 0; j < rows; j++) {
                vf xi = v_set(x[j * r->f->x_row + k + i]);
#pragma GCC unroll 2
                for (int v = 0; v < FEW_VECS; v++)
                    s[j][v] = v_fma(xi, code[v], s[j][v]);
            }
        }
    }
}

VEC void few_run_awq(vf s[FEW_ROWS][FEW_VECS], const struct few_run *r, int64_t o, const int rows)
{
    const struct quantized *q = r->f->m->b.quantized;
    int64_t line = q->out / 8 * 4;
    const char *p = (const char *)q->codes + r->i * line;
    const float *x = r->f->x + r->row * r->f->x_row + r->i - r->f->depth0;
    for (int64_t k = 0; k < r->n; k++, p += line) {
        vf code[FEW_VECS];
#pragma GCC unroll 2
        for (int v = 0; v < FEW_VECS; v++)
            code[v] = v_of_int(vi_and(nibbles_at(p, o + v * VL, NIBBLE_OF_OUTPUT), vi_set(15)));
#pragma GCC unroll 4
        for (int j = 0; j < rows; j++)
#pragma GCC unroll 2
            for (int v = 0; v < FEW_VECS; v++)
                s[j][v] = v_fma(v_set(x[j * r->f->x_row + k]), code[v], s[j][v]);
    }
}

VEC float few_sum_of(const float *x, int64_t n)
{
    vf sum = v_set(0);
    for (int64_t k = 0; k < n; k += VL)
        sum = v_add(sum, v_load_n(x + k, n - k < VL ? (int)(n - k) : VL));
    return v_sum(sum);
}

/* sums[j][l] of rows r->row + j += scale * (sum of x times code - zero * sum of x). bits 0: AWQ. */
VEC void few_run_rows(float sums[][UNPACK_WIDE], struct unpack *u, const struct few_run *r, const int bits, const int rows)
{
    int slot = unpack_slot(u, r->i);
    vf x[FEW_ROWS];
#pragma GCC unroll 4
    for (int j = 0; j < rows; j++)
        x[j] = v_set(few_sum_of(r->f->x + (r->row + j) * r->f->x_row + r->i - r->f->depth0, r->n));
    for (int l = 0; l < u->n; l += FEW_VECS * VL) {
        vf s[FEW_ROWS][FEW_VECS];
#pragma GCC unroll 4
        for (int j = 0; j < rows; j++)
#pragma GCC unroll 2
            for (int v = 0; v < FEW_VECS; v++)
                s[j][v] = v_set(0);
        if (bits)
            few_run_gptq(s, r, u->first + l, bits, rows);
        else
            few_run_awq(s, r, u->first + l, rows);
#pragma GCC unroll 4
        for (int j = 0; j < rows; j++)
#pragma GCC unroll 2
            for (int v = 0; v < FEW_VECS; v++) {
                float *to = sums[r->row + j] + l + v * VL;
                vf centred = v_fnma(v_load(u->zero[slot] + l + v * VL), x[j], s[j][v]);
                v_store(to, v_fma(v_load(u->scale[slot] + l + v * VL), centred, v_load(to)));
            }
    }
}

VEC void few_run_all(float sums[][UNPACK_WIDE], struct unpack *u, struct few_run *r, const int bits)
{
    int64_t n = r->f->m->m;
    for (r->row = 0; r->row + FEW_ROWS <= n; r->row += FEW_ROWS)
        few_run_rows(sums, u, r, bits, FEW_ROWS);
    for (; r->row + 2 <= n; r->row += 2)
        few_run_rows(sums, u, r, bits, 2);
    if (r->row < n)
        few_run_rows(sums, u, r, bits, 1);
}

#include "kernels/cpu/few_digits_tmpl.h"

static void few_strip_runs(float sums[][UNPACK_WIDE], struct unpack *u, const struct few *f)
{
    const struct quantized *q = u->q;
    struct few_run r = {f, f->depth0, 0, 0};
    for (int64_t end = f->depth0 + f->depth; r.i < end; r.i += r.n) {
        int64_t group_end = (r.i / q->group + 1) * q->group;
        r.n = (group_end < end ? group_end : end) - r.i;
        r.n = r.n < FEW_RUN ? r.n : FEW_RUN;
        if (few_use(f->m) == FEW_USE_DIGITS) {
            few_run_digits(sums, u, &r);
            continue;
        }
        switch (q->kind == QUANTIZED_AWQ ? 0 : q->bits) {
        case 0: few_run_all(sums, u, &r, 0); break;
        case 2: few_run_all(sums, u, &r, 2); break;
        case 3: few_run_all(sums, u, &r, 3); break;
        case 4: few_run_all(sums, u, &r, 4); break;
        default: few_run_all(sums, u, &r, 8);
        }
    }
}

/* By way of the values. */
static void few_strip_values(float sums[][UNPACK_WIDE], struct unpack *u, const struct few *f)
{
    float values[UNPACK_STEPS * UNPACK_WIDE] = {0};
    for (int64_t k = 0, n; k < f->depth; k += n) {
        n = f->depth - k < UNPACK_STEPS ? f->depth - k : UNPACK_STEPS;
        unpack_steps(values, UNPACK_WIDE, u, f->depth0 + k, n);
        for (int64_t j = 0; j < f->m->m; j++)
            for (int l = 0; l < u->n; l += VL) {
                vf sum = v_load(sums[j] + l);
                for (int64_t i = 0; i < n; i++)
                    sum = v_fma(v_set(f->x[j * f->x_row + k + i]), v_load(values + i * UNPACK_WIDE + l), sum);
                v_store(sums[j] + l, sum);
            }
    }
}

/* All rows by the outputs of strip g. */
static void few_strip(const struct few *f, int64_t g)
{
    const struct matmul *m = f->m;
    struct unpack u;
    float sums[MATMUL_FEW_ROWS][UNPACK_WIDE];
    int64_t first = g * UNPACK_WIDE;
    memset(sums, 0, (size_t)m->m * sizeof *sums);
    unpack_open(&u, m->b.quantized, first, m->n - first < UNPACK_WIDE ? m->n - first : UNPACK_WIDE);
    if (f->in_runs && u.n % (FEW_VECS * VL) == 0)
        few_strip_runs(sums, &u, f);
    else
        few_strip_values(sums, &u, f);
    for (int64_t i = 0; i < m->m; i++)
        for (int l = 0; l < u.n; l += VL) {
            float *c = m->c + i * m->ldc + first + l;
            int n = u.n - l < VL ? u.n - l : VL;
            vf s = v_load(sums[i] + l), alpha = v_set(m->alpha);
            v_store_n(c, f->depth0 == 0 && m->beta == 0 ? v_mul(alpha, s) : v_fma(alpha, s, v_load_n(c, n)), n);
        }
}

#endif
