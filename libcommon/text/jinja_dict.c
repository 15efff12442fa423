/* Lists and dicts. A dict keeps the order of insertion; it gets a hash table when it has more than a few entries. */
#include "text/jinja_internal.h"

#define SMALL_DICT 8

struct jv jv_list(struct jrender *r, enum jkind kind, size_t cap)
{
    struct jlist *l = jr_get(r, sizeof *l);
    *l = (struct jlist){.cap = cap};
    if (cap)
        l->v = jr_get(r, cap * sizeof *l->v);
    return (struct jv){.kind = kind, .l = l};
}

void jlist_push(struct jrender *r, struct jlist *l, struct jv v)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 8;
        struct jv *grown = jr_get(r, cap * sizeof *grown);
        if (l->n)
            memcpy(grown, l->v, l->n * sizeof *grown);
        l->v = grown, l->cap = cap;
    }
    l->v[l->n++] = v;
}

struct jv jv_pair(struct jrender *r, struct jv a, struct jv b)
{
    struct jv t = jv_list(r, J_TUPLE, 2);
    jlist_push(r, t.l, a);
    jlist_push(r, t.l, b);
    return t;
}

struct jv jv_dict(struct jrender *r)
{
    struct jdict *d = jr_get(r, sizeof *d);
    *d = (struct jdict){0};
    return (struct jv){.kind = J_DICT, .d = d};
}

static uint64_t hash_bytes(const char *s, size_t len)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)s[i]) * 1099511628211u;
    return h;
}

static uint64_t hash_mix(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    return h ^ h >> 33;
}

/* Equal values have equal hashes: 1, 1.0 and true. */
uint64_t jv_hash(struct jrender *r, struct jv v)
{
    uint64_t h = 1;
    switch (v.kind) {
    case J_STR:
        jr_step(r, v.s->len / 64);
        return hash_bytes(v.s->s, v.s->len);
    case J_BOOL:
    case J_INT:
        return hash_mix((uint64_t)jv_as_int(v));
    case J_FLOAT:
        if (v.f >= -9.2e18 && v.f <= 9.2e18 && v.f == (double)(int64_t)v.f)
            return hash_mix((uint64_t)(int64_t)v.f);
        memcpy(&h, &v.f, 8);
        return hash_mix(h);
    case J_TUPLE:
        jr_enter(r);
        for (size_t i = 0; i < v.l->n; i++)
            h = h * 31 + jv_hash(r, v.l->v[i]);
        jr_leave(r);
        return h;
    case J_LIST:
    case J_DICT:
        jr_fail(r, "unhashable type: '%s'", jv_type(v));
    case J_UNDEF:
    case J_NONE:
        return hash_mix(v.kind);
    default:
        return hash_mix((uintptr_t)v.l);
    }
}

static struct jpair *find_linear(struct jrender *r, const struct jdict *d, struct jv key)
{
    for (size_t i = 0; i < d->n; i++)
        if (jv_equal(r, d->v[i].key, key))
            return &d->v[i];
    return NULL;
}

static struct jpair *find(struct jrender *r, const struct jdict *d, struct jv key, uint64_t hash)
{
    if (!d->table)
        return find_linear(r, d, key);
    for (size_t i = hash & (d->table_size - 1); d->table[i]; i = (i + 1) & (d->table_size - 1))
        if (jv_equal(r, d->v[d->table[i] - 1].key, key))
            return &d->v[d->table[i] - 1];
    return NULL;
}

static void table_put(struct jdict *d, uint64_t hash, size_t index)
{
    size_t i = hash & (d->table_size - 1);
    while (d->table[i])
        i = (i + 1) & (d->table_size - 1);
    d->table[i] = (uint32_t)index + 1;
}

static void grow(struct jrender *r, struct jdict *d)
{
    size_t cap = d->cap ? d->cap * 2 : SMALL_DICT;
    if (cap > UINT32_MAX / 4)
        jr_fail(r, "a dict is too large");
    struct jpair *v = jr_get(r, cap * sizeof *v);
    if (d->n)
        memcpy(v, d->v, d->n * sizeof *v);
    d->v = v, d->cap = cap;
    if (cap == SMALL_DICT)
        return;
    d->table_size = cap * 2;
    d->table = jr_get(r, d->table_size * sizeof *d->table);
    memset(d->table, 0, d->table_size * sizeof *d->table);
    for (size_t i = 0; i < d->n; i++)
        table_put(d, jv_hash(r, d->v[i].key), i);
}

void jdict_set(struct jrender *r, struct jdict *d, struct jv key, struct jv value)
{
    uint64_t hash = jv_hash(r, key);
    struct jpair *old = find(r, d, key, hash);
    if (old) {
        old->value = value;
        return;
    }
    if (d->n == d->cap)
        grow(r, d);
    d->v[d->n] = (struct jpair){key, value};
    if (d->table)
        table_put(d, hash, d->n);
    d->n++;
}

struct jv *jdict_get(struct jrender *r, const struct jdict *d, struct jv key)
{
    struct jpair *p = find(r, d, key, jv_hash(r, key));
    return p ? &p->value : NULL;
}

struct jv *jdict_get_text(struct jrender *r, const struct jdict *d, const char *s, size_t len)
{
    struct jstr str = {.s = s, .len = len, .chars = SIZE_MAX};
    return jdict_get(r, d, (struct jv){.kind = J_STR, .s = &str});
}
