/* Generation at the level of tokens: prompts in, sampled tokens out, many sequences at once.
 *
 *     struct generator *g = generator_new(model, &options, &err);
 *     generator_run(g, requests, n, &sink, &err);
 *     generator_free(g);
 *
 * Up to `parallel` sequences are decoded together; sequences that end make room for the next requests as soon as a fourth of the places
 * is free (continuous batching). What comes out for a request depends on nothing but the request, the options and the model: passes over
 * prompts and over new tokens are bit-stable (see model/kv.h), and draws are keyed by the request's stream.
 * With one request, the part of the prompt that is the same as in the call before is not computed again (a chat's history). */
#ifndef MODEL_GENERATE_H
#define MODEL_GENERATE_H

#include "model/kv.h"
#include "model/sampler.h"

struct generate_options {
    struct sampler_options sampler;
    int parallel;              /* 1 .. MATMUL_FEW_ROWS */
    int64_t max_positions;     /* longest prompt plus its new tokens; the cache is planned for it */
    const int32_t *stop;       /* ids that end a sequence; they are not handed out */
    int n_stop;
};

enum generate_end { GENERATE_STOP, GENERATE_LENGTH, GENERATE_CUT };

struct generate_request {
    const int32_t *prompt;
    int64_t n_prompt;          /* at least 1 */
    int64_t max_tokens;
    uint64_t stream;           /* of random draws */
};

struct generate_sink {
    void *arg;
    /* One new token of request i, in order. Returns 0 to go on, 1 to end this sequence (GENERATE_CUT), -1 to stop everything. */
    int (*token)(void *arg, size_t request, int32_t id);
    /* Request i is done; requests end in any order. */
    int (*end)(void *arg, size_t request, enum generate_end why, int64_t n_tokens);
};

/* Where the time went, since generator_new. */
struct generate_times { int64_t prompt_tokens, new_tokens; double prompt_seconds, decode_seconds; };

struct generator;
struct generator *generator_new(struct model *m, const struct generate_options *o, struct err *e) MUST_CHECK;
void generator_free(struct generator *g);
int generator_run(struct generator *g, const struct generate_request *requests, size_t n, const struct generate_sink *sink, struct err *e) MUST_CHECK;
const struct generate_times *generator_times(const struct generator *g);

#endif
