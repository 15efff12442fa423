/* What the compiler calls before each access to memory (the interface of ThreadSanitizer), and what is wrong with it.
 *
 * Shared memory has a cell for each byte: who wrote it last and who has read it since when. Time is counted in epochs, one more at each
 * barrier of the block, and within them in warp epochs, one more at each __syncwarp. Two threads race when one writes a byte that the other
 * touched in the same epoch, unless they are of one warp and a __syncwarp lies between. A byte that was not written since the
 * block began is uninitialised. Epochs are never used again, so cells need no clearing. */
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cuda-on-cpu/device_shadow.h"
#include "tests/cuda-on-cpu/emu_api.h"

/* epoch << 32 | warp epoch << 16 | who */
struct cell {
    uint64_t written, read;
};

enum { MANY = 0xffff, MANY_OF_WARP = 0x8000, ON_ITS_WAY = 0x4000 }; /* MANY_OF_WARP + warp; ON_ITS_WAY + thread: a cp.async */

struct region {
    const char *name;
    uintptr_t low;
    size_t bytes, capacity;
    struct cell *cells;
};

static struct region dynamic = {.name = "dynamic shared memory"}, fixed = {.name = "shared memory"};
static uintptr_t stack_low, stack_bytes, library_low, library_bytes;

/* __shared__ arrays are thread-local variables of this library, and nothing else is; this one makes sure of an instance. */
static _Thread_local char anchor;

extern char __start_emu_constant[] __attribute__((weak, visibility("hidden")));
extern char __stop_emu_constant[] __attribute__((weak, visibility("hidden")));

static void region_reserve(struct region *r, size_t capacity)
{
    if (capacity <= r->capacity)
        return;
    r->capacity = capacity;
    free(r->cells);
    r->cells = calloc(capacity, sizeof *r->cells);
    if (!r->cells)
        abort();
}

void access_prepare(void)
{
    static _Alignas(1024) char memory[EMU_MAX_SHARED];
    if (dynamic.low)
        return;
    dynamic.low = (uintptr_t)memory;
    region_reserve(&dynamic, EMU_MAX_SHARED);
    stack_low = fiber_low(), stack_bytes = fiber_high() - stack_low;
    library_low = (uintptr_t)__start_emu_constant, library_bytes = (uintptr_t)__stop_emu_constant - library_low;
}

static int find_fixed(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size, (void)arg;
    uintptr_t at = (uintptr_t)info->dlpi_tls_data, here = (uintptr_t)&anchor;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS && at && here >= at && here < at + info->dlpi_phdr[i].p_memsz) {
            fixed.low = at, fixed.bytes = info->dlpi_phdr[i].p_memsz;
            return 1;
        }
    return 0;
}

void access_launch(void)
{
    anchor = 1;
    fixed.bytes = 0;
    dl_iterate_phdr(find_fixed, NULL);
    region_reserve(&fixed, fixed.bytes);
    dynamic.bytes = emu.dynamic_bytes;
}

void *emu_dynamic_shared(void)
{
    return (void *)dynamic.low;
}

uintptr_t access_is_shared(const void *p)
{
    uintptr_t a = (uintptr_t)p;
    return a - dynamic.low < EMU_MAX_SHARED ? a - dynamic.low + 1 : a - fixed.low < fixed.bytes ? a - fixed.low + 1 : 0;
}

static uint64_t stamp(const struct emu_thread *t)
{
    return (uint64_t)emu.epoch << 32 | (uint64_t)emu.warp_epoch[t->linear / EMU_WARP] << 16 | t->linear;
}

static void name_thread(uint64_t cell, char *to, size_t n)
{
    unsigned who = cell & 0xffff;
    if (who == MANY)
        snprintf(to, n, "several warps");
    else if (who & MANY_OF_WARP)
        snprintf(to, n, "several threads of warp %u", who & ~(unsigned)MANY_OF_WARP);
    else
        snprintf(to, n, "thread (%u,%u,%u)", emu.threads[who & 0x3fff].x, emu.threads[who & 0x3fff].y, emu.threads[who & 0x3fff].z);
}

/* Is there nothing between what the cell tells and an access of `me`? */
static bool unordered(uint64_t cell, uint64_t me)
{
    unsigned who = cell & 0xffff, mine = me & 0xffff;
    if (cell >> 32 != me >> 32 || who == mine)
        return false;
    if (who == MANY)
        return true;
    unsigned warp = who & MANY_OF_WARP ? who & ~(unsigned)MANY_OF_WARP : who / EMU_WARP;
    return warp != mine / EMU_WARP || (cell >> 16 & 0xffff) == (me >> 16 & 0xffff);
}

static uint64_t add_reader(uint64_t cell, uint64_t me)
{
    unsigned who = cell & 0xffff, mine = me & 0xffff;
    if (cell >> 32 != me >> 32 || who == mine)
        return me;
    if (who == MANY)
        return cell;
    unsigned warp = who & MANY_OF_WARP ? who & ~(unsigned)MANY_OF_WARP : who / EMU_WARP;
    if (warp != mine / EMU_WARP)
        return cell | MANY;
    /* before the last __syncwarp: no warp mate can race with that read any more, and other warps race with this one as well */
    if ((cell >> 16 & 0xffff) != (me >> 16 & 0xffff))
        return me;
    return (me & ~(uint64_t)0xffff) | MANY_OF_WARP | mine / EMU_WARP;
}

static void __attribute__((noinline)) shared_fault(const struct region *r, size_t at, size_t bytes, bool write, const struct cell *c, void *pc)
{
    char other[60];
    uint64_t me = stamp(emu.now);
    const char *what = write ? "write" : "read";
    if (at + bytes > r->bytes)
        emu_fault(pc, "%s of %zu bytes at %s + %zu, which has %zu bytes", what, bytes, r->name, at, r->bytes);
    if (c->written >> 32 >= emu.block_epoch && c->written & ON_ITS_WAY) {
        name_thread(c->written, other, sizeof other);
        emu_fault(pc, "%s of %zu bytes at %s + %zu, to which a cp.async of %s is on its way", what, bytes, r->name, at, other);
    }
    if (unordered(c->written, me) || (write && unordered(c->read, me))) {
        bool by_write = unordered(c->written, me);
        name_thread(by_write ? c->written : c->read, other, sizeof other);
        emu_fault(pc, "race: %s of %zu bytes at %s + %zu, which %s %s since the last barrier", what, bytes, r->name, at, other, by_write ? "wrote" : "read");
    }
    emu_fault(pc, "read of %zu bytes at %s + %zu, which this block has not written: uninitialised", bytes, r->name, at);
}

static inline void shared_access(struct region *r, size_t at, size_t bytes, bool write, void *pc)
{
    uint64_t me = stamp(emu.now);
    if (__builtin_expect(at + bytes > r->bytes, 0))
        shared_fault(r, at, bytes, write, NULL, pc);
    for (size_t i = at; i < at + bytes; i++) {
        struct cell *c = &r->cells[i];
        bool begun = c->written >> 32 >= emu.block_epoch;
        if (__builtin_expect((begun && c->written & ON_ITS_WAY) || unordered(c->written, me), 0))
            shared_fault(r, at, bytes, write, c, pc);
        if (write) {
            if (__builtin_expect(unordered(c->read, me), 0))
                shared_fault(r, at, bytes, write, c, pc);
            c->written = me;
        } else {
            if (__builtin_expect(!begun, 0))
                shared_fault(r, at, bytes, write, c, pc);
            if (c->read != me)
                c->read = add_reader(c->read, me);
        }
    }
}

void access_copy_begin(const void *shared, unsigned bytes, void *pc)
{
    uintptr_t a = (uintptr_t)shared;
    struct region *r = a - dynamic.low < EMU_MAX_SHARED ? &dynamic : &fixed;
    access_check(shared, bytes, true, pc);
    for (size_t i = a - r->low; i < a - r->low + bytes; i++)
        r->cells[i].written |= ON_ITS_WAY;
}

/* As if the thread wrote it now: others read it behind a barrier. */
void access_copy_end(const void *shared, unsigned bytes)
{
    uintptr_t a = (uintptr_t)shared;
    struct region *r = a - dynamic.low < EMU_MAX_SHARED ? &dynamic : &fixed;
    for (size_t i = a - r->low; i < a - r->low + bytes; i++)
        r->cells[i].written = stamp(emu.now);
}

static void __attribute__((noinline)) device_fault(uintptr_t a, size_t bytes, bool write, void *pc)
{
    char what[300];
    memory_describe((void *)a, what, sizeof what);
    emu_fault(pc, "%s of %zu bytes at %s", write ? "write" : "read", bytes, what);
}

static inline void device_access(uintptr_t a, size_t bytes, bool write, void *pc)
{
    if (__builtin_expect(!emu.now, 0)) {
        char what[300];
        memory_describe((void *)a, what, sizeof what);
        emu_fault(pc, "host code of the backend touches %s", what);
    }
    for (size_t i = a - device_low, end = i + bytes; i < end;) {
        size_t part = 8 - i % 8 < end - i ? 8 - i % 8 : end - i;
        if (__builtin_expect(i % 8 + part > device_shadow[i / 8], 0))
            device_fault(a, bytes, write, pc);
        i += part;
    }
}

static void __attribute__((noinline)) other_access(uintptr_t a, size_t bytes, bool write, void *pc)
{
    if (!emu.now)
        return; /* host code among host memory */
    if (a - library_low < library_bytes)
        return;
    emu_fault(pc, "%s of %zu bytes of host memory at %p", write ? "write" : "read", bytes, (void *)a);
}

static inline void access_at(uintptr_t a, size_t bytes, bool write, void *pc)
{
    if (a - stack_low < stack_bytes)
        return;
    if (a - device_low < DEVICE_BYTES)
        device_access(a, bytes, write, pc);
    else if (emu.now && a - dynamic.low < EMU_MAX_SHARED)
        shared_access(&dynamic, a - dynamic.low, bytes, write, pc);
    else if (emu.now && a - fixed.low < fixed.bytes)
        shared_access(&fixed, a - fixed.low, bytes, write, pc);
    else
        other_access(a, bytes, write, pc);
}

void access_check(const void *p, size_t bytes, bool write, void *pc)
{
    access_at((uintptr_t)p, bytes, write, pc);
}

/* Only the bounds: atomic operations do not race with one another, and initialised memory is theirs to have. */
void emu_atomic(const void *p, size_t bytes)
{
    uintptr_t a = (uintptr_t)p;
    void *pc = __builtin_return_address(0);
    if (a - device_low < DEVICE_BYTES)
        device_access(a, bytes, true, pc);
    else if (a - dynamic.low < EMU_MAX_SHARED || a - fixed.low < fixed.bytes) {
        struct region *r = a - dynamic.low < EMU_MAX_SHARED ? &dynamic : &fixed;
        size_t at = a - r->low;
        if (at + bytes > r->bytes || r->cells[at].written >> 32 < emu.block_epoch)
            shared_fault(r, at, bytes, at + bytes > r->bytes, &r->cells[at], pc);
        /* the value is as good as one from before the last barrier to atomic operations, and to others that come behind the next */
    } else
        other_access(a, bytes, true, pc);
}

#define CALLBACKS(bytes)                                                                                    \
    void __tsan_read##bytes(void *p);                                                                       \
    void __tsan_write##bytes(void *p);                                                                      \
    void __tsan_read##bytes(void *p) { access_at((uintptr_t)p, bytes, false, __builtin_return_address(0)); } \
    void __tsan_write##bytes(void *p) { access_at((uintptr_t)p, bytes, true, __builtin_return_address(0)); }
CALLBACKS(1)
CALLBACKS(2)
CALLBACKS(4)
CALLBACKS(8)
CALLBACKS(16)

void __tsan_read_range(void *p, size_t bytes);
void __tsan_read_range(void *p, size_t bytes)
{
    if (bytes)
        access_at((uintptr_t)p, bytes, false, __builtin_return_address(0));
}

void __tsan_write_range(void *p, size_t bytes);
void __tsan_write_range(void *p, size_t bytes)
{
    if (bytes)
        access_at((uintptr_t)p, bytes, true, __builtin_return_address(0));
}

void __tsan_init(void);
void __tsan_init(void)
{
}

/* The first fields of what the compiler tells about a place in the source (the interface of its undefined behaviour sanitizer). */
struct place {
    const char *file;
    uint32_t line, column;
};

void __ubsan_handle_out_of_bounds(const struct place *at, uintptr_t index);
void __ubsan_handle_out_of_bounds(const struct place *at, uintptr_t index)
{
    emu_fault(NULL, "index %ld outside of an array at %s:%u", (long)index, at->file, at->line);
}

void __ubsan_handle_type_mismatch_v1(const struct place *at, uintptr_t p);
void __ubsan_handle_type_mismatch_v1(const struct place *at, uintptr_t p)
{
    emu_fault(NULL, "misaligned or null pointer %p at %s:%u", (void *)p, at->file, at->line);
}
