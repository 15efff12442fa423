#include "quantize/layer_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/outfile.h"

#define TEMPORARY ".layer.tmp"

static char *path_of(const char *out, const char *name)
{
    return mem_printf("%s/" LAYERS_FOLDER "/%s", out, name);
}

static char *layer_path(const char *out, int layer)
{
    char name[48];
    snprintf(name, sizeof name, "layer-%05d.safetensors", layer);
    return path_of(out, name);
}

int layer_file_write(const char *out, int layer, const char *run, const char *report, struct st_tensor *tensors, int n, struct err *e)
{
    const struct st_meta meta[] = {{ST_CHECKSUMS, NULL}, {"report", report}, {"run", run}};
    char *temporary = path_of(out, TEMPORARY), *path = layer_path(out, layer);
    int r = st_write(temporary, tensors, n, meta, 3, e);
    if (r == 0 && rename(temporary, path) < 0)
        r = err_sys(e, "%s: cannot rename to %s", temporary, path);
    free(temporary);
    free(path);
    return r;
}

struct st_file *layer_file_open(const char *out, int layer, const char *run, bool verify, struct err *why)
{
    char *path = layer_path(out, layer);
    struct st_file *f = file_exists(path) ? st_open(path, why) : NULL;
    const char *of = f ? st_meta(f, "run") : NULL;
    if (f && (!of || strcmp(of, run) || !st_meta(f, "report")))
        err_set(why, "%s: is of another run", path);
    else if (f && verify && st_verify(f, why) == 0)
        err_set(why, "%s: has no checksums", path);
    free(path);
    if (f && why->set) {
        st_close(f);
        f = NULL;
    }
    return f;
}

bool layer_file_exists(const char *out, int layer)
{
    char *path = layer_path(out, layer);
    bool there = file_exists(path);
    free(path);
    return there;
}

int layer_files_begin(const char *out, struct err *e)
{
    char *dir = file_join(out, LAYERS_FOLDER), *temporary = path_of(out, TEMPORARY);
    int r = mkdir(dir, 0777) < 0 && errno != EEXIST ? err_sys(e, "%s: cannot make the folder", dir) : 0;
    if (r == 0 && unlink(temporary) < 0 && errno != ENOENT)
        r = err_sys(e, "%s: cannot remove", temporary);
    free(dir);
    free(temporary);
    return r;
}

int layer_files_remove(const char *out, struct err *e)
{
    char *dir = file_join(out, LAYERS_FOLDER);
    int r = outdir_remove(dir, e);
    free(dir);
    return r;
}
