/* gen --batch: records in, records out.
 *
 * Every record of the file (text/records.h; any shape that text/chat_data.h knows) is answered; a last assistant turn in it is not shown to the model
 * but kept as the reference. Out comes one JSON line per record, in the order of the file: the record as it was, then "response", "finish" ("stop" or
 * "length") and "tokens". raw: the record's "prompt" or "text" is continued without a template. */
#ifndef MODEL_RESPOND_BATCH_H
#define MODEL_RESPOND_BATCH_H

#include <stdio.h>

#include "model/respond.h"

struct respond_batch_result {
    int64_t records, references, matches; /* matches: responses that equal their reference, but for space around them */
    int64_t prompt_tokens, new_tokens;
};

int respond_batch(struct responder *r, const char *path, bool raw, FILE *out, struct respond_batch_result *result, struct err *e) MUST_CHECK;

#endif
