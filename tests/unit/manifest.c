/* format/manifest: finding values that are not finite, and what a record holds. */
#include <stdlib.h>

#include "base/mem.h"
#include "format/manifest.h"
#include "tests/unit/tap.h"

/* Every position of every pattern in a tensor of n elements. */
static int missed(enum dtype type, const void *bad, const void *good, int n)
{
    size_t size = dtype_size(type);
    char *data = mem_alloc((size_t)n * size + 1) , *odd = data + 1; /* at an odd address, as files may have it */
    struct st_tensor t = {.type = type, .ndim = 1, .shape = {n}, .numel = n, .data = odd, .size = (size_t)n * size};
    int wrong = 0;
    for (int at = -1; at < n; at++) {
        for (int i = 0; i < n; i++)
            memcpy(odd + (size_t)i * size, i == at ? bad : good, size);
        wrong += manifest_find_nonfinite(&t) != at;
    }
    free(data);
    return wrong;
}

#define CHECK(type, integer, good_bits, ...)                                                             \
    do {                                                                                                 \
        static const integer bads[] = {__VA_ARGS__}, goods[] = {0, (integer)(good_bits), (integer)~0u >> 16 & 1}; \
        int wrong = 0;                                                                                   \
        for (size_t b = 0; b < sizeof bads / sizeof *bads; b++)                                          \
            for (size_t g = 0; g < sizeof goods / sizeof *goods; g++)                                    \
                for (int n = 1; n < 20; n++)                                                             \
                    wrong += missed(type, &bads[b], &goods[g], n);                                       \
        is_int(wrong, 0, #type);                                                                         \
    } while (0)

static void test_nonfinite(void)
{
    /* infinities and NaN of both signs; the good ones are zero and the largest negative number */
    CHECK(DTYPE_BF16, uint16_t, 0xff7f, 0x7f80, 0xff80, 0x7f81, 0xffff);
    CHECK(DTYPE_F16, uint16_t, 0xfbff, 0x7c00, 0xfc00, 0x7c01, 0xffff);
    CHECK(DTYPE_F32, uint32_t, 0xff7fffffu, 0x7f800000u, 0xff800000u, 0x7f800001u, 0xffffffffu);
    CHECK(DTYPE_F64, uint64_t, 0xffefffffffffffffu, 0x7ff0000000000000u, 0xfff0000000000000u, 0x7ff0000000000001u, 0xffffffffffffffffu);
    float *large = mem_zalloc(100000, sizeof *large);
    struct st_tensor t = {.type = DTYPE_F32, .numel = 100000, .data = large, .size = 400000};
    is_int(manifest_find_nonfinite(&t), -1, "a large tensor of zeros");
    large[98765] = large[99999] = INFINITY;
    is_int(manifest_find_nonfinite(&t), 98765, "the first of two infinities");
    t.type = DTYPE_I32;
    is_int(manifest_find_nonfinite(&t), -1, "integers are always finite");
    free(large);
}

static void test_text(void)
{
    char *text = manifest_text(&(struct manifest){.tool = "t", .base = "b", .tokenizer = "", .options = "{\"x\":1}"});
    is_str(text, "{\"base\":\"b\",\"options\":{\"x\":1},\"tool\":\"t\",\"version\":\"" FINETOOLS_VERSION "\"}", "a record");
    struct err e = ERR_INIT;
    char *same = manifest_add_files(text, "/nonexistent", &e);
    is_str(same, text, "no files, no \"files\"");
    free(same);
    free(text);
}

int main(void)
{
    test_nonfinite();
    test_text();
    return tap_end();
}
