/* Where a test writes: a folder in TMPDIR or /tmp that goes when the test's process has ended, however it ended.
 *
 *     char *dir = scratch_folder();            an empty folder of its own
 *     char *path = scratch_path(".jinja");     a name that nothing has yet, with this end
 * The caller frees; nothing need be removed. */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

static char scratch_root[4000];

static void scratch_fail(const char *what)
{
    printf("Bail out! cannot make %s\n", what);
    exit(1);
}

/* A process of another session, no child of the test's, reads a pipe whose other end closes with the test. */
static void scratch_remove_later(void)
{
    int ends[2], status = 1;
    if (pipe2(ends, O_CLOEXEC) < 0)
        scratch_fail("a pipe");
    pid_t first = fork();
    if (first == 0) {
        int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (setsid() < 0 || nothing < 0 || dup2(ends[0], 0) < 0 || dup2(nothing, 1) < 0 || dup2(nothing, 2) < 0)
            _exit(1);
        pid_t second = fork();
        if (second == 0)
            execl("/bin/sh", "sh", "-c", "cat; exec rm -rf \"$0\"", scratch_root, NULL);
        _exit(second <= 0);
    }
    close(ends[0]);
    if (first < 0 || waitpid(first, &status, 0) < 0 || status)
        scratch_fail("a process");
}

__attribute__((unused)) static char *scratch_path(const char *end)
{
    static int count;
    if (!scratch_root[0]) {
        const char *in = getenv("TMPDIR");
        snprintf(scratch_root, sizeof scratch_root, "%s/finetools-unit.XXXXXX", in ? in : "/tmp");
        if (!mkdtemp(scratch_root))
            scratch_fail(scratch_root);
        scratch_remove_later();
    }
    return mem_printf("%s/%d%s", scratch_root, count++, end);
}

__attribute__((unused)) static char *scratch_folder(void)
{
    char *dir = scratch_path("");
    if (mkdir(dir, 0700) < 0)
        scratch_fail(dir);
    return dir;
}

#endif
