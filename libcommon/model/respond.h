/* Answers in text: a conversation or a raw prompt goes in, pieces of whole UTF-8 text come out.
 *
 *     struct responder *r = responder_new(model, "model/", &options, &err);
 *     struct token_list ids = {0};
 *     responder_prompt(r, sample, &ids, &err);                {"messages": [...]} through the model's template; or responder_raw()
 *     responder_run(r, &ids, 1, &sink, &err);
 *     responder_free(r);
 *
 * Sequences end at the end tokens of generation_config.json (else config.json), at the turn ends of the chat template, at a stop string, or after
 * max_tokens. Prompts are rendered by text/chat.h, as the training data was, and never get a second bos. */
#ifndef MODEL_RESPOND_H
#define MODEL_RESPOND_H

#include <jansson.h>

#include "model/generate.h"
#include "model/generation_config.h"
#include "text/tokenizer.h"

struct respond_options {
    struct sampler_options sampler;
    int64_t max_tokens;          /* new tokens per answer */
    int parallel;                /* answers decoded together, 1 .. MATMUL_FEW_ROWS */
    const char *const *stops;    /* stop strings, borrowed */
    int n_stops;
    const char *template_name;   /* NULL: the model's own */
    const char *system;          /* for conversations without a system message; NULL: none */
    bool raw;                    /* no template is opened */
    const char *const *adapters; /* folders, borrowed: the model's own template must be the one that they were trained with */
    int n_adapters;
};

struct respond_sink {
    void *arg;
    int (*text)(void *arg, size_t request, const char *text, size_t len); /* -1 ends everything */
    int (*end)(void *arg, size_t request, enum generate_end why, int64_t n_tokens);
};

struct responder;
struct responder *responder_new(struct model *m, const char *dir, const struct generation_config *g, const struct respond_options *o, struct err *e) MUST_CHECK;
void responder_free(struct responder *r);

int responder_prompt(struct responder *r, const json_t *sample, struct token_list *ids, struct err *e) MUST_CHECK;
/* Rendered text; special tokens are not recognised in the `plain` ranges (ascending). */
int responder_encode(struct responder *r, const char *text, size_t len, const struct text_range *plain, size_t n_plain, struct token_list *ids,
                     struct err *e) MUST_CHECK;
int responder_raw(struct responder *r, const char *text, size_t len, struct token_list *ids, struct err *e) MUST_CHECK;

/* stream of request i is first_stream + i: runs that differ only in how requests are grouped give the same answers. */
int responder_run(struct responder *r, const struct token_list *prompts, size_t n, uint64_t first_stream, const struct respond_sink *sink,
                  struct err *e) MUST_CHECK;
/* Of all runs so far. */
struct generate_times responder_times(const struct responder *r);

#endif
