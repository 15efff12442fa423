#include "cli/paths.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"

static bool is_stream(const char *path)
{
    return !strcmp(path, "-");
}

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Is `path`, or a folder above it, this folder? */
static bool is_below(const char *path, const struct stat *folder)
{
    char *real = realpath(path, NULL);
    bool found = false;
    while (real && !found) {
        struct stat st;
        char *slash = strrchr(real, '/');
        found = stat(real, &st) == 0 && same(&st, folder);
        if (slash == real && !real[1])
            break;
        slash[slash == real] = 0;
    }
    free(real);
    return found;
}

/* The name of the folder's file that is this file; caller frees. */
static char *entry_of(const char *folder, const struct stat *file)
{
    char *found = NULL;
    DIR *d = opendir(folder);
    for (struct dirent *x; d && !found && (x = readdir(d));) {
        struct stat st;
        char *path = file_join(folder, x->d_name);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && same(&st, file))
            found = mem_strdup(x->d_name);
        free(path);
    }
    if (d)
        closedir(d);
    return found;
}

int paths_refuse_input(const char *output, const char *input, struct err *e)
{
    struct stat a, b;
    if (is_stream(output) || is_stream(input) || stat(input, &b) < 0)
        return 0;
    bool exists = stat(output, &a) == 0;
    if (exists && !S_ISREG(a.st_mode) && !S_ISDIR(a.st_mode))
        return 0;
    if (exists && same(&a, &b))
        return err_set(e, "%s: is the input %s, expected another name for the output", output, input);
    if (exists && S_ISDIR(a.st_mode) && is_below(input, &a))
        return err_set(e, "%s: holds the input %s, expected another name for the output", output, input);
    if (!S_ISDIR(b.st_mode))
        return 0;
    char *name = exists && S_ISREG(a.st_mode) ? entry_of(input, &a) : NULL;
    if (name)
        err_set(e, "%s: is the file %s of the input %s, expected another name for the output", output, name, input);
    free(name);
    return e->set ? -1 : 0;
}

int paths_refuse_same(const char *output, const char *option, const char *other, const char *other_option, struct err *e)
{
    struct stat a, b;
    if (is_stream(output) || is_stream(other))
        return 0;
    bool exists = stat(output, &a) == 0, exists_too = stat(other, &b) == 0, one = exists && exists_too && S_ISREG(a.st_mode) && same(&a, &b);
    if (!exists && !exists_too) {
        char *parent = file_parent(output), *parent_too = file_parent(other);
        const char *slash = strrchr(output, '/'), *slash_too = strrchr(other, '/');
        one = !strcmp(slash ? slash + 1 : output, slash_too ? slash_too + 1 : other) && stat(parent, &a) == 0 && stat(parent_too, &b) == 0 &&
              same(&a, &b);
        free(parent);
        free(parent_too);
    }
    return one ? err_set(e, "%s: is both --%s and --%s, expected two names", output, option, other_option) : 0;
}
