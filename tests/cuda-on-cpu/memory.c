/* Device memory: a range of addresses of its own, each block on pages of its own with a guard behind. Addresses are not used again, so what
 * has been freed stays wrong to touch. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/cuda-on-cpu/device_shadow.h"
#include "tests/cuda-on-cpu/emulator.h"

#define PAGE ((size_t)4096)
#define GUARD ((size_t)4096)

struct block {
    uintptr_t at;
    size_t bytes, pages;
    bool freed;
};

uintptr_t device_low;
uint8_t *device_shadow;
static size_t used;
static struct block *blocks;
static size_t n_blocks, cap_blocks;
static bool protect;

/* Keeps the finding one line where the kernel found it: only in the range is it ours. */
static void touched(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    char what[300];
    uintptr_t a = (uintptr_t)info->si_addr;
    if (a >= fiber_low() && a < fiber_high())
        emu_fault(NULL, "the thread's stack of local variables is full");
    if (a - device_low < DEVICE_BYTES) {
        memory_describe(info->si_addr, what, sizeof what);
        emu_fault(NULL, "the host touches %s", what);
    }
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void *reserve(size_t bytes, int access)
{
    void *p = mmap(NULL, bytes, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        perror("cuda-on-cpu: device memory");
        abort();
    }
    return p;
}

void memory_prepare(void)
{
    if (device_low)
        return;
    static char signal_stack[64 << 10];
    stack_t alternative = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
    struct sigaction action = {.sa_sigaction = touched, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    const char *e = getenv("FINETOOLS_CUDA_PROTECT");
    protect = e && !strcmp(e, "1");
    fiber_prepare();
    device_shadow = reserve(DEVICE_BYTES / 8, PROT_READ | PROT_WRITE);
    device_low = (uintptr_t)reserve(DEVICE_BYTES, PROT_NONE);
    sigaltstack(&alternative, NULL);
    sigaction(SIGSEGV, &action, NULL);
    used = GUARD;
}

void memory_open(void)
{
    if (protect && device_low)
        for (size_t i = 0; i < n_blocks; i++)
            if (!blocks[i].freed)
                mprotect((void *)blocks[i].at, blocks[i].pages, PROT_READ | PROT_WRITE);
}

void memory_close(void)
{
    if (protect && device_low)
        for (size_t i = 0; i < n_blocks; i++)
            if (!blocks[i].freed)
                mprotect((void *)blocks[i].at, blocks[i].pages, PROT_NONE);
}

void *memory_alloc(size_t bytes)
{
    memory_prepare();
    size_t pages = (bytes + PAGE) & ~(PAGE - 1);
    if (bytes > DEVICE_BYTES || used + pages + GUARD > DEVICE_BYTES)
        return NULL;
    if (n_blocks == cap_blocks) {
        struct block *more = realloc(blocks, (cap_blocks = cap_blocks ? 2 * cap_blocks : 64) * sizeof *blocks);
        if (!more)
            return NULL;
        blocks = more;
    }
    uintptr_t at = device_low + used;
    if (mprotect((void *)at, pages, protect ? PROT_NONE : PROT_READ | PROT_WRITE))
        return NULL;
    blocks[n_blocks++] = (struct block){at, bytes, pages, false};
    uint8_t *s = device_shadow + used / 8;
    memset(s, 8, bytes / 8);
    s[bytes / 8] = (uint8_t)(bytes % 8);
    used += pages + GUARD;
    return (void *)at;
}

static struct block *block_at_or_before(uintptr_t a)
{
    size_t low = 0, high = n_blocks;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (blocks[middle].at <= a)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &blocks[low - 1] : NULL;
}

void memory_free(void *p)
{
    struct block *b = block_at_or_before((uintptr_t)p);
    if (!p)
        return;
    if (!b || b->at != (uintptr_t)p || b->freed)
        emu_fault(NULL, "free of %p, which is not a block", p);
    b->freed = true;
    memset(device_shadow + (b->at - device_low) / 8, 0, b->bytes / 8 + 1);
    mmap(p, b->pages, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

bool memory_is_device(const void *p)
{
    return device_low && (uintptr_t)p - device_low < DEVICE_BYTES;
}

bool memory_holds(const void *p, size_t bytes)
{
    struct block *b = memory_is_device(p) ? block_at_or_before((uintptr_t)p) : NULL;
    return b && !b->freed && (uintptr_t)p + bytes <= b->at + b->bytes;
}

void memory_hide(const void *p, size_t bytes, bool hide)
{
    memset(device_shadow + ((uintptr_t)p - device_low) / 8, hide ? 0 : 8, bytes / 8);
}

void memory_describe(const void *p, char *to, size_t n)
{
    uintptr_t a = (uintptr_t)p;
    struct block *b = block_at_or_before(a);
    if (!b)
        snprintf(to, n, "device memory before all blocks");
    else if (b->freed && a < b->at + b->bytes)
        snprintf(to, n, "device memory + %zu of a block of %zu bytes that is freed", (size_t)(a - b->at), b->bytes);
    else if (a < b->at + b->bytes)
        snprintf(to, n, "device memory + %zu of a block of %zu bytes%s", (size_t)(a - b->at), b->bytes,
                 device_shadow[(a - device_low) / 8] ? "" : ", to which a copy is on its way");
    else if (b + 1 < blocks + n_blocks && b[1].at - a < a - (b->at + b->bytes))
        snprintf(to, n, "device memory - %zu of a block of %zu bytes: before it", (size_t)(b[1].at - a), b[1].bytes);
    else
        snprintf(to, n, "device memory + %zu of a block of %zu bytes: behind it", (size_t)(a - b->at), b->bytes);
}
