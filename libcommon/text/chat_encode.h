/* From chat streams to samples as token ids, in the order of the stream: what tok-encode does between its options and its output.
 *
 *     struct chat_encode *c = chat_encode_new(tokenizer, &options, &sink);
 *     chat_encode_begin(c, chat_stream_header(stream));       once, for the header that all streams share
 *     chat_encode_stream(c, stream, &err);                    each stream
 *     chat_encode_counts(c); chat_encode_free(c);
 *
 * Samples are read in batches and encoded by all threads (sample_tokens_encode, answer_tokens_encode); those with more tokens than fit are dealt with as the
 * options say. Everything given is borrowed. Errors name the sample by its file and record, or the stream and its line. */
#ifndef TEXT_CHAT_ENCODE_H
#define TEXT_CHAT_ENCODE_H

#include "text/chat_stream.h"
#include "text/sample_tokens.h"

enum chat_overlong { CHAT_OVERLONG_ERROR, CHAT_OVERLONG_TRUNCATE, CHAT_OVERLONG_DROP, CHAT_OVERLONG_SPLIT };

struct chat_encode_options {
    struct sample_tokens_options how;
    int64_t max_length; /* tokens that a sample may have, >= 2; 0: any number */
    enum chat_overlong overlong; /* split: samples only */
};

struct chat_encode_counts {
    int64_t samples, bytes;                                   /* read, and their text */
    int64_t skipped;                                          /* records that fmt-chat had left out */
    int64_t dropped, truncated, split, pieces, lost;          /* lost: pieces without a trained token */
    int64_t unanswered;                                       /* left out: truncated, an answer had no trained token, or both were the same */
    int64_t written, tokens, trained;
};

struct chat_encode_sink {
    void *arg;
    /* One sample, a piece of one, a pair or a labelled sample. -1 ends everything. */
    int (*tokens)(void *arg, const struct sample_tokens *t, struct err *e);
    void (*dropped)(void *arg, const char *source, int64_t record, size_t n_tokens);
    void (*progress)(void *arg, const struct chat_encode_counts *so_far); /* after each batch */
};

struct chat_encode;
struct chat_encode *chat_encode_new(const struct tokenizer *t, const struct chat_encode_options *o, const struct chat_encode_sink *sink);
void chat_encode_begin(struct chat_encode *c, const struct chat_stream_header *h);
int chat_encode_stream(struct chat_encode *c, struct chat_stream *s, struct err *e) MUST_CHECK; /* to its end */
const struct chat_encode_counts *chat_encode_counts(const struct chat_encode *c);
void chat_encode_free(struct chat_encode *c); /* NULL is fine */

#endif
