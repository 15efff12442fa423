/* Records of JSON files: shapes, bounds, parsing. */
#include <stdint.h>

#include "text/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct records *s = records_memory(data, size, "fuzz");
    struct record r;
    int k;
    struct err e = ERR_INIT;
    while ((k = records_next(s, &r, &e)) == 1 || k == RECORDS_BAD) {
        struct err bad = ERR_INIT;
        if (k == 1)
            json_decref(record_parse(&r, &bad));
        e.set = false;
    }
    records_close(s);
    return 0;
}
