#include "text/sample_tokens.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

void sample_tokens_reserve(struct sample_tokens *s, size_t n)
{
    if (n <= s->cap)
        return;
    s->cap = n + n / 2;
    s->ids = mem_array(s->ids, s->cap, sizeof *s->ids);
    s->mask = mem_array(s->mask, s->cap, 1);
}

static size_t plain_ranges(const struct chat_sample *s, struct sample_scratch *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_parts; i++) {
        const struct chat_part *p = &s->parts[i];
        if (!p->data)
            continue;
        if (n && out->plain[n - 1].end == p->start) {
            out->plain[n - 1].end = p->end;
        } else {
            out->plain = mem_grow(out->plain, &out->cap_plain, n + 1, sizeof *out->plain);
            out->plain[n++] = (struct text_range){p->start, p->end};
        }
    }
    return n;
}

/* Tokens and spans both go forward, so one walk over the two finds which of them overlap. */
static void mark_trained(const struct chat_sample *s, const struct token_list *l, struct sample_tokens *out)
{
    size_t k = 0;
    for (size_t i = 0; i < l->n; i++) {
        while (k < s->n_parts && (!s->parts[k].train || s->parts[k].end <= l->start[i]))
            k++;
        out->ids[i] = l->ids[i];
        out->mask[i] = i > 0 && k < s->n_parts && l->end[i] > l->start[i] && s->parts[k].start < l->end[i];
    }
    out->n = l->n;
}

int sample_tokens_list(const struct tokenizer *t, const struct chat_sample *s, bool raw, struct sample_scratch *scratch, struct err *e)
{
    size_t n_plain = plain_ranges(s, scratch);
    token_list_clear(&scratch->list);
    return tokenizer_encode(t, buf_str(&s->text), s->text.len, scratch->plain, n_plain, raw, &scratch->list, e);
}

int sample_tokens_encode(const struct tokenizer *t, const struct chat_sample *s, const struct sample_tokens_options *o,
                         struct sample_scratch *scratch, struct sample_tokens *out, struct err *e)
{
    if (sample_tokens_list(t, s, o->raw, scratch, e) < 0)
        return -1;
    sample_tokens_reserve(out, scratch->list.n + 1);
    mark_trained(s, &scratch->list, out);
    if (o->raw) {
        if (out->n == 0 || out->ids[out->n - 1] != o->eos)
            out->ids[out->n++] = (uint32_t)o->eos;
        out->mask[out->n - 1] = out->n > 1;
    }
    out->trained = 0;
    for (size_t i = 0; i < out->n; i++)
        out->trained += out->mask[i];
    return out->trained ? 0 : err_set(e, "nothing to train in its %zu token%s", out->n, out->n == 1 ? "" : "s");
}

size_t sample_tokens_pieces(size_t n, size_t most)
{
    return n <= most ? 1 : (n - 2) / (most - 1) + 1;
}

void sample_tokens_piece(const struct sample_tokens *s, size_t most, size_t k, struct sample_tokens *to)
{
    size_t from = k * (most - 1), n = s->n - from < most ? s->n - from : most;
    sample_tokens_reserve(to, n);
    memcpy(to->ids, s->ids + from, n * sizeof *to->ids);
    memcpy(to->mask, s->mask + from, n);
    to->mask[0] = 0;
    to->n = n;
    to->trained = 0;
    for (size_t i = 0; i < n; i++)
        to->trained += to->mask[i];
}

void sample_tokens_release(struct sample_tokens *s)
{
    free(s->ids);
    free(s->mask);
    *s = (struct sample_tokens){0};
}

void sample_scratch_release(struct sample_scratch *s)
{
    token_list_release(&s->list);
    free(s->plain);
    sample_tokens_release(&s->branch[0]);
    sample_tokens_release(&s->branch[1]);
    chat_sample_release(&s->joined);
    *s = (struct sample_scratch){0};
}

/* An object, or NULL when there is no such file. Its integers are reals: model_max_length often has thirty digits. */
static int load(const char *dir, const char *name, json_t **to, struct err *e)
{
    struct buf b = BUF_INIT;
    json_error_t je;
    char *path = file_join(dir, name);
    int r = 0;
    *to = NULL;
    if (file_exists(path)) {
        r = file_read(&b, path, 16 << 20, e);
        *to = r == 0 ? json_loadb(buf_str(&b), b.len, JSON_DECODE_INT_AS_REAL, &je) : NULL;
        if (r == 0 && !json_is_object(*to)) {
            r = err_set(e, "%s: line %d: %s", path, *to ? 1 : je.line, *to ? "not a JSON object" : je.text);
            json_decref(*to);
            *to = NULL;
        }
    }
    buf_release(&b);
    free(path);
    return r;
}

int sample_tokens_eos(const char *dir, const struct tokenizer *t, int64_t *id, struct err *e)
{
    static const char *const files[] = {"tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "config.json"};
    *id = -1;
    for (int i = 0; i < 4 && *id < 0; i++) {
        json_t *j;
        if (load(dir, files[i], &j, e) < 0)
            return -1;
        json_t *token = json_object_get(j, i < 2 ? "eos_token" : "eos_token_id");
        if (json_is_object(token))
            token = json_object_get(token, "content");
        if (json_is_array(token)) /* of several the first is the one that ends a text */
            token = json_array_get(token, 0);
        if (json_is_string(token))
            *id = tokenizer_id(t, json_string_value(token), json_string_length(token));
        else if (json_is_real(token) && json_real_value(token) >= 0 && json_real_value(token) < (double)tokenizer_size(t))
            *id = (int64_t)json_real_value(token);
        json_decref(j);
    }
    return 0;
}

int sample_tokens_context(const char *dir, int64_t *n, struct err *e)
{
    json_t *j;
    if (load(dir, "config.json", &j, e) < 0)
        return -1;
    double most = json_number_value(json_object_get(j, "max_position_embeddings"));
    *n = most >= 1 && most < 0x1p53 ? (int64_t)most : 0;
    json_decref(j);
    return 0;
}
