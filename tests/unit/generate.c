/* Generation: greedy against logits of the whole text, batches against single runs, ends; and text from tokens as they come. */
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "model/generate.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tap.h"
#include "text/detokenize.h"

enum { REQUESTS = 20, MAX_TOKENS = 12, POSITIONS = 64 };

struct got {
    int32_t ids[REQUESTS][MAX_TOKENS];
    int64_t n[REQUESTS];
    enum generate_end why[REQUESTS];
    int32_t cut_at; /* a token that ends a sequence; -1: none */
};

static int on_token(void *arg, size_t request, int32_t id)
{
    struct got *g = arg;
    g->ids[request][g->n[request]++] = id;
    return id == g->cut_at;
}

static int on_end(void *arg, size_t request, enum generate_end why, int64_t n)
{
    struct got *g = arg;
    g->why[request] = why;
    return n == g->n[request] ? 0 : -1;
}

static struct model *make_model(const char *dir)
{
    struct err e = ERR_INIT;
    const char *build = getenv("BUILD");
    char *command = mem_printf("%s/tests/tools/make-model -q --vocab 272 -o %s/m", build ? build : "build", dir);
    const struct kernels *k = kernels_open("cpu", &e);
    char *path = mem_printf("%s/m", dir);
    struct model *m = system(command) == 0 ? model_open(path, k, &e) : NULL;
    if (!m) {
        printf("Bail out! no model: %s\n", e.text);
        exit(1);
    }
    free(command);
    free(path);
    return m;
}

static int32_t prompts[REQUESTS][8];

static struct got run(struct model *m, struct generate_options o, size_t n, size_t first, int32_t cut_at)
{
    struct err e = ERR_INIT;
    struct got *g = mem_zalloc(1, sizeof *g), result;
    struct generate_request requests[REQUESTS];
    struct generate_sink sink = {g, on_token, on_end};
    g->cut_at = cut_at;
    for (size_t i = 0; i < n; i++)
        requests[i] = (struct generate_request){prompts[first + i], 1 + (int64_t)(first + i) % 8, MAX_TOKENS, first + i};
    struct generator *gen = generator_new(m, &o, &e);
    if (!gen || generator_run(gen, requests, n, &sink, &e) < 0)
        printf("# %s\n", e.text);
    generator_free(gen);
    result = *g;
    free(g);
    return result;
}

/* Each greedy token is the argmax of the logits of all before it, computed at once. */
static void test_greedy(struct model *m, struct generate_options o)
{
    struct err e = ERR_INIT;
    struct got g = run(m, o, 1, 7, -1);
    int32_t ids[8 + MAX_TOKENS];
    float logits[272];
    int wrong = 0;
    memcpy(ids, prompts[7], sizeof prompts[7]);
    memcpy(ids + 8, g.ids[0], sizeof g.ids[0]);
    struct kv_cache *c = kv_cache_new(m, 1, POSITIONS, &e);
    for (int i = 0; i < MAX_TOKENS; i++) {
        kv_cache_reset(c, 0);
        struct kv_input in = {0, ids, 8 + i};
        if (kv_forward(c, &in, 1, logits, &e) < 0)
            wrong++;
        for (int v = 0; v < 272; v++)
            wrong += logits[v] > logits[ids[8 + i]] + 1e-5f;
    }
    kv_cache_free(c);
    is_int(g.n[0], MAX_TOKENS, "as many tokens as allowed");
    is_int(g.why[0], GENERATE_LENGTH, "and the length is named as the end");
    is_int(wrong, 0, "greedy tokens are the argmax of the whole text's logits");
}

static void test_batch(struct model *m, struct generate_options o)
{
    int wrong = 0;
    o.sampler.temperature = 1;
    o.parallel = 5;
    struct got all = run(m, o, REQUESTS, 0, -1);
    o.parallel = 16;
    struct got wide = run(m, o, REQUESTS, 0, -1);
    for (size_t i = 0; i < REQUESTS; i++) {
        struct got one = run(m, o, 1, i, -1);
        wrong += memcmp(one.ids[0], all.ids[i], sizeof one.ids[0]) || one.n[0] != all.n[i];
        wrong += memcmp(one.ids[0], wide.ids[i], sizeof one.ids[0]) != 0;
    }
    is_int(wrong, 0, "sampled answers do not depend on what runs beside them");
    ok(memcmp(all.ids[0], all.ids[8], sizeof all.ids[0]), "and differ from one another");
}

static void test_ends(struct model *m, struct generate_options o)
{
    struct err e = ERR_INIT;
    struct got free_run = run(m, o, 1, 7, -1);
    int32_t stop = free_run.ids[0][0];
    struct got cut = run(m, o, 1, 7, stop);
    ok(cut.n[0] == 1 && cut.why[0] == GENERATE_CUT, "the sink can cut an answer");
    o.stop = &stop;
    o.n_stop = 1;
    struct got stopped = run(m, o, 1, 7, -1);
    ok(stopped.n[0] == 0 && stopped.why[0] == GENERATE_STOP, "a stop token ends it and is not handed out");
    struct generator *g = generator_new(m, &(struct generate_options){o.sampler, 1, 8, NULL, 0}, &e);
    struct generate_request full = {prompts[7], 8, 4, 0};
    struct generate_sink sink = {NULL, on_token, on_end};
    ok(generator_run(g, &full, 1, &sink, &e) < 0, "a prompt that fills the context is refused");
    is_str(e.text, "a prompt of 8 tokens leaves no room in a context of 8", "and the error says so");
    generator_free(g);
}

/* What comes out piece by piece, with "|" after each piece. */
static char *pieces(const struct tokenizer *t, const char *text, const char *const *stops, int n_stops)
{
    struct err e = ERR_INIT;
    struct token_list ids = {0};
    struct buf out = BUF_INIT, piece = BUF_INIT;
    struct detokenizer *d = detokenizer_new(t, stops, n_stops);
    int k = tokenizer_encode(t, text, strlen(text), NULL, 0, false, &ids, &e) < 0 ? -1 : detokenizer_start(d, NULL, 0, &e);
    for (size_t i = 0; i <= ids.n && k == 0; i++) {
        buf_clear(&piece);
        k = i < ids.n ? detokenizer_add(d, ids.ids[i], &piece, &e) : detokenizer_end(d, &piece, &e);
        buf_add(&out, buf_str(&piece), piece.len);
        if (piece.len)
            buf_add_char(&out, '|');
    }
    buf_add_str(&out, k == 1 ? "stop" : "");
    detokenizer_free(d);
    token_list_release(&ids);
    buf_release(&piece);
    return buf_detach(&out);
}

static void is_pieces(const struct tokenizer *t, const char *text, const char *const *stops, int n, const char *want)
{
    char *got = pieces(t, text, stops, n);
    is_str(got, want, text);
    free(got);
}

static void test_detokenize(const char *dir)
{
    static const char *const stops[] = {"\n###", "END"};
    struct err e = ERR_INIT;
    char *path = mem_printf("%s/m", dir);
    struct tokenizer *t = tokenizer_open(path, &e); /* every byte is a token */
    is_pieces(t, "abc", NULL, 0, "a|b|c|");
    is_pieces(t, "h\xc3\xa9\xe2\x98\x83!\xf0\x9f\x98\x80", NULL, 0, "h|\xc3\xa9|\xe2\x98\x83|!|\xf0\x9f\x98\x80|");
    is_pieces(t, "a\n##b\n###c", stops, 2, "a|\n##b|stop");
    is_pieces(t, "E ENDs", stops, 2, "E |stop");
    is_pieces(t, "aEN", stops, 2, "a|EN|");
    tokenizer_close(t);
    free(path);
}

int main(void)
{
    char *dir = scratch_folder();
    struct model *m = make_model(dir);
    struct generate_options o = {{.top_p = 1, .repeat_penalty = 1, .seed = 5}, 1, POSITIONS, NULL, 0};
    for (int i = 0; i < REQUESTS; i++)
        for (int k = 0; k < 8; k++)
            prompts[i][k] = (i * 31 + k * 7 + 3) % 259;
    test_greedy(m, o);
    test_batch(m, o);
    test_ends(m, o);
    test_detokenize(dir);
    model_close(m);
    free(dir);
    return tap_end();
}
