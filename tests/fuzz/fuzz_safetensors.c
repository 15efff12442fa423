/* safetensors headers. The length field is set to the place of the first NUL byte (the header's end), or nothing behind it would ever be
 * reached; what is accepted is read, and written again: the reader must accept that and find the same. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(const struct st_file *f)
{
    struct err e = ERR_INIT;
    char *out = NULL;
    size_t size = 0;
    struct st_tensor *list = mem_array(NULL, (size_t)f->n_tensors, sizeof *list);
    struct st_meta *meta = mem_array(NULL, (size_t)f->n_meta, sizeof *meta);
    for (int i = 0; i < f->n_tensors; i++)
        list[i] = f->tensors[i];
    for (int i = 0; i < f->n_meta; i++)
        meta[i] = (struct st_meta){f->meta_keys[i], f->meta_values[i]};
    FILE *stream = open_memstream(&out, &size);
    struct st_writer *w = stream ? st_writer_begin(stream, "again", list, f->n_tensors, meta, f->n_meta, &e) : NULL;
    int r = w ? 0 : -1;
    for (int i = 0; i < f->n_tensors && r == 0; i++)
        r = st_writer_data(w, list[i].data, list[i].size, &e);
    if (r < 0 || st_writer_end(w, &e) < 0)
        abort();
    fclose(stream);
    struct st_file *again = st_parse(out, size, "again", &e);
    if (!again || again->n_tensors != f->n_tensors || again->n_meta != f->n_meta)
        abort();
    for (int i = 0; i < f->n_tensors; i++) {
        const struct st_tensor *x = &f->tensors[i], *y = &again->tensors[i];
        if (strcmp(x->name, y->name) || strcmp(x->type_name, y->type_name) || x->size != y->size || memcmp(x->data, y->data, x->size))
            abort();
    }
    st_close(again);
    free(out);
    free(meta);
    free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = ERR_INIT;
    uint8_t *d = mem_alloc(size + 8);
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    put_le64(d, end ? (uint64_t)(end - data) : size);
    if (size)
        memcpy(d + 8, data, size);
    struct st_file *f = st_parse(d, size + 8, "fuzz", &e);
    if (f)
        write_again(f);
    else if (!e.set)
        abort();
    st_close(f);
    free(d);
    return 0;
}
