/* Runs a fuzz target over files, or the files of folders, instead of libFuzzer: REPLAY FILE|DIR... */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    struct err e = ERR_INIT;
    struct file_map m;
    if (file_is_dir(path)) {
        DIR *d = opendir(path);
        int r = d ? 0 : 1;
        for (struct dirent *entry; d && (entry = readdir(d));) {
            char *name = file_join(path, entry->d_name);
            if (entry->d_name[0] != '.')
                r |= replay(name);
            free(name);
        }
        if (d)
            closedir(d);
        return r;
    }
    if (file_map(&m, path, &e) < 0) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    LLVMFuzzerTestOneInput(m.data, m.size);
    file_unmap(&m);
    return 0;
}

int main(int argc, char **argv)
{
    int r = 0;
    for (int i = 1; i < argc; i++)
        r |= replay(argv[i]);
    return r;
}
