/* Chat data of every shape: the first byte chooses the format, the rest is a record. */
#include <stdint.h>

#include "text/chat_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *j = size ? json_loadb((const char *)data + 1, size - 1, JSON_REJECT_DUPLICATES, NULL) : NULL;
    struct chat_data d;
    struct err e = ERR_INIT;
    if (json_is_object(j) && chat_data_convert(j, (enum chat_data_format)(data[0] % 8), data[0] & 64, &d, &e) == 0)
        chat_data_release(&d);
    json_decref(j);
    return 0;
}
