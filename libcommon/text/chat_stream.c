#include "text/chat_stream.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/input.h"
#include "base/mem.h"
#include "base/version.h"
#include "text/utf8.h"

static const struct { enum chat_stream_kind kind; const char *name, *how; } kinds[] = {
    {CHAT_SAMPLES, "samples", ""},
    {CHAT_PROMPTS, "prompts", " (fmt-chat --generation-prompt)"},
    {CHAT_PAIRS, "pairs", " (fmt-chat -F pairs)"},
    {CHAT_LABELLED, "labelled", " samples (fmt-chat -F kto)"},
};

enum { KINDS = sizeof kinds / sizeof *kinds };

const char *chat_stream_kind_name(enum chat_stream_kind kind)
{
    int i = 0;
    while (kinds[i].kind != kind)
        i++;
    return kinds[i].name;
}

/* ---- writing ---- */

static void put_json(struct buf *b, json_t *j)
{
    char *text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    buf_add_str(b, text ? text : "{}");
    buf_add_char(b, '\n');
    free(text);
}

/* A JSON string of any bytes. */
static json_t *string_of(const char *s)
{
    struct buf b = BUF_INIT;
    utf8_add_lossy(&b, s, strlen(s));
    json_t *j = json_stringn(buf_str(&b), b.len);
    buf_release(&b);
    return j;
}

void chat_stream_put_header(struct buf *b, const struct chat_stream_header *h)
{
    json_t *template = h->template_name ? json_pack("{s:o, s:s}", "name", string_of(h->template_name), "sha256", h->template_hash) : json_null();
    if (h->template_name && h->turn_ends)
        json_object_set_new(template, "turn_ends", json_loads(h->turn_ends, 0, NULL));
    json_t *options = h->options ? json_loads(h->options, 0, NULL) : json_object();
    put_json(b, json_pack("{s:i, s:s, s:s, s:o, s:o}", "chat_stream", VERSION_CHAT_STREAM, "kind", chat_stream_kind_name(h->kind), "tool", "finetools " FINETOOLS_VERSION,
                          "template", template, "options", options ? options : json_object()));
}

void chat_stream_put_end(struct buf *b, const struct chat_stream_totals *t)
{
    char hash[17];
    json_t *sources = json_array();
    for (int i = 0; i < t->n_sources; i++)
        json_array_append_new(sources, json_pack("[o, s]", string_of(t->sources[i].name), t->sources[i].hash));
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)XXH3_64bits_digest(t->hash));
    put_json(b, json_pack("{s:{s:I, s:I}, s:o, s:s}", "end", "samples", (json_int_t)t->samples, "skipped", (json_int_t)t->skipped, "sources", sources, "xxh3", hash));
}

/* ---- reading ---- */

struct chat_stream {
    struct input *in;
    unsigned kinds;                  /* that may come */
    struct chat_stream_header header;
    struct buf buf;                  /* the window: [at, buf.len) is not consumed yet */
    size_t at;
    bool ended;
    int64_t line, samples, skipped;  /* samples: since the last header */
    XXH3_state_t *hash;
};

static int fail(const struct chat_stream *s, struct err *e, const char *what)
{
    return err_set(e, "%s: line %lld: %s", input_name(s->in), (long long)s->line, what);
}

/* 1: a line without its newline, 0: the end of the input. */
static int next_line(struct chat_stream *s, const char **line, size_t *len, struct err *e)
{
    size_t seen = 0;
    for (;;) {
        char *start = s->buf.data ? s->buf.data + s->at : NULL;
        char *end = start ? memchr(start + seen, '\n', s->buf.len - s->at - seen) : NULL;
        seen = s->buf.len - s->at;
        if (end || (s->ended && seen)) {
            *line = start;
            *len = end ? (size_t)(end - start) : seen;
            s->at += *len + (end != NULL);
            s->line++;
            return 1;
        }
        if (s->ended)
            return 0;
        if (seen > CHAT_STREAM_MAX_LINE)
            return err_set(e, "%s: line %lld: longer than %d MiB", input_name(s->in), (long long)s->line + 1, CHAT_STREAM_MAX_LINE >> 20);
        if (s->at) {
            memmove(s->buf.data, s->buf.data + s->at, seen);
            buf_set_len(&s->buf, seen);
            s->at = 0;
        }
        buf_reserve(&s->buf, 1 << 18);
        ssize_t n = input_read(s->in, s->buf.data + s->buf.len, s->buf.cap - s->buf.len - 1, e);
        if (n < 0)
            return -1;
        s->ended = n == 0;
        buf_set_len(&s->buf, s->buf.len + (size_t)n);
    }
}

/* The kind of this name, if it is one of those that may come. */
static int take_kind(const struct chat_stream *s, const char *name, enum chat_stream_kind *kind, struct err *e)
{
    struct buf wanted = BUF_INIT;
    int i = 0;
    while (i < KINDS && (!name || strcmp(name, kinds[i].name) != 0))
        i++;
    if (i == KINDS)
        return fail(s, e, "header: \"kind\" is not \"samples\", \"prompts\", \"pairs\" or \"labelled\"");
    *kind = kinds[i].kind;
    if (s->kinds & *kind)
        return 0;
    for (int k = 0; k < KINDS; k++)
        if (s->kinds & kinds[k].kind)
            buf_printf(&wanted, "%s%s%s", wanted.len ? " or " : "", kinds[k].name, kinds[k].how);
    err_set(e, "%s: line %lld: holds %s%s, expected %s", input_name(s->in), (long long)s->line, kinds[i].name, kinds[i].how, buf_str(&wanted));
    buf_release(&wanted);
    return -1;
}

static int parse_header(struct chat_stream *s, json_t *j, struct chat_stream_header *h, struct err *e)
{
    const char *kind = json_string_value(json_object_get(j, "kind"));
    json_t *version = json_object_get(j, "chat_stream"), *template = json_object_get(j, "template"), *options = json_object_get(j, "options");
    if (!json_is_integer(version))
        return err_set(e, "%s: line %lld: not a chat stream (fmt-chat writes them)", input_name(s->in), (long long)s->line);
    if (json_integer_value(version) != VERSION_CHAT_STREAM)
        return err_set(e, "%s: line %lld: chat stream version %lld, this program reads version %d", input_name(s->in), (long long)s->line,
                       (long long)json_integer_value(version), VERSION_CHAT_STREAM);
    if (take_kind(s, kind, &h->kind, e) < 0)
        return -1;
    const char *name = json_string_value(json_object_get(template, "name")), *hash = json_string_value(json_object_get(template, "sha256"));
    if (!json_is_null(template) && (!name || !hash || strlen(hash) != 64 || strspn(hash, "0123456789abcdef") != 64))
        return fail(s, e, "header: \"template\" is not null and has no \"name\" or no \"sha256\"");
    if (!json_is_object(options))
        return fail(s, e, "header: \"options\" is not an object");
    h->template_name = name ? mem_strdup(name) : NULL;
    memcpy(h->template_hash, name ? hash : "", name ? SHA256_HEX : 1);
    if (json_object_get(template, "turn_ends"))
        h->turn_ends = json_dumps(json_object_get(template, "turn_ends"), JSON_COMPACT | JSON_ENCODE_ANY);
    h->options = json_dumps(options, JSON_COMPACT);
    return 0;
}

/* The first header becomes the stream's; a later one must have the same template. */
static int read_header(struct chat_stream *s, const char *line, size_t len, bool first, struct err *e)
{
    struct chat_stream_header h = {0};
    json_t *j = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    int r = json_is_object(j) ? parse_header(s, j, &h, e)
                              : fail(s, e, first ? "not a chat stream (fmt-chat writes them)" : "expected the header of another chat stream behind the end record");
    json_decref(j);
    if (r == 0 && !first && (strcmp(h.template_hash, s->header.template_hash) || !h.template_name != !s->header.template_name))
        r = fail(s, e, "this stream was made with another template than the one before it");
    if (first) {
        s->header = h;
        s->kinds = r == 0 ? h.kind : s->kinds;
    } else {
        free(h.template_name);
        free(h.turn_ends);
        free(h.options);
    }
    s->samples = 0;
    XXH3_64bits_reset(s->hash);
    XXH3_64bits_update(s->hash, line, len);
    XXH3_64bits_update(s->hash, "\n", 1);
    return r;
}

static struct chat_stream *begin(struct input *in, unsigned wanted, struct err *e)
{
    struct chat_stream *s = mem_zalloc(1, sizeof *s);
    const char *line;
    size_t len;
    s->in = in;
    s->kinds = wanted;
    s->hash = XXH3_createState();
    int k = s->hash ? next_line(s, &line, &len, e) : fail(s, e, "cannot hash");
    if (k == 0)
        err_set(e, "%s: is empty, expected a chat stream (did the program that writes it fail?)", input_name(in));
    if (k == 1 && read_header(s, line, len, true, e) == 0)
        return s;
    chat_stream_close(s);
    return NULL;
}

struct chat_stream *chat_stream_open(const char *path, unsigned wanted, struct err *e)
{
    struct input *in = input_open(path, e);
    return in ? begin(in, wanted, e) : NULL;
}

struct chat_stream *chat_stream_memory(const void *data, size_t len, const char *name, unsigned wanted, struct err *e)
{
    return begin(input_memory(data, len, name), wanted, e);
}

const struct chat_stream_header *chat_stream_header(const struct chat_stream *s)
{
    return &s->header;
}

const char *chat_stream_name(const struct chat_stream *s)
{
    return input_name(s->in);
}

void chat_stream_hash(const struct chat_stream *s, char hex[SHA256_HEX])
{
    input_hash(s->in, hex);
}

int64_t chat_stream_skipped(const struct chat_stream *s)
{
    return s->skipped;
}

static bool has_key(const char *line, size_t len, const char *key)
{
    size_t i = 0, n = strlen(key);
    while (i < len && (line[i] == ' ' || line[i] == '\t' || line[i] == '{'))
        i++;
    return len - i > n + 1 && line[i] == '"' && !memcmp(line + i + 1, key, n) && line[i + 1 + n] == '"';
}

static int check_end(struct chat_stream *s, const char *line, size_t len, struct err *e)
{
    json_t *j = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL), *end = json_object_get(j, "end");
    json_t *samples = json_object_get(end, "samples"), *skipped = json_object_get(end, "skipped"), *xxh3 = json_object_get(j, "xxh3");
    char hash[17];
    int r = 0;
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)XXH3_64bits_digest(s->hash));
    if (!json_is_integer(samples) || !json_is_integer(skipped) || json_integer_value(skipped) < 0)
        r = fail(s, e, "the end record has no counts");
    else if (json_integer_value(samples) != s->samples)
        r = err_set(e, "%s: line %lld: the stream holds %lld samples, its end record says %lld", input_name(s->in), (long long)s->line, (long long)s->samples,
                    (long long)json_integer_value(samples));
    else if (xxh3 && (!json_is_string(xxh3) || strcmp(json_string_value(xxh3), hash) != 0))
        r = fail(s, e, "the stream was changed or damaged: it does not have the hash that its end record says");
    if (r == 0)
        s->skipped += json_integer_value(skipped);
    json_decref(j);
    return r;
}

int chat_stream_next(struct chat_stream *s, const char **line, size_t *len, int64_t *number, struct err *e)
{
    for (;;) {
        int k = next_line(s, line, len, e);
        if (k < 0)
            return -1;
        if (k == 0)
            return err_set(e, "%s: ends after %lld samples without an end record (did the program that writes it fail?)", input_name(s->in), (long long)s->samples);
        *number = s->line;
        if (!has_key(*line, *len, "end")) {
            s->samples++;
            XXH3_64bits_update(s->hash, *line, *len);
            XXH3_64bits_update(s->hash, "\n", 1);
            return 1;
        }
        if (check_end(s, *line, *len, e) < 0)
            return -1;
        if ((k = next_line(s, line, len, e)) <= 0)
            return k;
        if (read_header(s, *line, *len, false, e) < 0)
            return -1;
    }
}

void chat_stream_close(struct chat_stream *s)
{
    if (!s)
        return;
    input_close(s->in);
    XXH3_freeState(s->hash);
    buf_release(&s->buf);
    free(s->header.template_name);
    free(s->header.turn_ends);
    free(s->header.options);
    free(s);
}
