#include "cli/temporary.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/outfile.h"

/* Changed only with all signals blocked in the changing thread, and in an order that is whole at every moment for a
 * handler that runs in another one. */
static struct temporary *volatile list;

static void remember(struct temporary *t, bool add)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (add) {
        t->next = list;
        list = t;
    } else if (list == t) {
        list = t->next;
    } else {
        for (struct temporary *p = list; p; p = p->next)
            if (p->next == t)
                p->next = t->next;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* ".NAME.tmp-", which the numbers follow. The name is cut so that the temporary one stays below the usual limit of 255 bytes. */
static char *stem_of(const char *name)
{
    return mem_printf(".%.200s.tmp-", name);
}

/* Is this "PID-K" of a process that is not there? */
static bool is_of_dead_process(const char *numbers)
{
    size_t n = strspn(numbers, "0123456789"), k = numbers[n] == '-' ? strspn(numbers + n + 1, "0123456789") : 0;
    if (n == 0 || n > 9 || k == 0 || numbers[n + 1 + k])
        return false;
    int pid = atoi(numbers);
    return pid > 0 && kill(pid, 0) < 0 && errno == ESRCH;
}

/* A lock that cannot be tried (NFS has none on folders) tells nothing: then it stays. */
static void remove_abandoned(const char *path)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && temporary_remove_tree(path) < 0) {
        /* it costs space, nothing else */
    }
    close(fd);
}

/* Temporaries of the same target that nobody will finish. */
static void remove_left_over(const char *target, const char *name)
{
    char *parent = file_parent(target), *stem = stem_of(name);
    DIR *d = opendir(parent);
    for (struct dirent *x; d && (x = readdir(d));)
        if (!strncmp(x->d_name, stem, strlen(stem)) && is_of_dead_process(x->d_name + strlen(stem))) {
            char *path = file_join(parent, x->d_name);
            remove_abandoned(path);
            free(path);
        }
    if (d)
        closedir(d);
    free(parent);
    free(stem);
}

struct temporary *temporary_add(const char *target)
{
    static int count;
    struct temporary *t = mem_alloc(sizeof *t);
    const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
    if (!count)
        atexit(outfile_cleanup);
    remove_left_over(target, name);
    char *stem = stem_of(name);
    t->path = mem_printf("%.*s%s%d-%d", (int)(name - target), target, stem, (int)getpid(), ++count);
    t->owner = (int)getpid();
    t->lock = -1;
    free(stem);
    remember(t, true);
    return t;
}

void temporary_hold(struct temporary *t)
{
    t->lock = open(t->path, O_RDONLY | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    if (t->lock >= 0 && flock(t->lock, LOCK_EX | LOCK_NB) < 0) {
        close(t->lock); /* a file system without locks */
        t->lock = -1;
    }
}

void temporary_drop(struct temporary *t)
{
    if (!t)
        return;
    temporary_remove_tree(t->path);
    remember(t, false);
    if (t->lock >= 0)
        close(t->lock);
    free(t->path);
    free(t);
}

void outfile_cleanup(void)
{
    for (struct temporary *t = list; t; t = t->next)
        if (t->owner == (int)getpid())
            temporary_remove_tree(t->path);
}

struct entry { /* getdents64(2) */
    unsigned long long inode, offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

static int remove_at(int dir, const char *name, int depth);

/* Empties the folder open at `fd`. Passes are repeated until one finds nothing: entries move while others go. */
static int empty_dir(int fd, int depth)
{
    _Alignas(struct entry) char buffer[2048];
    for (bool found = true; found;) {
        found = false;
        if (lseek(fd, 0, SEEK_SET) < 0)
            return -1;
        for (;;) {
            long n = syscall(SYS_getdents64, fd, buffer, sizeof buffer);
            if (n < 0)
                return -1;
            if (n == 0)
                break;
            for (long at = 0; at < n;) {
                struct entry *d = (struct entry *)(buffer + at);
                at += d->length;
                if (!strcmp(d->name, ".") || !strcmp(d->name, ".."))
                    continue;
                if (remove_at(fd, d->name, depth + 1) < 0)
                    return -1;
                found = true;
            }
        }
    }
    return 0;
}

static int remove_at(int dir, const char *name, int depth)
{
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -1;
    int fd = depth < 64 ? openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd < 0)
        return -1;
    int r = empty_dir(fd, depth), saved = errno;
    close(fd);
    errno = saved;
    return r < 0 ? -1 : unlinkat(dir, name, AT_REMOVEDIR);
}

int temporary_remove_tree(const char *path)
{
    return remove_at(AT_FDCWD, path, 0);
}

int temporary_sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -1;
    int r = fsync(fd), saved = errno;
    close(fd);
    errno = saved;
    return r < 0 && errno != EINVAL ? -1 : 0; /* EINVAL: this file system has nothing to sync */
}

static int sync_parent(const char *path)
{
    char *parent = file_parent(path);
    int r = temporary_sync_path(parent);
    free(parent);
    return r;
}

/* A rename that fails when the target exists, also where the file system has no RENAME_NOREPLACE. */
static int rename_new(const char *from, const char *to)
{
    struct stat st;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (lstat(to, &st) == 0) {
        errno = EEXIST;
        return -1;
    }
    return rename(from, to);
}

static bool is_folder(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Two renames, for file systems without RENAME_EXCHANGE (NFS): for a moment there is no target, but the old folder is
 * whole beside it under a name that no clean-up removes. */
static int exchange_in_steps(const char *from, const char *to)
{
    char *aside = mem_printf("%s.old-%d", to, (int)getpid());
    int r = rename_new(to, aside);
    if (r == 0) {
        r = rename(from, to);
        int saved = errno;
        const char *back = r < 0 ? to : from;
        if (rename(aside, back) < 0 && r == 0)
            r = -1;
        else
            errno = saved;
    }
    free(aside);
    return r;
}

static int rename_over(const char *from, const char *to)
{
    if (!is_folder(from) || !is_folder(to))
        return rename(from, to);
    int r = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE);
    return r < 0 && (errno == EINVAL || errno == ENOSYS) ? exchange_in_steps(from, to) : r;
}

int temporary_publish(struct temporary *t, const char *target, bool force, struct err *e)
{
    int r = force ? rename_over(t->path, target) : rename_new(t->path, target);
    if (r < 0 && errno == EEXIST && !force)
        return err_set(e, "%s: exists already; --force replaces it", target);
    if (r < 0)
        return err_sys(e, "%s: cannot rename the finished output to it", target);
    if (sync_parent(target) < 0)
        return err_sys(e, "%s: cannot sync its folder", target);
    return 0;
}

char *temporary_resolve(const char *path)
{
    struct stat st;
    char *real = lstat(path, &st) == 0 && S_ISLNK(st.st_mode) ? realpath(path, NULL) : NULL;
    return real ? real : mem_strdup(path);
}
