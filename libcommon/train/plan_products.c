#include "train/plan_products.h"

struct needs {
    struct model *m;
    int64_t rows, score_rows;
    bool training;
    struct matmul_need most;
};

static struct mat floats(int64_t row_stride, int64_t col_stride)
{
    return (struct mat){NULL, DTYPE_F32, row_stride, col_stride, NULL};
}

static void need(struct needs *s, int64_t m, int64_t n, int64_t k, struct mat a, struct mat b, bool bf16, const int64_t *cuts)
{
    s->m->k->matmul_needs(&s->most, &(struct matmul){.m = m, .n = n, .k = k, .a = a, .b = b, .ldc = n, .alpha = 1, .round_bf16 = bf16, .cuts = cuts});
}

/* y (rows, out) = x (rows, in) w^T and, on the way back, dx and, where it is trained, dw. */
static void need_weight(struct needs *s, int64_t rows, int64_t out, int64_t in, struct mat w, bool trained)
{
    static const int64_t cuts[1];
    struct mat turned = w;
    turned.row_stride = 1, turned.col_stride = in;
    need(s, rows, out, in, floats(in, 1), turned, s->m->bf16, NULL);
    if (s->training)
        need(s, rows, in, out, floats(out, 1), w, s->m->bf16, NULL);
    if (trained)
        need(s, out, in, rows, floats(1, out), floats(in, 1), s->m->bf16, cuts);
}

/* Few rows go another way, which a pack's rest takes as well. */
static int need_linear(struct linear *l, void *arg)
{
    struct needs *s = arg;
    int64_t most = l == &s->m->head ? s->score_rows : s->rows, few = most < MATMUL_FEW_ROWS ? most : MATMUL_FEW_ROWS;
    struct mat w = {NULL, l->type, l->in, 1, l->to_grid ? NULL : l->quantized};
    if (l->to_grid || l->pw)
        w.type = DTYPE_F32;
    for (int i = 0; i < 2; i++) {
        int64_t rows = i ? few : most;
        need_weight(s, rows, l->out, l->in, w, l->pw);
        for (const struct lora *a = l->lora; a; a = a->next) {
            need_weight(s, rows, a->rank, l->in, floats(l->in, 1), a->pa);
            need_weight(s, rows, l->out, a->rank, floats(a->rank, 1), a->pb);
        }
    }
    return 0;
}

int64_t plan_product_bytes(struct model *m, int64_t rows, int64_t score_rows, bool training)
{
    struct needs s = {m, rows, score_rows, training, {0}};
    if (!m->k->matmul_needs)
        return 0;
    model_each_linear(m, true, need_linear, &s);
    return (int64_t)m->k->matmul_bytes(&s.most);
}
