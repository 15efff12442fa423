/* gen --batch: records in, records out.
 *
 * Every record of the file (text/records.h; any shape that text/chat_data.h knows, or a chat stream of prompts) is answered; an answer that it has
 * already (a last assistant turn, "output", "completion") is not shown to the model but kept as the reference. Out comes one JSON line per record, in
 * the order of the file: the record as it was, then "reference" where there is one, "response", "finish" ("stop" or "length") and "tokens"; keys of
 * the record with these names are replaced. Strings under "prompt" and "text" are continued as they are, without a template. */
#ifndef MODEL_RESPOND_BATCH_H
#define MODEL_RESPOND_BATCH_H

#include <stdio.h>

#include "model/respond.h"

struct respond_batch_result {
    int64_t records, references, right; /* right: responses that equal their reference, but for space around them */
    int64_t prompt_tokens, new_tokens;
};

struct respond_batch_options {
    int64_t from, to;  /* the records to answer, see records_select(); record N draws from stream N - 1, whatever is selected */
    bool raw;          /* the record's "prompt" or "text" is continued, whatever else it has */
};

int respond_batch(struct responder *r, const char *path, const struct respond_batch_options *o, FILE *out, struct respond_batch_result *result,
                  struct err *e) MUST_CHECK;

#endif
