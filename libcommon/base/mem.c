#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

static void *must(void *p, size_t bytes)
{
    if (!p) {
        fprintf(stderr, "finetools: out of memory: cannot get %zu bytes\n", bytes);
        exit(1);
    }
    return p;
}

static size_t product(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        must(NULL, SIZE_MAX);
    return bytes;
}

void *mem_alloc(size_t bytes)
{
    return must(malloc(bytes ? bytes : 1), bytes);
}

void *mem_zalloc(size_t count, size_t size)
{
    size_t bytes = product(count, size);
    return must(calloc(bytes ? bytes : 1, 1), bytes);
}

void *mem_realloc(void *p, size_t bytes)
{
    return must(realloc(p, bytes ? bytes : 1), bytes);
}

void *mem_array(void *p, size_t count, size_t size)
{
    return mem_realloc(p, product(count, size));
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

char *mem_strndup(const char *s, size_t n)
{
    char *copy = mem_alloc(n + 1);
    memcpy(copy, s, n);
    copy[n] = 0;
    return copy;
}

char *mem_printf(const char *format, ...)
{
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    char *s = mem_alloc((size_t)n + 1);
    vsnprintf(s, (size_t)n + 1, format, again);
    va_end(again);
    va_end(ap);
    return s;
}

void *mem_grow(void *p, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return p;
    size_t want = *cap ? *cap : 16;
    while (want < need)
        want = want > SIZE_MAX / 2 ? need : want * 2;
    *cap = want;
    return mem_array(p, want, size);
}

void mem_keep_freed(void)
{
#ifdef M_TRIM_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
#endif
}
