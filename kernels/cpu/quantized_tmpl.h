/* Values of quantized weights, a vector at a time, the bits of ref_quantized.c. Included after pack_tmpl.h.
 *
 * Codes of int8, NF4 and FP4 lie side by side along the inputs: unpack_rows(). Those of GPTQ and AWQ lie side by side along the outputs:
 * unpack_open() for a strip of outputs, then unpack_steps() for some inputs. Neither reads beyond the last byte of an array. */
#ifndef KERNELS_CPU_QUANTIZED_TMPL_H
#define KERNELS_CPU_QUANTIZED_TMPL_H

#define UNPACK_WIDE 64   /* outputs of a strip at most */
#define UNPACK_GROUPS 32 /* whose scales and zeros are kept */

VEC bool quantized_by_row(const struct quantized *q) { return q->kind != QUANTIZED_GPTQ && q->kind != QUANTIZED_AWQ; }

VEC float float_at(const void *data, int64_t i)
{
    float f;
    memcpy(&f, (const char *)data + i * 4, 4);
    return f;
}

VEC uint32_t word_at(const void *data, int64_t i)
{
    uint32_t u;
    memcpy(&u, (const char *)data + i * 4, 4);
    return u;
}

/* ---- along the inputs ---- */

/* How far down in its word the field of 4 bits of lane l lies: elements 0 .. 7 of a word, twice. */
static const uint32_t NIBBLE_OF_ELEMENT[16] = {4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28, 24};
static const uint32_t NIBBLE_OF_OUTPUT[16] = {0, 16, 4, 20, 8, 24, 12, 28, 0, 16, 4, 20, 8, 24, 12, 28};
static const uint32_t NIBBLE_OF_FIELD[16] = {0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28};

/* VL fields from number e, a multiple of VL, on; the words of all eight of each word are read. */
VEC vi nibbles_at(const void *data, int64_t e, const uint32_t places[16])
{
    return vi_shift_each(vi_words((const char *)data + (uint64_t)e / 8 * 4), vi_load(places + (uint64_t)e % 8));
}

#define NIBBLES_READ (VL < 8 ? 8 : VL)

VEC float absmax_of(const struct quantized *q, int64_t block)
{
    if (q->scale_type != DTYPE_U8)
        return float_at(q->scales, block);
    float a = float_at(q->nested_map, ((const uint8_t *)q->scales)[block]);
    return a * float_at(q->nested_scales, block / QUANTIZED_NESTED_BLOCK) + q->nested_offset;
}

/* The 16 values of a block. */
VEC void block_table(vf table[16 / VL], const struct quantized *q, int64_t block)
{
    const float *values = q->kind == QUANTIZED_NF4 ? QUANTIZED_NF4_VALUES : QUANTIZED_FP4_VALUES;
    vf most = v_set(absmax_of(q, block));
    for (int i = 0; i < 16 / VL; i++) {
        table[i] = v_mul(v_load(values + i * VL), most);
        if (q->value_type == DTYPE_BF16)
            table[i] = v_round_bf16(table[i]);
        else if (q->value_type == DTYPE_F16)
            table[i] = v_round_f16(table[i]);
    }
}

#ifdef V_BATCH
/* The values of blocks with the largest magnitudes a and b by bytes; bf16: rounded to it. */
VEC void two_tables(v_bytes t[2], const struct quantized *q, float a, float b, const bool bf16)
{
    uint32_t u, v;
    memcpy(&u, &a, sizeof u);
    memcpy(&v, &b, sizeof v);
    if (bf16 && q->value_type == DTYPE_BF16 && v_is_ready(u) && v_is_ready(v)) {
        v_bytes_ready(&t[0], &v_ready[q->kind == QUANTIZED_FP4], u);
        v_bytes_ready(&t[1], &v_ready[q->kind == QUANTIZED_FP4], v);
    } else {
        v_bytes_of(t, q->kind == QUANTIZED_NF4 ? QUANTIZED_NF4_VALUES : QUANTIZED_FP4_VALUES, a, b, q->value_type, bf16);
    }
}
#endif

/* The last n < NIBBLES_READ elements from e, a multiple of VL, on. */
VEC void nibbles_end(float *to, const vf table[16 / VL], const uint8_t *codes, int64_t e, int64_t n)
{
    uint8_t end[8] = {0};
    float values[NIBBLES_READ];
    memcpy(end, codes + e / 8 * 4, (size_t)((e % 8 + n + 1) / 2));
    for (int i = 0; i < n; i += VL)
        v_store(values + i, v_lookup(table, nibbles_at(end, e % 8 + i, NIBBLE_OF_ELEMENT)));
    memcpy(to, values, (size_t)n * sizeof *to);
}

/* Elements e .. e + n - 1, all of one block. */
VEC void unpack_nibbles(float *to, const vf table[16 / VL], const uint8_t *codes, int64_t e, int64_t n)
{
    if (e % VL) { /* few: rows and blocks begin at multiples of VL */
        float values[16];
        for (int i = 0; i < 16; i += VL)
            v_store(values + i, table[i / VL]);
        for (; n > 0 && e % VL; e++, n--)
            *to++ = values[e % 2 ? codes[e / 2] & 15 : codes[e / 2] >> 4];
    }
    if (e % NIBBLES_READ && n >= VL) { /* VL is half of what is read */
        v_store(to, v_lookup(table, nibbles_at(codes, e, NIBBLE_OF_ELEMENT)));
        e += VL, to += VL, n -= VL;
    }
    const uint8_t *p = codes + e / 2;
    for (; n >= 2 * VL; e += 2 * VL, to += 2 * VL, n -= 2 * VL, p += VL) {
        v_store(to, v_lookup(table, nibbles_at(p, 0, NIBBLE_OF_ELEMENT)));
        v_store(to + VL, v_lookup(table, nibbles_at(p, VL, NIBBLE_OF_ELEMENT)));
    }
    if (n >= NIBBLES_READ) {
        v_store(to, v_lookup(table, nibbles_at(p, 0, NIBBLE_OF_ELEMENT)));
        e += VL, to += VL, n -= VL;
    }
    if (n > 0)
        nibbles_end(to, table, codes, e, n);
}

static void unpack_row_4bit(float *to, const struct quantized *q, int64_t row, int64_t col, int64_t cols)
{
    vf table[16 / VL];
    for (int64_t e = row * q->in + col, last = e + cols, end; e < last; to += end - e, e = end) {
        int64_t block = e / q->group;
        end = (block + 1) * q->group < last ? (block + 1) * q->group : last;
        block_table(table, q, block);
        unpack_nibbles(to, table, q->codes, e, end - e);
    }
}

VEC vi bytes_n(const int8_t *p, int n)
{
    int8_t full[16] = {0};
    if (n >= VL)
        return vi_bytes(p);
    memcpy(full, p, (size_t)n);
    return vi_bytes(full);
}

static void unpack_row_int8(float *to, const struct quantized *q, int64_t row, int64_t col, int64_t cols)
{
    const int8_t *codes = (const int8_t *)q->codes + row * q->in + col;
    vf scale = v_set(float_at(q->scales, row)), unit = v_set(0.007874015718698502f);
    for (int64_t i = 0; i < cols; i += VL) {
        int n = cols - i < VL ? (int)(cols - i) : VL;
        v_store_n(to + i, v_mul(v_mul(v_of_int(bytes_n(codes + i, n)), scale), unit), n);
    }
}

VEC void unpack_row(float *to, const struct quantized *q, int64_t row, int64_t col, int64_t cols)
{
    if (q->kind == QUANTIZED_INT8)
        unpack_row_int8(to, q, row, col, cols);
    else
        unpack_row_4bit(to, q, row, col, cols);
}

static void unpack_rows(float *to, int64_t ld, const struct quantized *q, int64_t row, int64_t rows, int64_t col, int64_t cols)
{
    for (int64_t o = 0; o < rows; o++)
        unpack_row(to + o * ld, q, row + o, col, cols);
}

/* ---- along the outputs ---- */

/* Scales and zeros of some groups for a strip of outputs; those of group g at g % UNPACK_GROUPS. */
struct unpack {
    const struct quantized *q;
    int64_t first;  /* output, a multiple of 8 */
    int n, whole;   /* outputs; those in whole vectors */
    int64_t group[UNPACK_GROUPS];
    float scale[UNPACK_GROUPS][UNPACK_WIDE], zero[UNPACK_GROUPS][UNPACK_WIDE];
};

static void unpack_open(struct unpack *u, const struct quantized *q, int64_t first, int64_t n)
{
    u->q = q, u->first = first, u->n = (int)n, u->whole = u->n / VL * VL;
    for (int i = 0; i < UNPACK_GROUPS; i++)
        u->group[i] = -1;
}

VEC int64_t group_of(const struct quantized *q, int64_t i)
{
    return q->g_idx ? (int32_t)word_at(q->g_idx, i) : i / q->group;
}

VEC vf zeros_of_4bit(const struct quantized *q, int64_t group, int64_t o)
{
    const char *words = (const char *)q->zeros + group * (q->out / 8) * 4;
    vi w = vi_words(words + o / 8 * 4);
    if (q->kind == QUANTIZED_GPTQ && q->zeros_stored == QUANTIZED_ZEROS_WORD_LESS_ONE)
        w = vi_add(w, vi_set(0x11111111));
    w = vi_shift_each(w, vi_load((q->kind == QUANTIZED_AWQ ? NIBBLE_OF_OUTPUT : NIBBLE_OF_FIELD) + o % 8));
    if (q->kind == QUANTIZED_GPTQ && q->zeros_stored == QUANTIZED_ZEROS_LESS_ONE)
        w = vi_add(w, vi_set(1));
    return v_of_int(vi_and(w, vi_set(15)));
}

/* The zero of output o, any width. */
VEC float zero_of(const struct quantized *q, int64_t group, int64_t o)
{
    uint32_t most = (1u << q->bits) - 1, carry = q->zeros_stored == QUANTIZED_ZEROS_WORD_LESS_ONE ? 0xffffffffu / most : 0;
    int64_t bit = o * q->bits, at = group * (q->out * q->bits / 32) + bit / 32;
    uint64_t both = word_at(q->zeros, at) + carry;
    if (bit % 32 + q->bits > 32)
        both |= (uint64_t)word_at(q->zeros, at + 1) << 32;
    uint32_t zero = (uint32_t)(both >> bit % 32) & most;
    return (float)(q->zeros_stored == QUANTIZED_ZEROS_LESS_ONE ? (zero + 1) & most : zero);
}

static void unpack_group(struct unpack *u, int64_t group)
{
    const struct quantized *q = u->q;
    int slot = (int)(group % UNPACK_GROUPS);
    enum load_kind kind = load_kind_of(q->scale_type, false);
    const char *scales = (const char *)q->scales + (group * q->out + u->first) * load_size(kind);
    u->group[slot] = group;
    for (int l = 0; l < u->whole; l += VL) {
        v_store(u->scale[slot] + l, kind == LOAD_F32 ? load_typed(scales + l * 4, LOAD_F32) :
                                    kind == LOAD_F16 ? load_typed(scales + l * 2, LOAD_F16) : load_typed(scales + l * 2, LOAD_BF16));
        if (q->bits == 4)
            v_store(u->zero[slot] + l, zeros_of_4bit(q, group, u->first + l));
        else
            for (int i = l; i < l + VL; i++)
                u->zero[slot][i] = zero_of(q, group, u->first + i);
    }
}

/* The slot of input i's group. */
VEC int unpack_slot(struct unpack *u, int64_t i)
{
    int64_t group = group_of(u->q, i);
    int slot = (int)(group % UNPACK_GROUPS);
    if (u->group[slot] != group)
        unpack_group(u, group);
    return slot;
}

/* Codes of GPTQ of input i, VL outputs from o on. */
VEC vi fields_at(const struct quantized *q, int64_t i, int64_t o, const int bits)
{
    int64_t bit = i * bits;
    const char *p = (const char *)q->codes + (bit / 32 * q->out + o) * 4;
    int shift = (int)(bit % 32);
    vi w = vi_shift_down(vi_load(p), shift);
    if (shift + bits > 32)
        w = vi_or(w, vi_shift_up(vi_load(p + q->out * 4), 32 - shift));
    return vi_and(w, vi_set((1u << bits) - 1));
}

VEC void unpack_step(float *to, struct unpack *u, int64_t i, const enum quantized_kind kind, const int bits)
{
    const struct quantized *q = u->q;
    int slot = unpack_slot(u, i);
    for (int l = 0; l < u->whole; l += VL) {
        vi code = kind == QUANTIZED_GPTQ ? fields_at(q, i, u->first + l, bits)
                      : vi_and(nibbles_at((const char *)q->codes + i * (q->out / 8) * 4, u->first + l, NIBBLE_OF_OUTPUT), vi_set(15));
        v_store(to + l, v_mul(v_load(u->scale[slot] + l), v_sub(v_of_int(code), v_load(u->zero[slot] + l))));
    }
}

/* to[k * ld + l] = input i + k of output first + l. */
static void unpack_steps(float *to, int64_t ld, struct unpack *u, int64_t i, int64_t steps)
{
    const struct quantized *q = u->q;
    for (int64_t k = 0; k < steps && u->whole; k++)
        switch (q->kind == QUANTIZED_AWQ ? 0 : q->bits) {
        case 0: unpack_step(to + k * ld, u, i + k, QUANTIZED_AWQ, 4); break;
        case 2: unpack_step(to + k * ld, u, i + k, QUANTIZED_GPTQ, 2); break;
        case 3: unpack_step(to + k * ld, u, i + k, QUANTIZED_GPTQ, 3); break;
        case 4: unpack_step(to + k * ld, u, i + k, QUANTIZED_GPTQ, 4); break;
        default: unpack_step(to + k * ld, u, i + k, QUANTIZED_GPTQ, 8);
        }
    for (int64_t k = 0; k < steps; k++)
        for (int l = u->whole; l < u->n; l++)
            ref_dequantize(to + k * ld + l, DTYPE_F32, 1, q, u->first + l, 1, i + k, 1);
}

/* ---- strips for packing ---- */

#define UNPACK_STEPS 64 /* of the depth that are converted at a time */

/* `cols` columns from `col` on of B, a quantized weight or its transpose, as a strip of `depth` steps from `from` on in `values`, which has
 * room for UNPACK_STEPS * cols floats. u: of these columns, opened, when the steps are inputs. */
static struct strip unpack_strip(float *values, const struct mat *b, struct unpack *u, int64_t col, int cols, int64_t from, int64_t depth)
{
    const struct quantized *q = b->quantized;
    bool by_output = b->col_stride == 1; /* the depth */
    struct strip s = {(const char *)values, 1, cols, cols, depth};
    if (quantized_by_row(q) == by_output) {
        if (by_output)
            unpack_rows(values, cols, q, from, depth, col, cols);
        else
            unpack_steps(values, cols, u, from, depth);
        return s;
    }
    s.row = depth, s.step = 1;
    if (!by_output) {
        unpack_rows(values, depth, q, col, cols, from, depth);
        return s;
    }
    int64_t before = from % 8; /* strips of outputs begin at multiples of 8 */
    unpack_open(u, q, from - before, before + depth);
    if (!before) {
        unpack_steps(values, depth, u, col, cols);
        return s;
    }
    for (int i = 0; i < cols; i++) {
        float one[UNPACK_WIDE];
        unpack_steps(one, UNPACK_WIDE, u, col + i, 1);
        memcpy(values + i * depth, one + before, (size_t)depth * sizeof *one);
    }
    return s;
}

/* Steps from `from` on that unpack_strip() may take. */
VEC int64_t unpack_depth(int64_t from, int64_t left)
{
    int64_t most = UNPACK_STEPS - from % 8;
    return left < most ? left : most;
}

#endif
