#include "text/chat_show.h"

struct marks { const char *on, *off; };

/* Parts [from, to), and the end of the line. */
static void show_parts(struct buf *b, const struct chat_sample *s, size_t from, size_t to, const struct marks *m)
{
    for (size_t i = from; i < to; i++) {
        const struct chat_part *p = &s->parts[i];
        buf_add_str(b, p->train && (i == from || !p[-1].train) ? m->on : "");
        buf_add(b, s->text.data + p->start, p->end - p->start);
        buf_add_str(b, p->train && (i + 1 == to || !p[1].train) ? m->off : "");
    }
    buf_add_char(b, '\n');
}

void chat_sample_show(struct buf *b, const struct chat_sample *s, enum chat_stream_kind kind, const char *on, const char *off)
{
    const struct marks m = {on, off};
    bool answers = kind == CHAT_PAIRS || kind == CHAT_LABELLED;
    size_t trained = 0, prompt = answers ? s->n_prompt : s->n_parts, chosen = prompt + s->n_chosen;
    for (size_t i = 0; i < s->n_parts; i++)
        trained += s->parts[i].train ? s->parts[i].end - s->parts[i].start : 0;
    buf_printf(b, "# %s: record %lld: %zu bytes, %zu trained%s\n", buf_str(&s->source), (long long)s->record, s->text.len, trained,
               kind != CHAT_LABELLED ? "" : s->label ? ", desirable" : ", undesirable");
    show_parts(b, s, 0, prompt, &m);
    if (answers) {
        buf_add_str(b, kind == CHAT_PAIRS ? "# chosen\n" : "# completion\n");
        show_parts(b, s, prompt, chosen, &m);
    }
    if (kind == CHAT_PAIRS) {
        buf_add_str(b, "# rejected\n");
        show_parts(b, s, chosen, s->n_parts, &m);
    }
}
