/* trainer_state.json without its last member, the hash of all before it: that is added here, or nothing behind its check would ever be reached.
 * The names of files that are accepted must stay inside of the folder. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/buf.h"
#include "format/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checkpoint_state s;
    struct err e = ERR_INIT;
    struct buf b = BUF_INIT;
    buf_add(&b, (const char *)data, size);
    XXH128_hash_t h = XXH3_128bits(buf_str(&b), b.len);
    buf_printf(&b, ",\n \"check\": \"%016llx%016llx\"\n}\n", (unsigned long long)h.high64, (unsigned long long)h.low64);
    if (checkpoint_state_parse(&s, buf_str(&b), b.len, "fuzz", &e) == 0) {
        for (int i = 0; i < s.n_files; i++)
            if (s.files[i].name[0] == '/' || strstr(s.files[i].name, "..") == s.files[i].name)
                abort();
        if (s.step < 0 || !s.run || !s.tool)
            abort();
        checkpoint_state_release(&s);
    } else if (!e.set) {
        abort();
    }
    buf_release(&b);
    return 0;
}
