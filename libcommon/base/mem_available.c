#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static int64_t read_number(const char *path)
{
    FILE *f = fopen(path, "re");
    long long v = -1;
    if (f && fscanf(f, "%lld", &v) != 1)
        v = -1;
    if (f)
        fclose(f);
    return v;
}

static int64_t machine_available(void)
{
    FILE *f = fopen("/proc/meminfo", "re");
    char line[200];
    long long kib = -1;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lld kB", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib < 0 ? -1 : kib * 1024;
}

int64_t mem_available(void)
{
    int64_t machine = machine_available(), limit = read_number("/sys/fs/cgroup/memory.max"), used = read_number("/sys/fs/cgroup/memory.current");
    if (limit < 0) {
        limit = read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes");
        used = read_number("/sys/fs/cgroup/memory/memory.usage_in_bytes");
    }
    int64_t group = limit >= 0 && used >= 0 && limit < (int64_t)1 << 60 ? limit - used : -1;
    if (group < 0)
        return limit >= 0 && used > limit ? 0 : machine;
    return machine < 0 || group < machine ? group : machine;
}
