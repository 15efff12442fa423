/* Panels: a strip of `width` rows (of A) or columns (of B) copied so that one step of the depth is `width` consecutive floats.
 * Stored types become f32 here, so a weight is converted once per product. Included after a vec_*.h. */
#ifndef KERNELS_CPU_PACK_TMPL_H
#define KERNELS_CPU_PACK_TMPL_H

/* How elements come in; the ROUND kinds pass them through bf16. */
enum load_kind { LOAD_F32, LOAD_F32_ROUND, LOAD_F16, LOAD_F16_ROUND, LOAD_BF16 };

VEC enum load_kind load_kind_of(enum dtype type, bool round_bf16)
{
    if (type == DTYPE_BF16)
        return LOAD_BF16;
    if (type == DTYPE_F16)
        return round_bf16 ? LOAD_F16_ROUND : LOAD_F16;
    return round_bf16 ? LOAD_F32_ROUND : LOAD_F32;
}

VEC int load_size(enum load_kind kind)
{
    return kind == LOAD_F32 || kind == LOAD_F32_ROUND ? 4 : 2;
}

VEC vf load_typed(const char *p, enum load_kind kind)
{
    if (kind == LOAD_BF16)
        return v_load_bf16(p);
    vf a = load_size(kind) == 4 ? v_load((const float *)(const void *)p) : v_load_f16(p);
    return kind == LOAD_F32_ROUND || kind == LOAD_F16_ROUND ? v_round_bf16(a) : a;
}

/* The first n <= VL elements, then zeros; nothing after them is read. */
VEC vf load_typed_n(const char *p, enum load_kind kind, int n)
{
    char full[VL * 2] = {0};
    if (n >= VL)
        return load_typed(p, kind);
    if (load_size(kind) == 4) {
        vf a = v_load_n((const float *)(const void *)p, n);
        return kind == LOAD_F32_ROUND ? v_round_bf16(a) : a;
    }
    memcpy(full, p, (size_t)(n * load_size(kind)));
    return load_typed(full, kind);
}

/* A strip of a matrix in memory: element (i, k) at data[i * row + k * step], i < rows, k < depth. */
struct strip {
    const char *data;
    int64_t row, step;
    int rows;
    int64_t depth;
};

/* The strip's rows lie side by side: copy them. Stores of whole vectors spill over the next step, which is written next. */
VEC void pack_side_by_side(float *to, int width, const struct strip *s, enum load_kind kind)
{
    int size = load_size(kind);
    int64_t k = 0;
    if (width < VL && s->rows == width && s->step >= VL) /* what is read beyond a step lies before the next one's end */
        for (; k < s->depth - 1; k++)
            v_store(to + k * width, load_typed(s->data + k * s->step * size, kind));
    for (; k < s->depth; k++)
        for (int i = 0; i < width; i += VL) {
            int n = s->rows - i < VL ? s->rows - i : VL;
            v_store(to + k * width + i, n > 0 ? load_typed_n(s->data + (k * s->step + i) * size, kind, n) : v_set(0));
        }
}

/* Each row is contiguous along the depth: transpose blocks of VL x VL. */
VEC void pack_across(float *to, int width, const struct strip *s, enum load_kind kind)
{
    int size = load_size(kind);
    for (int64_t k = 0; k < s->depth; k += VL) {
        int steps = s->depth - k < VL ? (int)(s->depth - k) : VL;
        for (int i = 0; i < width; i += VL) {
            vf block[VL];
#pragma GCC unroll 16
            for (int l = 0; l < VL; l++)
                block[l] = i + l < s->rows ? load_typed_n(s->data + ((i + l) * s->row + k) * size, kind, steps) : v_set(0);
            v_transpose(block);
#pragma GCC unroll 16
            for (int l = 0; l < VL; l++)
                if (l < steps)
                    v_store(to + (k + l) * width + i, block[l]);
        }
    }
}

VEC void pack_any(float *to, int width, const struct strip *s, enum load_kind kind)
{
    int size = load_size(kind);
    for (int64_t k = 0; k < s->depth; k++)
        for (int i = 0; i < width; i++) {
            float one[VL] = {0};
            if (i < s->rows)
                v_store(one, load_typed_n(s->data + (i * s->row + k * s->step) * size, kind, 1));
            to[k * width + i] = one[0];
        }
}

VEC void pack_kind(float *to, int width, const struct strip *s, enum load_kind kind)
{
    if (s->row == 1)
        pack_side_by_side(to, width, s, kind);
    else if (s->step == 1)
        pack_across(to, width, s, kind);
    else
        pack_any(to, width, s, kind);
}

/* `to` has room for width * depth floats and VL more; rows from s->rows to width become zeros. width is a multiple of VL or
 * less than VL. */
__attribute__((unused)) static void pack_panel(float *to, int width, const struct strip *s, enum load_kind kind)
{
    switch (kind) { /* one copy of the code for each kind */
    case LOAD_F32: pack_kind(to, width, s, LOAD_F32); break;
    case LOAD_F32_ROUND: pack_kind(to, width, s, LOAD_F32_ROUND); break;
    case LOAD_F16: pack_kind(to, width, s, LOAD_F16); break;
    case LOAD_F16_ROUND: pack_kind(to, width, s, LOAD_F16_ROUND); break;
    case LOAD_BF16: pack_kind(to, width, s, LOAD_BF16); break;
    }
}

#endif
