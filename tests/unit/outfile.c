/* Files and folders that appear whole or not at all. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/outfile.h"
#include "cli/stop.h"
#include "tap.h"
#include "tests/unit/scratch.h"

static struct err e;

static const char *contents(const char *path)
{
    static struct buf b = BUF_INIT;
    struct err ignored = ERR_INIT;
    buf_clear(&b);
    return file_read(&b, path, 1 << 20, &ignored) < 0 ? NULL : buf_str(&b);
}

static int entries(const char *path)
{
    int n = 0;
    DIR *d = opendir(path);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n - 2;
}

static int write_file(const char *path, bool force, const char *text)
{
    e = (struct err)ERR_INIT;
    struct outfile *f = outfile_open(path, force, true, &e);
    if (!f)
        return -1;
    fputs(text, outfile_stream(f));
    return outfile_commit(f, &e);
}

static void test_files(void)
{
    e = (struct err)ERR_INIT;
    struct outfile *f = outfile_open("a", false, true, &e);
    fputs("one", outfile_stream(f));
    ok(!file_exists("a"), "nothing is visible before the commit");
    is_int(outfile_commit(f, &e), 0, "commit");
    is_str(contents("a"), "one", "the contents are there");
    is_int(write_file("a", false, "two"), -1, "an existing file is refused");
    is_str(e.text, "a: exists already; --force replaces it", "and the way out is named");
    is_str(contents("a"), "one", "it is untouched");
    is_int(write_file("a", true, "two"), 0, "force");
    is_str(contents("a"), "two", "replaces it");

    e = (struct err)ERR_INIT;
    f = outfile_open("b", false, true, &e);
    fputs("late", outfile_stream(f));
    is_int(write_file("b", false, "first"), 0, "another writer was faster");
    is_int(outfile_commit(f, &e), -1, "the later commit is refused");
    is_str(contents("b"), "first", "and does not replace");

    e = (struct err)ERR_INIT;
    f = outfile_open("c", false, true, &e);
    fputs("never", outfile_stream(f));
    outfile_abort(f);
    outfile_abort(NULL);
    ok(!file_exists("c"), "an aborted file never appears");
    is_int(entries("."), 2, "no temporary is left");

    is_int(symlink("a", "link"), 0, "a symbolic link to a file");
    is_int(write_file("link", true, "three"), 0, "is written through");
    struct stat st;
    ok(lstat("link", &st) == 0 && S_ISLNK(st.st_mode), "it is still a link");
    is_str(contents("a"), "three", "to the new contents");

    is_int(write_file("no/such/dir", false, ""), -1, "a missing folder");
    is_str(e.text, "no/such/dir: cannot create a file beside it: the folder no/such does not exist", "is named");
    is_int(write_file(".", true, ""), -1, "a folder is no file");
    is_int(write_file("/dev/null", false, "x"), 0, "a device is written directly");
    ok(stat("/dev/null", &st) == 0 && S_ISCHR(st.st_mode), "and stays a device");
    is_int(write_file("/dev/full", false, "x"), -1, "a full device is noticed");
    is_str(e.text, "/dev/full: cannot write: No space left on device", "with the reason");
    umask(027);
    is_int(write_file("mode", false, ""), 0, "an empty file");
    ok(stat("mode", &st) == 0 && (st.st_mode & 0777) == 0640, "gets its mode from the umask");
    umask(022);
    is_int(outfile_replace("mode", "new", 3, &e), 0, "replace");
    is_str(contents("mode"), "new", "replaces");
    e = (struct err)ERR_INIT;
    ok(outfile_free_space("a") >= 0 && outfile_free_space("/") >= 0, "free space is known");
    char *name = mem_alloc(300);
    memset(name, 'n', 255);
    name[255] = 0;
    is_int(write_file(name, false, "x"), 0, "a name of 255 bytes");
    unlink(name);
    free(name);
}

/* A file size limit stands for a full disk: the kernel refuses the write in the same way. */
static void test_full(void)
{
    struct rlimit old, small = {4096, RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    char *big = mem_zalloc(1, 1 << 20);
    memset(big, 'x', (1 << 20) - 1);
    setrlimit(RLIMIT_FSIZE, &small);
    int r = write_file("big", false, big), replaced = write_file("a", true, big);
    setrlimit(RLIMIT_FSIZE, &old);
    is_int(r, -1, "a write that fails midway fails the commit");
    is_str(e.text, "a: cannot write: File too large", "with the reason of the first failure");
    ok(!file_exists("big"), "nothing appears");
    is_int(replaced, -1, "the same with --force");
    is_str(contents("a"), "three", "the old file is whole");
    free(big);
}

static void put(const char *dir, const char *name, const char *text)
{
    char *path = file_join(dir, name);
    FILE *f = fopen(path, "w");
    if (f) {
        fputs(text, f);
        fclose(f);
    }
    free(path);
}

static struct outdir *make_dir(const char *path, bool force, const char *text)
{
    e = (struct err)ERR_INIT;
    struct outdir *d = outdir_open(path, force, &e);
    if (!d)
        return NULL;
    char *sub = file_join(outdir_path(d), "sub");
    mkdir(sub, 0777);
    put(sub, "file", text);
    put(outdir_path(d), ".hidden", text);
    free(sub);
    return d;
}

static void test_dirs(void)
{
    struct outdir *d = make_dir("dir/", false, "one");
    ok(d && !file_exists("dir"), "nothing is visible before the commit");
    is_int(outdir_commit(d, &e), 0, "commit of a folder");
    is_str(contents("dir/sub/file"), "one", "the contents are there");
    ok(!make_dir("dir", false, "two"), "an existing folder is refused");
    is_str(e.text, "dir: exists already; --force replaces it", "and the way out is named");
    d = make_dir("dir", true, "two");
    is_int(outdir_commit(d, &e), 0, "force");
    is_str(contents("dir/sub/file"), "two", "exchanges it");
    int before = entries(".");
    outdir_abort(make_dir("dir", true, "three"));
    outdir_abort(NULL);
    is_int(entries("."), before, "abort leaves no temporary");
    is_str(contents("dir/sub/file"), "two", "and the old folder");
    ok(!make_dir("a", true, "x"), "a file in place of the folder is refused even with force");
    is_str(e.text, "a: is not a directory, expected the name of a folder to write", "and said so");
    ok(!make_dir("-", false, "x"), "stdout is refused");
    e = (struct err)ERR_INIT;
    is_int(symlink("/etc", "dir/sub/outside"), 0, "a link out of the folder");
    is_int(outdir_remove("dir", &e), 0, "removes with the folder");
    ok(!file_exists("dir") && file_exists("/etc/passwd"), "but not what it points to");
    is_int(outdir_remove("dir", &e), 0, "a missing folder is fine");
    d = make_dir("many", false, "");
    for (int i = 0; i < 500; i++) {
        char name[80];
        snprintf(name, sizeof name, "file-with-a-name-that-fills-the-buffer-of-the-remover-%d", i);
        put(outdir_path(d), name, "");
    }
    before = entries(".");
    outdir_abort(d);
    is_int(entries("."), before - 1, "a folder of 500 files is removed");
}

static void test_read_only(void)
{
    if (geteuid() == 0) {
        skip("permissions do not bind root");
        return;
    }
    mkdir("locked", 0555);
    is_int(write_file("locked/x", false, "x"), -1, "a read-only folder");
    is_str(e.text, "locked/x: cannot create a file beside it: Permission denied", "is named");
    rmdir("locked");
}

/* Runs `what` in a child with one file and one folder begun; gives the wait status. */
static int in_child(void (*what)(void))
{
    static struct outfile *volatile f; /* static: still reachable when the child exits, so no leak */
    static struct outdir *volatile d;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        stop_init();
        f = outfile_open("child", false, true, &e);
        d = make_dir("child-dir", false, "x");
        if (!f || !d)
            _exit(99);
        what();
        _exit(98);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return status;
}

static void raise_term(void) { raise(SIGTERM); }
static void raise_int(void) { raise(SIGINT); }
static void raise_pipe(void) { raise(SIGPIPE); }
static void raise_kill(void) { raise(SIGKILL); }
static void call_exit(void) { exit(1); }

static void defer_then_int(void)
{
    stop_defer();
    raise(SIGTERM);
    raise(SIGUSR1);
    raise(SIGINT);
    if (stop_requested() != SIGINT)
        _exit(97);
    raise(SIGINT);
}

static void fork_and_exit(void)
{
    pid_t pid = fork();
    if (pid == 0)
        exit(0);
    waitpid(pid, NULL, 0);
    _exit(entries(".") >= 2 ? 5 : 6);
}

static void test_signals(void)
{
    int before = entries("."), status;
    status = in_child(raise_term);
    ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "SIGTERM is re-raised");
    is_int(entries("."), before, "and its temporaries are removed");
    status = in_child(raise_int);
    ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT, "SIGINT is re-raised");
    status = in_child(raise_pipe);
    ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE, "SIGPIPE ends quietly");
    status = in_child(defer_then_int);
    ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT, "deferred: TERM, USR1 and the first INT wait, the second INT quits");
    status = in_child(call_exit);
    ok(WIFEXITED(status) && WEXITSTATUS(status) == 1, "exit keeps its status");
    is_int(entries("."), before, "no temporary is left by any of them");
    signal(SIGHUP, SIG_IGN);
    stop_init();
    raise(SIGHUP);
    ok(true, "a signal ignored from the start stays ignored");
    status = in_child(fork_and_exit);
    is_int(WEXITSTATUS(status), 5, "a forked child leaves its parent's temporaries alone");
}

/* What a killed process left goes when the same output is written again; nothing else does. */
static void test_left_over(void)
{
    char of_living[80];
    int status = in_child(raise_kill), before = entries(".") - 2;
    ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "a killed process leaves its temporaries, a file and a folder");
    snprintf(of_living, sizeof of_living, ".child.tmp-%d-99", (int)getppid());
    put(".", of_living, "");
    put(".", ".child.tmp-12345678", "");
    put(".", ".children.tmp-999999999-1", "");
    is_int(write_file("child", false, "x"), 0, "the same output again");
    is_int(entries("."), before + 1 + 1 + 3, "removes that of this output");
    ok(file_exists(of_living) && file_exists(".child.tmp-12345678") && file_exists(".children.tmp-999999999-1"),
       "but nothing of a living process, of another form or of another output");
    outdir_abort(make_dir("child-dir", false, "x"));
    is_int(entries("."), before + 4, "a folder's likewise");
    put(".", ".child.tmp-999999999-1", "");
    int held = open(".child.tmp-999999999-1", O_RDONLY | O_CLOEXEC);
    ok(held >= 0 && flock(held, LOCK_EX) == 0 && write_file("child", true, "y") == 0 && file_exists(".child.tmp-999999999-1"),
       "one that is locked stays: its process is on another machine");
    close(held);
}

int main(void)
{
    signal(SIGINT, SIG_DFL); /* whatever started this may ignore it */
    char *dir = scratch_folder();
    if (chdir(dir) < 0)
        return 1;
    test_files();
    test_full();
    test_dirs();
    test_read_only();
    test_signals();
    test_left_over();
    e = (struct err)ERR_INIT;
    is_int(outdir_remove(dir, &e), 0, "clean up");
    free(dir);
    return tap_end();
}
