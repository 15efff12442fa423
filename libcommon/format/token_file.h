/* Token files: what tok-encode writes and every trainer reads. Layout: token-file(5).
 *
 * Little endian. One pass to a pipe or a file: header (magic, version, kind, provenance JSON), one record per sample (ids,
 * loss mask; where a prompt has answers, how long they are), then a footer (sample offsets, input hash, counts, XXH3-128 of everything before it, end marker). Readers map
 * the file (a pipe is read to its end), check length, hash and every record before the first sample is handed out: damage and
 * truncation are always noticed. A sample's first token never bears loss (nothing predicts it).
 *
 *     struct token_file *t = token_file_open("train.tok", &err);
 *     for (i = 0; i < t->n_samples; i++) { struct token_sample s = token_file_sample(t, i); ... }
 *     token_file_close(t);
 *
 *     struct token_writer *w = token_writer_begin(stream, "train.tok", TOKEN_KIND_SAMPLES, &provenance, &err);
 *     token_writer_add(w, ids, mask, n, &err); ...   token_writer_end(w, input_hash, &err);
 *
 * Kinds: samples; pairs (a prompt with a chosen and a rejected answer, the prompt stored once); labelled (a prompt with one answer and a
 * label). token_file_open takes all of them: who can use but one asks token_file_expect.
 *
 * Samples borrow from the file until it is closed. Errors name the file and the record or byte offset. */
#ifndef FORMAT_TOKEN_FILE_H
#define FORMAT_TOKEN_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/file.h"
#include "base/sha256.h"

#define TOKEN_FILE_MAX_VOCAB (1 << 30)
#define TOKEN_FILE_MAX_SAMPLE (1 << 28) /* tokens */

struct token_provenance {
    char tokenizer[SHA256_HEX];  /* model_folder_tokenizer_hash */
    char template_hash[SHA256_HEX]; /* from the chat stream's header, "" for raw text */
    char input[SHA256_HEX];      /* of the chat stream's bytes; set by the reader, ignored by token_writer_begin */
    int64_t vocab;               /* ids are below this */
    char *options;               /* JSON object: max_length, overlong, ... ; may be NULL */
};

/* What the records are. A reader refuses kinds it does not know. */
enum token_kind { TOKEN_KIND_SAMPLES = 0, TOKEN_KIND_PAIRS = 1, TOKEN_KIND_LABELLED = 2 };

struct token_sample {
    const uint32_t *ids;         /* n; aligned to 4 in the map. Pairs: prompt, chosen answer, rejected answer */
    const uint8_t *mask;         /* n; 1: this token is a training target. The first token of an answer may be one, no token of the prompt */
    uint32_t n, trained;
    uint32_t prompt;             /* pairs, labelled: tokens of the prompt, at least 1; samples: 0 */
    uint32_t chosen;             /* pairs: tokens of the chosen answer, the rest is the rejected one; labelled: of the answer; samples: 0 */
    bool label;                  /* labelled: the answer is desirable */
};

struct token_file {
    char *path;
    struct file_map map;
    bool borrowed;               /* token_file_parse: the memory is the caller's */
    enum token_kind kind;
    struct token_provenance provenance;
    int64_t n_samples, n_tokens, n_trained;
    uint32_t longest;            /* token_sample_length of the longest */
    const unsigned char *offsets; /* le64 each */
    char hash[33];               /* XXH3-128 of the contents, hex: identifies the file in checkpoints and logs */
};

struct token_file *token_file_open(const char *path, struct err *e) MUST_CHECK;
struct token_file *token_file_parse(const void *data, size_t size, const char *name, struct err *e) MUST_CHECK; /* borrowed memory, aligned to 8 */
void token_file_close(struct token_file *t);
struct token_sample token_file_sample(const struct token_file *t, int64_t i);
const char *token_kind_name(enum token_kind kind); /* "samples", "pairs", "labelled samples" */
/* -1 when it holds another kind; the error says what makes the wanted one. */
int token_file_expect(const struct token_file *t, enum token_kind kind, struct err *e) MUST_CHECK;
/* The longest text of a sample that a model sees: all of it; of a pair the prompt and the longer answer. */
uint32_t token_sample_length(const struct token_sample *s, enum token_kind kind);
/* Of samples: how many pairs of tokens there are of which the later one attends to the earlier, or to itself. */
double token_file_attended(const struct token_file *t);

struct token_writer;
/* `out` and the strings of `p` are borrowed (p only during the call); `path` names the file in messages. */
struct token_writer *token_writer_begin(FILE *out, const char *path, enum token_kind kind, const struct token_provenance *p, struct err *e) MUST_CHECK;
/* Samples. mask[0] must be 0 and at least one other byte 1, the rest 0; ids below p->vocab. */
int token_writer_add(struct token_writer *w, const uint32_t *ids, const uint8_t *mask, uint32_t n, struct err *e) MUST_CHECK;
/* Any kind (labelled: chosen is what the prompt leaves). Every answer has at least one trained token; s->trained is not read. */
int token_writer_put(struct token_writer *w, const struct token_sample *s, struct err *e) MUST_CHECK;
/* input: SHA-256 hex of the whole input, known only now; stored in the footer. Frees w in every case. */
int token_writer_end(struct token_writer *w, const char *input, struct err *e) MUST_CHECK;
void token_writer_free(struct token_writer *w);

#endif
