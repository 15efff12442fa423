/* Records of JSON files: shapes, bounds, parsing; what the fast reader takes, jansson takes for the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/records.h"
#include "text/records_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compare(const struct record *r)
{
    json_t *fast = records_json(r->text, r->len), *slow = fast ? json_loadb(r->text, r->len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    char *a = fast ? json_dumps(fast, 0) : NULL, *b = slow ? json_dumps(slow, 0) : NULL;
    if (fast && (!a || !b || strcmp(a, b)))
        abort();
    free(a);
    free(b);
    json_decref(fast);
    json_decref(slow);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct records *s = records_memory(data, size, "fuzz");
    struct record r;
    int k;
    struct err e = ERR_INIT;
    while ((k = records_next(s, &r, &e)) == 1 || k == RECORDS_BAD) {
        struct err bad = ERR_INIT;
        if (k == 1) {
            compare(&r);
            json_decref(record_parse(&r, &bad));
        }
        e.set = false;
    }
    records_close(s);
    return 0;
}
