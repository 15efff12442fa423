/* Log-probabilities of the reference (format/ref_logprobs.h), computed by a model that is opened for that and closed again: the folder
 * that is trained (mapped a second time, which costs no memory) with the adapter that training starts from, or another one. So they do not
 * depend on what a run has done so far.
 *
 *     struct preference_source s = {...};
 *     preference_reference_look(&s, tokens, &look, e)              what a file must say to be of this source and data, and what the pass costs
 *     preference_reference_write(&s, tokens, path, force, e)       computes and writes it
 *                                                              1: stopped, 2: not finite; nothing is written then
 *     ref = preference_reference_open(path, &want, tokens, mismatched, e)
 */
#ifndef TRAIN_PREFERENCE_REFERENCE_H
#define TRAIN_PREFERENCE_REFERENCE_H

#include "base/buf.h"
#include "format/ref_logprobs.h"

struct preference_source {
    const char *model, *adapter;    /* folders; adapter may be NULL */
    const char *dtype;              /* as --dtype */
    bool mismatched;                /* labelled samples: also the answer of the sample before */
    bool other;                     /* than the model that is trained: what is wrong with it is said of --ref-model */
    int64_t rows, memory;           /* rows at once, 0: chosen; bytes that may be used, 0: what there is, negative: unknown */
    int (*stop)(void);
    void (*begin)(int64_t samples); /* progress, may be NULL both */
    void (*progress)(int64_t done);
};

struct preference_look {
    struct ref_provenance want;
    double flops, rows;             /* of the pass over the data */
};
/* An error when another model cannot be the reference, or needs more memory. */
int preference_reference_look(const struct preference_source *s, const struct token_file *t, struct preference_look *to, struct err *e) MUST_CHECK;
int preference_reference_write(const struct preference_source *s, const struct token_file *t, const char *path, bool force, struct err *e) MUST_CHECK;
/* Appends what writing would take; an error when there is not so much memory. */
int preference_reference_plan(const struct preference_source *s, const struct token_file *t, const char *path, struct buf *b, struct err *e) MUST_CHECK;
struct ref_logprobs *preference_reference_open(const char *path, const struct ref_provenance *want, const struct token_file *t, bool mismatched,
                                               struct err *e) MUST_CHECK;

#endif
