#include "text/records.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/records_json.h"

enum mode { MODE_TOP, MODE_ARRAY, MODE_LINES, MODE_DOCUMENTS };

struct records {
    struct input *in;
    enum mode mode;
    struct buf buf;          /* the window: [at, buf.len) is not consumed yet */
    size_t at;
    bool begun, ended;
    int64_t number, line;    /* records met, line of `at` */
    int64_t from, to;        /* those that are handed out */
    bool first;              /* MODE_ARRAY: no element was read yet */
};

static struct records *records_new(struct input *in)
{
    struct records *s = mem_zalloc(1, sizeof *s);
    s->in = in;
    s->line = 1;
    s->to = INT64_MAX;
    return s;
}

struct records *records_open(const char *path, struct err *e)
{
    struct input *in = input_open(path, e);
    return in ? records_new(in) : NULL;
}

struct records *records_memory(const void *data, size_t len, const char *name)
{
    return records_new(input_memory(data, len, name));
}

void records_hash(const struct records *s, char hex[SHA256_HEX])
{
    input_hash(s->in, hex);
}

void records_close(struct records *s)
{
    if (!s)
        return;
    input_close(s->in);
    buf_release(&s->buf);
    free(s);
}

/* ---- the window ---- */

/* Reads more behind what is in the window. 1: there is more, 0: the end of the file. */
static int more(struct records *s, struct err *e)
{
    if (s->ended)
        return 0;
    if (s->at > s->buf.len / 2) {
        memmove(s->buf.data, s->buf.data + s->at, s->buf.len - s->at);
        buf_set_len(&s->buf, s->buf.len - s->at);
        s->at = 0;
    }
    buf_reserve(&s->buf, 1 << 17);
    ssize_t n = input_read(s->in, s->buf.data + s->buf.len, s->buf.cap - s->buf.len - 1, e);
    if (n < 0)
        return -1;
    s->ended = n == 0;
    buf_set_len(&s->buf, s->buf.len + (size_t)n);
    return n > 0;
}

static void consume(struct records *s, size_t n)
{
    const char *p = s->buf.data + s->at, *end = p + n;
    while ((p = memchr(p, '\n', (size_t)(end - p))))
        s->line++, p++;
    s->at += n;
}

/* Skips white space. The next character, or -1 at the end, -2 on error. */
static int next_char(struct records *s, struct err *e)
{
    for (;;) {
        for (; s->at < s->buf.len; s->at++) {
            char c = s->buf.data[s->at];
            if (c == '\n')
                s->line++;
            else if (c != ' ' && c != '\t' && c != '\r')
                return (unsigned char)c;
        }
        int k = more(s, e);
        if (k <= 0)
            return k < 0 ? -2 : -1;
    }
}

static int fail(const struct records *s, struct err *e, const char *what)
{
    return err_set(e, "%s: record %lld (line %lld): %s", input_name(s->in), (long long)s->number + 1, (long long)s->line, what);
}

static void hand_out(struct records *s, struct record *r, size_t len)
{
    *r = (struct record){s->buf.data + s->at, len, input_name(s->in), ++s->number, s->line};
    consume(s, len);
}

/* ---- where a record ends ---- */

/* Brackets and strings of a document, as far as it was seen. */
struct scan {
    size_t at;           /* from the record's first byte */
    size_t depth;
    bool string;
    char last;           /* last character that is not white space, outside strings */
    bool done, newline;  /* stopped: behind the record's last byte; or, with stop_at_newline, before an end of line */
};

static void scan_bytes(struct scan *c, const char *p, size_t len, bool stop_at_newline)
{
    for (; c->at < len; c->at++) {
        char ch = p[c->at];
        if (c->string) {
            if (ch == '\\') {
                if (c->at + 1 == len)
                    return;
                c->at++;
            } else if (ch == '"') {
                c->string = false;
            } else if (ch == '\n' && stop_at_newline) { /* not JSON, but it ends the line all the same */
                c->newline = true;
                return;
            }
            continue;
        }
        if (ch == '\n' && stop_at_newline) {
            c->newline = true;
            return;
        }
        if (c->depth == 0 && c->at > 0 && (ch == ',' || ch == ']' || ch == '}' || ch == ' ' || ch == '\t' || ch == '\r' || ch == '\n')) {
            c->done = true; /* a number or word among objects: it ends where its neighbour begins */
            return;
        }
        if (ch == '"')
            c->string = true;
        else if (ch == '{' || ch == '[')
            c->depth++;
        else if (ch == '}' || ch == ']')
            c->depth--;
        if (ch != ' ' && ch != '\t' && ch != '\r' && ch != '\n')
            c->last = ch;
        if (c->depth == 0 && (ch == '}' || ch == ']')) {
            c->at++;
            c->done = true;
            return;
        }
    }
}

static int too_long(const struct records *s, struct err *e)
{
    err_set(e, "%s: record %lld (line %lld): longer than the %d MiB that one record may have", input_name(s->in), (long long)s->number + 1,
            (long long)s->line, RECORDS_MAX_BYTES >> 20);
    return -1;
}

/* A document that begins at the window's start, however many lines it has. */
static int next_document(struct records *s, struct record *r, struct err *e)
{
    struct scan c = {0};
    for (;;) {
        scan_bytes(&c, s->buf.data + s->at, s->buf.len - s->at, false);
        if (c.done || (s->ended && c.depth == 0 && !c.string && c.at)) {
            hand_out(s, r, c.at);
            return 1;
        }
        if (c.at > RECORDS_MAX_BYTES)
            return too_long(s, e);
        int k = more(s, e);
        if (k < 0)
            return -1;
        if (k == 0 && (c.depth || c.string))
            return fail(s, e, c.string ? "the file ends inside a string" : "the file ends inside the record");
    }
}

/* A line too long to hold is passed over without keeping it. */
static int skip_line(struct records *s, struct record *r, struct err *e)
{
    too_long(s, e);
    r->number = ++s->number;
    struct err ignored = ERR_INIT;
    for (;;) {
        char *end = memchr(s->buf.data + s->at, '\n', s->buf.len - s->at);
        if (end) {
            s->at = (size_t)(end - s->buf.data);
            return RECORDS_BAD;
        }
        s->at = s->buf.len;
        int k = more(s, &ignored);
        if (k <= 0)
            return k < 0 ? -1 : RECORDS_BAD;
    }
}

static int next_line(struct records *s, struct record *r, struct err *e)
{
    size_t seen = 0;
    for (;;) {
        char *start = s->buf.data + s->at, *end = memchr(start + seen, '\n', s->buf.len - s->at - seen);
        seen = s->buf.len - s->at;
        if (end || (s->ended && seen)) {
            size_t len = end ? (size_t)(end - start) : seen;
            if (len > RECORDS_MAX_BYTES)
                return skip_line(s, r, e);
            hand_out(s, r, len);
            return 1;
        }
        if (seen > RECORDS_MAX_BYTES)
            return skip_line(s, r, e);
        if (more(s, e) < 0)
            return -1;
    }
}

/* Is the first record a line of its own? A first line that stops after a bracket, a comma or a colon goes on in the next. */
static int is_lines(struct records *s, struct err *e)
{
    struct scan c = {0};
    for (;;) {
        size_t len = s->buf.len - s->at;
        const char *p = s->buf.data + s->at;
        if (!c.done)
            scan_bytes(&c, p, len, true);
        if (c.newline)
            return c.string || !strchr("{[,:", c.last);
        for (; c.done && c.at < len; c.at++) {
            if (p[c.at] == '\n')
                return true;
            if (p[c.at] != ' ' && p[c.at] != '\t' && p[c.at] != '\r')
                return false;
        }
        if (c.at > RECORDS_MAX_BYTES)
            return true;
        int k = more(s, e);
        if (k <= 0)
            return k < 0 ? -1 : c.done;
    }
}

/* ---- the file ---- */

static int begin(struct records *s, struct err *e)
{
    s->begun = true;
    while (s->buf.len < 4) {
        int k = more(s, e);
        if (k < 0)
            return -1;
        if (k == 0)
            break;
    }
    const char *d = buf_str(&s->buf);
    if (s->buf.len >= 2 && (!memcmp(d, "\xFF\xFE", 2) || !memcmp(d, "\xFE\xFF", 2)))
        return err_set(e, "%s: is UTF-16, expected UTF-8 (iconv -f UTF-16 -t UTF-8 converts it)", input_name(s->in));
    if (s->buf.len >= 2 && !memcmp(d, "\x1F\x8B", 2))
        return err_set(e, "%s: is compressed with gzip, expected JSON or zstd (gzip -dc FILE | ... )", input_name(s->in));
    if (s->buf.len >= 3 && !memcmp(d, "\xEF\xBB\xBF", 3))
        s->at = 3;
    return 0;
}

/* Between two elements. 1: at an element, 0: the array has ended. */
static int array_step(struct records *s, struct err *e)
{
    bool first = s->first, comma = false;
    s->first = false;
    int c = next_char(s, e);
    if (c == ',' && !first) {
        s->at++;
        comma = true;
        c = next_char(s, e);
    }
    if (c == -2)
        return -1;
    if (c == -1)
        return fail(s, e, "the file ends inside the array");
    if (c == ']' && !comma) {
        s->at++;
        return 0;
    }
    if (c == ']' || c == ',' || c == '}' || c == ':')
        return fail(s, e, "expected a record");
    return first || comma ? 1 : fail(s, e, "expected a comma or the end of the array");
}

/* At the top of the file, or between documents. Sets the mode; 1: at something, 0: the end. */
static int top_step(struct records *s, struct err *e)
{
    int c = next_char(s, e);
    if (c < 0)
        return c == -1 ? 0 : -1;
    if (c == '[') {
        s->at++;
        s->mode = MODE_ARRAY;
        s->first = true;
        return 1;
    }
    if (c != '{')
        return fail(s, e, "expected JSON: an array of records, or records one after another");
    int lines = s->mode == MODE_TOP ? is_lines(s, e) : 0;
    if (lines < 0)
        return -1;
    s->mode = lines ? MODE_LINES : MODE_DOCUMENTS;
    return 1;
}

/* The next record, selected or not. */
static int next_record(struct records *s, struct record *r, struct err *e)
{
    if (!s->begun && begin(s, e) < 0)
        return -1;
    for (;;) {
        int k;
        if (s->mode == MODE_LINES)
            return (k = next_char(s, e)) == -1 ? 0 : k < 0 ? -1 : next_line(s, r, e);
        if (s->mode == MODE_ARRAY) {
            if ((k = array_step(s, e)) != 0)
                return k < 0 ? -1 : next_document(s, r, e);
            s->mode = MODE_DOCUMENTS;
        }
        if ((k = top_step(s, e)) <= 0)
            return k;
        if (s->mode == MODE_DOCUMENTS)
            return next_document(s, r, e);
    }
}

void records_select(struct records *s, int64_t from, int64_t to)
{
    s->from = from;
    s->to = to;
}

static int read_rest(struct records *s, struct err *e)
{
    int k;
    do
        s->at = s->buf.len;
    while ((k = more(s, e)) > 0);
    return k;
}

int records_next(struct records *s, struct record *r, struct err *e)
{
    int k;
    if (s->number >= s->to)
        return read_rest(s, e);
    while (((k = next_record(s, r, e)) == 1 || k == RECORDS_BAD) && s->number < s->from)
        e->set = false; /* what is wrong with a record that is not asked for is no error */
    if (k == 0 && (s->number < s->from || (s->to < INT64_MAX && s->number < s->to)))
        return err_set(e, "%s: holds %lld record%s, but record %lld is asked for", input_name(s->in), (long long)s->number,
                       s->number == 1 ? "" : "s", (long long)(s->number < s->from ? s->from : s->to));
    return k;
}

/* ---- one record ---- */

static int check_depth(const struct record *r, struct err *e)
{
    size_t depth = 0;
    bool string = false;
    for (size_t i = 0; i < r->len; i++) {
        char c = r->text[i];
        if (string) {
            i += c == '\\';
            string = c != '"';
        } else if (c == '"') {
            string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > RECORDS_MAX_DEPTH)
                return err_set(e, "%s: record %lld (line %lld): nested deeper than %d levels", r->file, (long long)r->number, (long long)r->line,
                               RECORDS_MAX_DEPTH);
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        }
    }
    return 0;
}

json_t *record_parse(const struct record *r, struct err *e)
{
    json_error_t je;
    json_t *read = records_json(r->text, r->len);
    if (read)
        return read;
    if (check_depth(r, e) < 0)
        return NULL;
    size_t start = 0;
    while (start < r->len && memchr(" \t\r\n", r->text[start], 4))
        start++;
    if (start < r->len && r->text[start] != '{') {
        err_set(e, "%s: record %lld (line %lld): is not an object", r->file, (long long)r->number, (long long)r->line);
        return NULL;
    }
    json_t *j = json_loadb(r->text, r->len, JSON_REJECT_DUPLICATES, &je);
    if (!j) {
        if (strstr(je.text, "JSON_ALLOW_NUL"))
            snprintf(je.text, sizeof je.text, "a string holds the character NUL (\\u0000), which text cannot have");
        const char *at = strstr(je.text, " near '"); /* the excerpt can be as long as the record's strings */
        size_t len = at ? (size_t)(at - je.text) : strlen(je.text), end = strlen("file");
        bool cut = len > end && !at && !strcmp(je.text + len - end, "file"); /* "near end of file": there is more in the file */
        err_set(e, "%s: record %lld (line %lld): %.*s%s (line %lld, column %d)", r->file, (long long)r->number, (long long)r->line,
                (int)(cut ? len - end : len), je.text, cut ? "record" : "", (long long)r->line + (je.line > 1 ? je.line - 1 : 0), je.column);
        return NULL;
    }
    return j;
}
