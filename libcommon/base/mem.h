/* Memory that either comes or ends the program.
 *
 * Running out of memory is the one error that libraries do not return: these functions print one line and
 * exit with status 1 (the atexit clean-up of cli/outfile removes temporaries). Sizes taken from files must be
 * checked against the file's length before they get here. Blocks are freed with free(). */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t bytes);                       /* uninitialised; bytes 0 gives a valid pointer */
void *mem_zalloc(size_t count, size_t size);         /* zeroed; checks the product */
void *mem_realloc(void *p, size_t bytes);
void *mem_array(void *p, size_t count, size_t size); /* realloc(p, count * size) with the product checked */
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Grows `p` so that it holds `need` items of `size` bytes, at least doubling; *cap is in items. */
void *mem_grow(void *p, size_t *cap, size_t need, size_t size);

/* Freed blocks of up to 32 MiB, 64 MiB in all, are kept for the next use, where the C library can be told so: for programs that take and
 * free large blocks again and again, which otherwise pay for every page of them each time. */
void mem_keep_freed(void);

/* Bytes that this process may still take: the machine's available memory or what the control group leaves, whichever is
 * less; -1 when neither is known. */
int64_t mem_available(void);

#endif
