/* Log-probabilities of a reference model, computed once: what dpo-train --write-ref writes. Layout: ref-logprobs(5).
 *
 * One record per sample of one token file: for each of its answers the log-probability of every trained token, f32, in their order. Every loss
 * can be formed from these (sums, means per token, LD-DPO's weights). 4 bytes a trained token; the token file has 5 a token.
 *
 *     struct ref_logprobs *r = ref_logprobs_open("ref.lp", &err);                    checks length, hash, every value
 *     if (ref_logprobs_expect(r, &mine, tokens, mismatched, &err) < 0) ...          made for this run?
 *     struct ref_answer y = ref_logprobs_answer(r, i, 0);                           ref_logprobs_close(r)
 *
 *     struct ref_writer *w = ref_writer_begin(stream, "ref.lp", TOKEN_KIND_PAIRS, false, &mine, &err);
 *     ref_writer_add(w, chosen, n_chosen, rejected, n_rejected, &err); ...          ref_writer_end(w, &err);
 *
 * Files are mapped; answers borrow from the file until it is closed. Errors name the file, and the record or what differs. */
#ifndef FORMAT_REF_LOGPROBS_H
#define FORMAT_REF_LOGPROBS_H

#include "format/token_file.h"

enum { REF_ARITHMETIC = 32 };

/* What the values depend on. */
struct ref_provenance {
    char model[SHA256_HEX];          /* model_folder_fingerprint */
    char adapter[SHA256_HEX];        /* adapter_hash, "" without one */
    char data[33];                   /* hash of the token file */
    char arithmetic[REF_ARITHMETIC]; /* "bf16", "f32": of the products; printable ASCII, not empty */
};

struct ref_logprobs {
    char *path;
    struct file_map map;
    bool borrowed;            /* ref_logprobs_parse: the memory is the caller's */
    enum token_kind kind;     /* pairs or labelled samples */
    bool mismatched;          /* labelled: the second answer of a sample is that of the sample before it, the first sample's the last's */
    struct ref_provenance provenance;
    char *tool;               /* program and version that wrote it */
    int64_t n_samples, n_values;
    const unsigned char *offsets; /* le64 each */
    char hash[33];            /* XXH3-128 of the contents, hex */
};

/* n is 0 only for the second answer of labelled samples without mismatched ones. */
struct ref_answer {
    const float *logp;
    uint32_t n;
};

struct ref_logprobs *ref_logprobs_open(const char *path, struct err *e) MUST_CHECK;
struct ref_logprobs *ref_logprobs_parse(const void *data, size_t size, const char *name, struct err *e) MUST_CHECK; /* borrowed memory, aligned to 8 */
void ref_logprobs_close(struct ref_logprobs *r);
struct ref_answer ref_logprobs_answer(const struct ref_logprobs *r, int64_t sample, int answer);

/* Sums in double, in the order of the tokens: of the first `shared` values and of the rest. */
void ref_answer_sum(const struct ref_answer *y, uint32_t shared, double *first, double *rest);

/* -1 when the file does not fit: the first thing that differs is named (model, adapter, data, arithmetic, mismatched answers, trained tokens of a
 * record). `mismatched`: the run needs them; a file that has them fits a run that does not. */
int ref_logprobs_expect(const struct ref_logprobs *r, const struct ref_provenance *want, const struct token_file *tokens, bool mismatched,
                        struct err *e) MUST_CHECK;

struct ref_writer;
/* `out` and `path` are borrowed, p only during the call. */
struct ref_writer *ref_writer_begin(FILE *out, const char *path, enum token_kind kind, bool mismatched, const struct ref_provenance *p, struct err *e) MUST_CHECK;
/* Samples in the token file's order. Values that are not finite are refused. */
int ref_writer_add(struct ref_writer *w, const float *first, uint32_t n_first, const float *second, uint32_t n_second, struct err *e) MUST_CHECK;
int ref_writer_end(struct ref_writer *w, struct err *e) MUST_CHECK; /* frees w in every case */
void ref_writer_free(struct ref_writer *w);

#endif
