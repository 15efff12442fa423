/* Cross entropy. Exponentials are summed by vector within blocks of LOSS_BLOCK logits, the blocks in double and in order. A task is a
 * row. */
#ifndef KERNELS_CPU_LOSS_TMPL_H
#define KERNELS_CPU_LOSS_TMPL_H

#define LOSS_BLOCK 4096

VEC float row_top(const float *z, int64_t v)
{
    vf top = v_set(-INFINITY);
    int64_t j = 0;
    for (; j + VL <= v; j += VL)
        top = v_max(top, v_load(z + j));
    float most = v_top(top);
    for (; j < v; j++)
        most = z[j] > most ? z[j] : most;
    return most;
}

/* Replaces z by exp(z - top) when keep is set; returns the sum. */
VEC double row_exp(float *z, float top, int64_t v, bool keep)
{
    double total = 0;
    for (int64_t b = 0; b < v; b += LOSS_BLOCK) {
        int64_t end = min_i64(b + LOSS_BLOCK, v);
        vf sum = v_set(0);
        for (int64_t j = b; j < end; j += VL) {
            int lanes = lanes_left(end, j);
            vf e = v_exp(v_sub(v_load_n(z + j, lanes), v_set(top)));
            if (keep)
                v_store_n(z + j, e, lanes);
            if (lanes < VL) { /* lanes past the row's end count nothing */
                float tail[VL] = {0};
                v_store_n(tail, e, lanes);
                e = v_load(tail);
            }
            sum = v_add(sum, e);
        }
        total += v_sum(sum);
    }
    return total;
}

static void loss_row(float *loss, float *z, int32_t target, float grad_scale, int64_t v)
{
    bool grad = grad_scale != 0;
    *loss = 0;
    if (target < 0) {
        if (grad)
            memset(z, 0, (size_t)v * sizeof *z);
        return;
    }
    float top = row_top(z, v), at = z[target];
    double sum = row_exp(z, top, v, grad);
    *loss = (float)(top + log(sum) - at);
    if (!grad)
        return;
    float e = z[target];
    vf total = v_set((float)sum), scale = v_set(grad_scale);
    for (int64_t j = 0; j < v; j += VL) {
        int lanes = lanes_left(v, j);
        v_store_n(z + j, v_mul(v_div(v_load_n(z + j, lanes), total), scale), lanes);
    }
    z[target] = (e / (float)sum - 1) * grad_scale;
}

static void ISA(cross_entropy)(float *loss, float *logits, const int32_t *targets, float grad_scale, int64_t n, int64_t v)
{
#pragma omp parallel for schedule(dynamic) if (n * v > FEW_ELEMENTS)
    for (int64_t i = 0; i < n; i++)
        loss_row(loss + i, logits + i * v, targets[i], grad_scale, v);
}

/* Sums over a row: z, e, e (z - top), e^2, where e = exp(z - top). */
struct row_sums {
    double plain, exp, weighted, squares;
};

static struct row_sums row_sums_of(const float *z, int64_t v)
{
    struct row_sums s = {0};
    float top = row_top(z, v), tail[VL];
    for (int64_t b = 0; b < v; b += LOSS_BLOCK) {
        int64_t end = min_i64(b + LOSS_BLOCK, v);
        vf plain = v_set(0), sum = v_set(0), weighted = v_set(0), squares = v_set(0);
        for (int64_t j = b; j < end; j += VL) {
            int lanes = lanes_left(end, j);
            vf x = v_load_n(z + j, lanes);
            plain = v_add(plain, x);
            if (lanes < VL) { /* lanes past the row's end count nothing */
                for (int i = 0; i < VL; i++)
                    tail[i] = i < lanes ? z[j + i] : -INFINITY;
                x = v_load(tail);
            }
            vf d = v_max(v_set(-200), v_sub(x, v_set(top))), e = v_exp(d); /* e is 0 there, and so is e d */
            sum = v_add(sum, e);
            weighted = v_fma(e, d, weighted);
            squares = v_fma(e, e, squares);
        }
        s.plain += v_sum(plain), s.exp += v_sum(sum), s.weighted += v_sum(weighted), s.squares += v_sum(squares);
    }
    return s;
}

static void ISA(row_stats)(float *mean, float *entropy, float *squares, const float *logits, int64_t n, int64_t v)
{
#pragma omp parallel for schedule(dynamic) if (n * v > FEW_ELEMENTS)
    for (int64_t i = 0; i < n; i++) {
        struct row_sums s = row_sums_of(logits + i * v, v);
        if (mean)
            mean[i] = (float)(s.plain / (double)v);
        if (entropy)
            entropy[i] = (float)(log(s.exp) - s.weighted / s.exp);
        if (squares)
            squares[i] = (float)(s.squares / (s.exp * s.exp));
    }
}

#define SQUARES 4096

/* In double, blocks of SQUARES summed in order; within a block four sums side by side. */
static double ISA(sum_squares)(const float *x, int64_t count)
{
    typedef double lanes4 __attribute__((vector_size(32)));
    int64_t blocks = (count + SQUARES - 1) / SQUARES;
    double total = 0, *part = mem_array(NULL, (size_t)blocks, sizeof *part);
#pragma omp parallel for if (count > SQUARES)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t i = b * SQUARES, end = min_i64(i + SQUARES, count);
        lanes4 sum = {0};
        for (; i + 4 <= end; i += 4) {
            lanes4 d = {x[i], x[i + 1], x[i + 2], x[i + 3]};
            sum += d * d;
        }
        part[b] = sum[0] + sum[1] + sum[2] + sum[3];
        for (; i < end; i++)
            part[b] += (double)x[i] * x[i];
    }
    for (int64_t b = 0; b < blocks; b++)
        total += part[b];
    free(part);
    return total;
}

static void ISA(clip)(struct clip *to, const float *x, int64_t count, double most)
{
    *to = clip_of(ISA(sum_squares)(x, count), most);
}

#endif
