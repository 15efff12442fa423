/* The one line of a finding. */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/cuda-on-cpu/emulator.h"

/* "file.cu:12" of the call that returns to pc, where addr2line is there; else the offset in this library. */
static void place_of(void *pc, char *to, size_t n)
{
    Dl_info where;
    char command[1200];
    *to = 0;
    if (!pc || !dladdr(pc, &where) || !where.dli_fname)
        return;
    unsigned long offset = (unsigned long)((char *)pc - (char *)where.dli_fbase) - 1;
    snprintf(to, n, " [%s+0x%lx]", where.dli_fname, offset);
    snprintf(command, sizeof command, "addr2line -e '%s' 0x%lx 2>/dev/null", where.dli_fname, offset);
    FILE *f = strchr(where.dli_fname, '\'') ? NULL : popen(command, "r");
    char line[1000];
    if (f && fgets(line, sizeof line, f) && *line != '?') {
        line[strcspn(line, " \n")] = 0;
        const char *short_name = strstr(line, "kernels/cuda/");
        snprintf(to, n, " [%s]", short_name ? short_name : line);
    }
    if (f)
        pclose(f);
}

void emu_fault(void *pc, const char *format, ...)
{
    char text[2000], place[1100];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    memory_open();
    place_of(pc, place, sizeof place);
    const struct emu_thread *t = emu.now;
    fflush(stdout);
    if (t)
        fprintf(stderr, "cuda-on-cpu: %s: block (%u,%u,%u), thread (%u,%u,%u): %s%s\n", emu.kernel, emu.at[0], emu.at[1], emu.at[2], t->x, t->y, t->z, text, place);
    else
        fprintf(stderr, "cuda-on-cpu: %s: %s%s\n", emu.kernel ? emu.kernel : "host code", text, place);
    abort();
}
