#include <string.h>

#include "base/bytes.h"
#include "format/adapter.h"

static void add_tensor(struct sha256 *s, const char *name, const struct st_tensor *t)
{
    unsigned char number[8];
    sha256_add(s, name, strlen(name) + 1);
    sha256_add(s, t->type_name, strlen(t->type_name) + 1);
    put_le64(number, (uint64_t)t->ndim);
    sha256_add(s, number, 8);
    for (int i = 0; i < t->ndim; i++) {
        put_le64(number, (uint64_t)t->shape[i]);
        sha256_add(s, number, 8);
    }
    sha256_add(s, t->data, t->size);
}

void adapter_hash(const struct adapter *a, char hex[SHA256_HEX])
{
    struct sha256 s;
    sha256_init(&s);
    for (int i = 0; i < a->n_modules; i++) {
        const struct adapter_module *m = &a->modules[i];
        unsigned char number[16];
        uint64_t bits;
        memcpy(&bits, &m->scale, 8);
        put_le64(number, (uint64_t)m->rank);
        put_le64(number + 8, bits);
        sha256_add(&s, number, sizeof number);
        add_tensor(&s, m->module, m->a);
        add_tensor(&s, m->module, m->b);
    }
    for (int i = 0; i < a->n_extras; i++)
        add_tensor(&s, a->extras[i].name, a->extras[i].tensor);
    sha256_end_hex(&s, hex);
}
