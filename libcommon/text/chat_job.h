/* From a record of chat data to a sample's line of a chat stream: what fmt-chat does with each record.
 *
 *     struct chat_job job = {.template = t, .format = CHAT_DATA_AUTO};
 *     chat_job_look(&job, &record, &raw, &kind, &err)                 is it raw text, which no template touches? a sample, a pair ...?
 *     chat_job_run(&job, &record, &line, &err)                        appends the line
 * A job is not changed by running, and may be run by many threads at once. Errors say "file: record N (line L): ...". */
#ifndef TEXT_CHAT_JOB_H
#define TEXT_CHAT_JOB_H

#include "base/buf.h"
#include "text/chat.h"
#include "text/chat_data.h"
#include "text/records.h"

struct chat_job {
    const struct chat_template *template; /* NULL: raw text */
    enum chat_data_format format;
    enum chat_stream_kind kind;           /* of the stream: a record of another kind is an error. Prompts can be had of every kind */
    double desirable;                     /* ratings from here on are good; NAN: none */
    struct chat_options options;
};

int chat_job_look(const struct chat_job *job, const struct record *r, bool *raw, enum chat_stream_kind *kind, struct err *e) MUST_CHECK;
int chat_job_run(const struct chat_job *job, const struct record *r, struct buf *line, struct err *e) MUST_CHECK;

#endif
