/* The table of this backend, and the functions by which programs find it (kernels/open.c). */
#include "kernels/cuda/table.h"

#include <stdio.h>
#include <string.h>

#include "kernels/cuda/runtime.h"
extern "C" {
#include "kernels/transfer.h"
}

#define EXPORTED extern "C" __attribute__((visibility("default")))

/* Not captured as a graph (runtime.h), and no more is a step of training: what launches are told differs from one token to the next (how many keys there
 * are), as it does from one pack of samples to the next (rows, bounds), and to capture what runs once costs more than to start it. The host stays ahead
 * of the device: nothing waits for it before the scores of the token, or the norms of the step, are read. */
static void run_once(void (*body)(void *arg), void *arg)
{
    body(arg);
}

static const struct transfer transfer = {cuda_host_alloc, cuda_host_free, cuda_transfer_out, cuda_transfer_in, cuda_transfer_wait};

static void fill(struct kernels *k)
{
    static void (*const families[])(struct kernels *k) = {cuda_fill_elements, cuda_fill_norm,   cuda_fill_rows,      cuda_fill_matmul, cuda_fill_attention,
                                                          cuda_fill_loss,     cuda_fill_update, cuda_fill_quantized, cuda_fill_ceiling};
    k->name = "cuda";
    k->features = cuda_features();
    k->multiplies_bf16 = true;
    k->alloc = cuda_alloc;
    k->free = cuda_free;
    k->copy_in = cuda_copy_in;
    k->copy_out = cuda_copy_out;
    k->zero = cuda_zero;
    k->free_memory = cuda_free_memory;
    k->held_bytes = cuda_held_memory;
    k->transfer = &transfer;
    k->team = run_once;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (families[i])
            families[i](k);
}

/* Names of empty entries, after one another. */
static void list_missing(const struct kernels *k, char *to, size_t n)
{
#define ENTRY(name) {#name, k->name != NULL}
    const struct {
        const char *name;
        bool there;
    } entries[] = {ENTRY(scratch_bytes), ENTRY(ceiling), ENTRY(matmul), ENTRY(dequantize), ENTRY(quantize_4bit), ENTRY(quantize_rows_int8),
                   ENTRY(requantize), ENTRY(bias_backward), ENTRY(bias_add), ENTRY(rmsnorm), ENTRY(add_rmsnorm), ENTRY(rmsnorm_backward), ENTRY(rope),
                   ENTRY(attention), ENTRY(attention_backward), ENTRY(swiglu), ENTRY(swiglu_backward), ENTRY(embedding),
                   ENTRY(embedding_backward), ENTRY(cross_entropy), ENTRY(row_stats), ENTRY(add), ENTRY(scale), ENTRY(scale_rows), ENTRY(dropout),
                   ENTRY(sum_squares), ENTRY(clip), ENTRY(adamw), ENTRY(adamw_8bit), ENTRY(gather_rows), ENTRY(scatter_rows)};
    size_t at = 0;
    *to = 0;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        if (!entries[i].there && at < n)
            at += (size_t)snprintf(to + at, n - at, "%s%s", at ? ", " : "", entries[i].name);
}

/* The table of the device with whatever is in it; entries may be NULL. For tests. */
EXPORTED const struct kernels *finetools_cuda_part(int device, struct err *e)
{
    static struct kernels table;
    static int opened = -1;
    if (opened >= 0 && opened != device) {
        err_set(e, "this process works on cuda:%d already", opened);
        return NULL;
    }
    if (opened < 0) {
        if (cuda_open(device, e) < 0)
            return NULL;
        fill(&table);
        cuda_opened();
        opened = device;
    }
    return &table;
}

EXPORTED const struct kernels *finetools_cuda_open(int device, struct err *e)
{
    char missing[600];
    const struct kernels *k = finetools_cuda_part(device, e);
    if (!k)
        return NULL;
    list_missing(k, missing, sizeof missing);
    if (*missing) {
        err_set(e, "this CUDA backend has no %s", missing);
        return NULL;
    }
    return k;
}

/* What programs that measure need beside the table: a copy on the device, and the device's own clock. */
EXPORTED void finetools_cuda_copy(void *to, const void *from, size_t bytes)
{
    cuda_copy(to, from, bytes);
}

EXPORTED void finetools_cuda_time_begin(void)
{
    cuda_time_begin();
}

EXPORTED double finetools_cuda_time_end(void)
{
    return cuda_time_end();
}
