/* Values of options: numbers come back as what their text says, and no text does harm. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/opt_value.h"
#include "cli/suggest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const words[] = {"rank", "learning-rate", "schedule", NULL};
    char *text = mem_strndup((const char *)data, size), back[32];
    const char *choice = "a";
    struct opt o = {OPT_CHOICE, 0, "dtype", &choice, "auto|bf16|f32", ""};
    struct err e = ERR_INIT;
    int64_t count, bytes;
    double x;
    struct opt_range range;
    if (opt_parse_count(text, &count, &e) == 0) {
        /* What is a count is a size too, of the same value, and its digits are a count again. */
        if (opt_parse_size(text, &bytes, &e) < 0 || bytes != count)
            abort();
        snprintf(back, sizeof back, "%lld", (long long)count);
        if (opt_parse_count(back, &bytes, &e) < 0 || bytes != count)
            abort();
    }
    if (opt_parse_real(text, &x, &e) == 0 && !isfinite(x))
        abort();
    if (opt_parse_range(text, &range, &e) == 0 && (range.from < 1 || range.to < range.from))
        abort();
    if (opt_store(&o, text, &e) == 0 && strcmp(choice, text))
        abort();
    if (suggest_distance(text, text) && strlen(text) < 64)
        abort();
    suggest_nearest(text, words);
    free(text);
    return 0;
}
