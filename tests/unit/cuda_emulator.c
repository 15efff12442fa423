/* The emulator of tests/cuda-on-cpu: small right kernels pass, each wrong one is found, with a line that names it. */
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "tests/unit/tap.h"

#define N 128

static const char *(*case_name)(int i);
static int (*case_run)(int i, float *result, struct err *e);
static void *(*case_device_memory)(struct err *e);

/* What the line has to say. */
static const struct {
    const char *name, *says;
} wrong[] = {
    {"race: no barrier", "reverse_kernel: block (0,0,0), thread (64,0,0): race: write of 4 bytes"},
    {"race: between warps", "neighbour_kernel: block (0,0,0), thread (32,0,0): race: write of 4 bytes at shared memory"},
    {"race: between halves of a warp", "halves_kernel: block (0,0,0), thread (31,0,0): race: write of 4 bytes at shared memory"},
    {"race: written after a read", "thread (32,0,0): race: read of 4 bytes at dynamic shared memory + 0, which thread (0,0,0) wrote since the last barrier"},
    {"uninitialised", "which this block has not written: uninitialised"},
    {"index of an array", "index 128 outside of an array at tests/cuda-on-cpu/cases/cases.cu:"},
    {"dynamic memory", "write of 4 bytes at dynamic shared memory + 512, which has 512 bytes"},
    {"behind a block", "read of 4 bytes at device memory + 512 of a block of 512 bytes: behind it"},
    {"before a block", "read of 4 bytes at device memory - 4 of a block of 512 bytes: before it"},
    {"freed", "write of 4 bytes at device memory + 8 of a block of 512 bytes that is freed"},
    {"host memory", "read of 4 bytes of host memory at"},
    {"misaligned", "misaligned or null pointer"},
    {"some threads leave", "threads 0-39 wait at a barrier of the block, none at one of their warp, 40-127 have ended"},
    {"some threads wait", "a barrier is not reached by all: threads 0-39 wait at a barrier of the block, 40-63 at one of their warp"},
    {"absent lanes", "a barrier is not reached by all"},
    {"outside of the mask", "thread (12,0,0): an operation of the warp whose mask 00000fff leaves out this thread"},
    {"shuffle from outside", "a shuffle reads from lane 8, which mask 000000ff leaves out"},
    {"copy not waited for", "to which a cp.async of thread (31,0,0) is on its way"},
    {"copy without barrier", "read of 4 bytes at dynamic shared memory + 508"},
    {"copy misaligned", "not aligned to its size"},
    {"second group", "read of 4 bytes at dynamic shared memory + 512, to which a cp.async of thread (0,0,0) is on its way"},
    {"no blocks", "a launch of a grid of 0 x 1 x 1 blocks"},
    {"too many threads", "blocks of 1025 x 1 x 1 threads"},
    {"stack", "the thread's stack of local variables is full"},
    {"host code", "host code: host code of the backend touches device memory + 0 of a block of 512 bytes"},
    {"transfer: not yet there", "read_kernel: block (0,0,0), thread (0,0,0): read of 4 bytes at device memory + 0 of a block of 512 bytes, to which a copy is on its way"},
    {"copy too long", "copy to the device: 513 bytes at device memory + 0 of a block of 512 bytes"},
    /* no findings of the emulator: errors that the backend returns */
    {"capture: allocation", "an allocation while a graph is captured"},
    {"capture: copy", "a copy from the host while a graph is captured"},
    {"capture: capture", "a graph is being captured already"},
};

/* Runs body(i) in a child; what it wrote to stderr, to be freed, and its status. */
static char *in_child(void (*body)(int i), int i, int *status)
{
    int ends[2];
    size_t n = 0, cap = 0;
    char *text = NULL;
    fflush(stdout);
    if (pipe(ends))
        return mem_strdup("no pipe");
    pid_t child = fork();
    if (!child) {
        dup2(ends[1], 2);
        close(ends[0]);
        body(i);
        _exit(0);
    }
    close(ends[1]);
    for (ssize_t got = 1; got > 0; n += got > 0 ? (size_t)got : 0) {
        text = mem_grow(text, &cap, n + 1000, 1);
        got = read(ends[0], text + n, 999);
    }
    close(ends[0]);
    waitpid(child, status, 0);
    text[n] = 0;
    return text;
}

static void run_case(int i)
{
    float result[2 * N];
    struct err e = ERR_INIT;
    if (case_run(i, result, &e) < 0)
        fprintf(stderr, "%s\n", e.text);
}

static void touch_device(int i)
{
    struct err e = ERR_INIT;
    volatile float *p = case_device_memory(&e);
    (void)i;
    (void)p[3];
}

/* Element (i, j) of twice A (16, 16) B (16, 8), whose elements are those of product_kernel. */
static float product_at(int i, int j)
{
    int sum = 0;
    for (int k = 0; k < 16; k++)
        sum += ((3 * i + 5 * k) % 7 - 3) * ((2 * k + 7 * j) % 5 - 2);
    return 2 * (float)sum;
}

/* What x[j] has to be after a case; `got` where it says nothing about it. */
static float wanted(const char *name, int j, float got)
{
    const char *what = name + strlen("right: ");
    if (!strncmp(what, "product", 7))
        return product_at(j / 8, j % 8);
    return !strcmp(what, "elements")                                                                                         ? 2 * (float)j
           : !strcmp(what, "barrier") || !strcmp(what, "copied") || !strcmp(what, "bytes of one word")                       ? (float)(N - 1 - j)
           : !strcmp(what, "within a warp") || !strcmp(what, "halves of a warp")                                             ? (float)(j ^ 5)
           : !strcmp(what, "two barriers")                                                                                   ? (float)(j ^ 32)
           : !strcmp(what, "half a warp")                                                                                    ? (float)(j % 32 < 16 ? j ^ 1 : j)
           : !strcmp(what, "shuffle")                                                                                        ? (float)(j % 32 < 8 ? j / 32 * 32 + 7 : j)
           : !strcmp(what, "first group") || !strcmp(what, "transfer")                                                       ? (float)j
           : !strcmp(what, "graph")                                                                                          ? 8 * (float)j
           : !strcmp(what, "graph that keeps")                                                                               ? 2 + (float)j
                                                                                                                             : got;
}

static void test_right(int i)
{
    float r[2 * N];
    struct err e = ERR_INIT;
    const char *name = case_name(i);
    bool good = case_run(i, r, &e) == 0;
    for (int j = 0; good && j < N; j++) {
        float want = wanted(name, j, r[j]);
        good = r[j] == want;
    }
    if (!strcmp(name, "right: atomic")) {
        int count;
        memcpy(&count, r + N, sizeof count);
        good = good && count == 3 * N;
    }
    ok(good, "passes: %s", name + 7);
}

static void test_wrong(int i)
{
    const char *name = case_name(i), *says = NULL;
    int status;
    char *text = in_child(run_case, i, &status);
    for (size_t j = 0; j < sizeof wrong / sizeof *wrong; j++)
        if (!strcmp(wrong[j].name, name))
            says = wrong[j].says;
    char *end = strchr(text, '\n');
    bool ended = strncmp(name, "capture: ", 9) ? WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT : WIFEXITED(status);
    if (!ok(ended && says && strstr(text, says) && end && !end[1], "finds: %s", name))
        printf("# status %x: %s\n# expected: %s\n", (unsigned)status, text, says ? says : "(no words in this test)");
    free(text);
}

int main(void)
{
    char path[1000];
    const char *build = getenv("BUILD");
    setenv("FINETOOLS_CUDA_PROTECT", "1", 1);
    snprintf(path, sizeof path, "%s/lib/cuda-cases.so", build ? build : "build");
    if (access(path, R_OK) != 0) {
        printf("1..0 # SKIP no %s: built where there is g++\n", path);
        return 0;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        printf("Bail out! %s\n", dlerror());
        return 1;
    }
    *(void **)&case_name = dlsym(library, "case_name");
    *(void **)&case_run = dlsym(library, "case_run");
    *(void **)&case_device_memory = dlsym(library, "case_device_memory");
    for (int i = 0; case_name(i); i++)
        (strncmp(case_name(i), "right: ", 7) ? test_wrong : test_right)(i);
    int status;
    char *text = in_child(touch_device, 0, &status);
    ok(WIFSIGNALED(status) && strstr(text, "the host touches device memory + 12 of a block of 512 bytes"), "finds: a host that reads device memory");
    free(text);
    return tap_end();
}
