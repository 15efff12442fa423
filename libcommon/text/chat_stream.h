/* Chat streams: what fmt-chat writes, and tok-encode and gen --batch read. Format: chat-stream(5).
 *
 * JSON lines: a header, a record per sample (its text in spans, each marked trained or not, data or not), an end record with
 * counts. Where a prompt has a chosen and a rejected answer, or one answer and a label, these follow the prompt's spans. A stream without its end record is an error, so a producer that dies in the middle of a pipe is always noticed. Streams may follow one
 * another (cat) when their templates are the same.
 *
 * Writing appends lines to a buffer, so many threads can write samples at once:
 *     chat_stream_put_header(&b, &header);
 *     chat_sample_begin(&b, "a.json", 17); chat_sample_span(&b, text, len, train, data); ... chat_sample_end(&b);
 *     of a pair behind the prompt: chat_sample_answer(&b, "chosen"); spans; chat_sample_answer(&b, "rejected"); spans; chat_sample_end(&b);
 *     of a labelled sample:        chat_sample_answer(&b, "completion"); spans; chat_sample_end_label(&b, true);
 *     chat_stream_put_end(&b, &totals);
 * Reading hands out lines, which chat_sample_parse turns into samples, in many threads if need be:
 *     struct chat_stream *s = chat_stream_open("-", CHAT_SAMPLES | CHAT_PAIRS, &err);
 *     while ((k = chat_stream_next(s, &line, &len, &number, &err)) == 1)
 *         chat_sample_parse(line, len, chat_stream_header(s)->kind, &sample, &err);
 * Errors of the stream name the file and the line; those of chat_sample_parse say only what is wrong. */
#ifndef TEXT_CHAT_STREAM_H
#define TEXT_CHAT_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"

#define CHAT_STREAM_START "{\"chat_stream\":" /* every stream begins with these bytes */
#define CHAT_STREAM_MAX_LINE (256 << 20)

struct XXH3_state_s;

/* Prompts end with the assistant's opening and train nothing. Bits, so that a reader can take several. */
enum chat_stream_kind { CHAT_SAMPLES = 1, CHAT_PROMPTS = 2, CHAT_PAIRS = 4, CHAT_LABELLED = 8 };

const char *chat_stream_kind_name(enum chat_stream_kind kind); /* "samples", "prompts", "pairs", "labelled" */

struct chat_stream_header {
    enum chat_stream_kind kind;
    char *template_name;             /* NULL: raw text: the tokenizer's own special tokens and the end of text are added by tok-encode */
    char template_hash[SHA256_HEX];  /* "" for raw text */
    char *turn_ends;                 /* JSON list of the control tokens that end turns in this template; NULL: not told */
    char *options;                   /* JSON object; NULL: {} */
};

void chat_stream_put_header(struct buf *b, const struct chat_stream_header *h);

void chat_sample_begin(struct buf *b, const char *source, int64_t record);
void chat_sample_span(struct buf *b, const char *text, size_t len, bool train, bool data); /* valid UTF-8; empty spans are left out */
void chat_sample_answer(struct buf *b, const char *name);
void chat_sample_end(struct buf *b);
void chat_sample_end_label(struct buf *b, bool label);

struct chat_source { const char *name; char hash[SHA256_HEX]; };

/* What the end record says. `hash`: a state that has seen every byte of the stream before the end record. */
struct chat_stream_totals {
    int64_t samples, skipped;
    const struct chat_source *sources;
    int n_sources;
    struct XXH3_state_s *hash;
};

void chat_stream_put_end(struct buf *b, const struct chat_stream_totals *t);

/* ---- reading ---- */

struct chat_stream;

/* kinds: those that can be used; all streams that follow one another are of one kind. */
struct chat_stream *chat_stream_open(const char *path, unsigned kinds, struct err *e) MUST_CHECK;
struct chat_stream *chat_stream_memory(const void *data, size_t len, const char *name, unsigned kinds, struct err *e) MUST_CHECK;
const struct chat_stream_header *chat_stream_header(const struct chat_stream *s);
const char *chat_stream_name(const struct chat_stream *s);
/* 1: the line of a sample, borrowed until the next call. 0: the end, counts checked. -1: an error. */
int chat_stream_next(struct chat_stream *s, const char **line, size_t *len, int64_t *number, struct err *e) MUST_CHECK;
void chat_stream_hash(const struct chat_stream *s, char hex[SHA256_HEX]); /* of the bytes as stored, once at the end */
int64_t chat_stream_skipped(const struct chat_stream *s);                 /* records that fmt-chat left out */
void chat_stream_close(struct chat_stream *s);

struct chat_part { size_t start, end; bool train, data; }; /* bytes of text */

struct chat_sample {
    struct buf source;               /* the file that the sample came from */
    int64_t record;                  /* and its number there, from 1 */
    struct buf text;                 /* valid UTF-8; of a pair: prompt, chosen answer, rejected answer */
    struct chat_part *parts;         /* adjacent, not empty, covering the text */
    size_t n_parts, cap_parts;
    size_t n_prompt, n_chosen;       /* pairs, labelled: parts of the prompt (none trained), and of the chosen or only answer; else 0 */
    bool label;                      /* labelled: desirable */
};

/* Fills `s`, whose memory is used again; zero-initialise it once. */
int chat_sample_parse(const char *line, size_t len, enum chat_stream_kind kind, struct chat_sample *s, struct err *e) MUST_CHECK;
void chat_sample_release(struct chat_sample *s);

#endif
