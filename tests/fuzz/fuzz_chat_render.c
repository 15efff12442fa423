/* Conversations through a template, with the loss mask: a template up to the first NUL byte, then a record of chat data. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "text/chat.h"
#include "text/chat_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64];

static void remove_file(void)
{
    unlink(path);
}

/* Templates are opened from files. */
static struct chat_template *open_template(const uint8_t *data, size_t size, struct err *e)
{
    if (!*path) {
        snprintf(path, sizeof path, "/tmp/fuzz-%ld.jinja", (long)getpid());
        atexit(remove_file);
    }
    FILE *f = fopen(path, "w");
    if (!f || fwrite(data, 1, size, f) < size || fclose(f))
        abort();
    return chat_template_open(path, NULL, e);
}

static void check_render(const struct chat_template *t, const json_t *sample, const struct chat_options *o)
{
    struct chat_rendered r = {0};
    struct err e = ERR_INIT;
    size_t at = 0, trained = 0;
    int result = chat_render(t, sample, o, &r, &e);
    if ((result < 0) != e.set)
        abort();
    for (size_t i = 0; result == 0 && i < r.n_spans; i++) {
        if (r.spans[i].start != at || r.spans[i].end <= at)
            abort();
        at = r.spans[i].end;
        trained += r.spans[i].train;
    }
    if (result == 0 && (at != r.text.len || (trained > 0) == o->generation_prompt))
        abort();
    chat_rendered_release(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    struct err e = ERR_INIT;
    struct chat_data d;
    if (!nul)
        return 0;
    json_t *record = json_loadb((const char *)nul + 1, (size_t)(data + size - nul) - 1, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(record) || chat_data_convert(record, CHAT_DATA_AUTO, false, &d, &e) < 0) {
        json_decref(record);
        return 0;
    }
    struct chat_template *t = d.sample ? open_template(data, (size_t)(nul - data), &e) : NULL;
    for (int i = 0; t && i < 4; i++)
        check_render(t, d.sample, &(struct chat_options){.train = i < 3 ? (enum chat_train)i : CHAT_TRAIN_ALL, .generation_prompt = i == 3, .answer = i == 3 ? 0 : d.answer,
                                                         .system = i & 1 ? "s" : NULL, .complete = true, .now = 86400});
    chat_template_close(t);
    chat_data_release(&d);
    json_decref(record);
    return 0;
}
