/* format/safetensors against the reference library (tests/golden/make_safetensors.py). */
#include <jansson.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "format/safetensors.h"
#include "tests/unit/tap.h"

static void test_cases(void)
{
    json_error_t je;
    json_t *cases = json_load_file("tests/golden/safetensors-cases.json", JSON_ALLOW_NUL, &je), *c;
    size_t i;
    if (!ok(cases != NULL, "the table of cases"))
        return;
    json_array_foreach(cases, i, c) {
        json_t *text = json_object_get(c, "header");
        size_t n = json_string_length(text), size = 8 + n + (size_t)json_integer_value(json_object_get(c, "data"));
        char *file = mem_zalloc(size, 1);
        put_le64(file, n);
        memcpy(file + 8, json_string_value(text), n);
        struct err e = ERR_INIT;
        struct st_file *f = st_parse(file, size, "x", &e);
        bool want = json_is_true(json_object_get(c, "accepted")) && !json_object_get(c, "stricter");
        bool right = f ? want && f->n_tensors == json_integer_value(json_object_get(c, "tensors")) : !want && e.set;
        if (!ok(right, "case %zu is %s", i, want ? "accepted" : "refused"))
            printf("# %s\n", f ? "accepted" : e.text);
        st_close(f);
        free(file);
    }
    json_decref(cases);
}

/* Reads the reference's file and writes it again from the declarations alone, in another order. */
static void test_bytes(void)
{
    struct err e = ERR_INIT;
    struct st_file *f = st_open("tests/golden/safetensors.bin", &e);
    if (!ok(f != NULL, "the reference's file is read"))
        return;
    int wrong = 0;
    for (int i = 0; i < f->n_tensors; i++)
        for (uint64_t k = 0; k < f->tensors[i].size; k++)
            wrong += ((const unsigned char *)f->tensors[i].data)[k] != (7 * k + strlen(f->tensors[i].name)) % 251;
    is_int(wrong, 0, "every byte of data is where it should be");
    is_str(st_meta(f, "format"), "pt", "metadata");
    struct st_tensor *list = mem_array(NULL, (size_t)f->n_tensors, sizeof *list);
    for (int i = 0; i < f->n_tensors; i++) {
        list[i] = f->tensors[f->n_tensors - 1 - i];
        list[i].size = list[i].offset = 0, list[i].numel = 0;
    }
    char *data = NULL;
    size_t size = 0;
    const struct st_meta meta = {"format", "pt"};
    FILE *out = open_memstream(&data, &size);
    struct st_writer *w = st_writer_begin(out, "out", list, f->n_tensors, &meta, 1, &e);
    int r = w ? 0 : -1;
    for (int i = 0; i < f->n_tensors && r == 0; i++)
        r = st_writer_data(w, list[i].data, list[i].size, &e);
    ok(r == 0 && st_writer_size(w) == f->map.size && st_writer_end(w, &e) == 0, "written again");
    fclose(out);
    ok(size == f->map.size && !memcmp(data, f->map.data, size), "to the same bytes");
    free(data);
    free(list);
    st_close(f);
}

int main(void)
{
    test_cases();
    test_bytes();
    return tap_end();
}
