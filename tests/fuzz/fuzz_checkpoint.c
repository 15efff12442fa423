/* trainer_state.json: as it is, and with the hash that makes its contents count. */
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/buf.h"
#include "format/checkpoint.h"
#include "train/run_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const char *text, size_t len)
{
    struct checkpoint_state s;
    struct err e = ERR_INIT;
    if (checkpoint_state_parse(&s, text, len, "fuzz", &e) < 0) {
        if (!e.set || s.tool || s.run || s.files)
            abort();
        return;
    }
    char *diff = run_differences(s.run, s.run);
    if (diff || e.set || s.step < 0 || s.step > s.total_steps || s.data_next < 0)
        abort();
    for (int i = 0; i < s.n_files; i++)
        if (s.files[i].name[0] == '/' || s.files[i].hash[32])
            abort();
    checkpoint_state_release(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf b = BUF_INIT;
    XXH128_hash_t h = XXH3_128bits(data, size);
    parse((const char *)data, size);
    buf_add(&b, data, size);
    buf_printf(&b, ",\n \"check\": \"%016" PRIx64 "%016" PRIx64 "\"\n}\n", h.high64, h.low64);
    parse(buf_str(&b), b.len);
    buf_release(&b);
    return 0;
}
