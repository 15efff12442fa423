/* From files of chat data to lines of a chat stream, in the order of the records: what fmt-chat does between its options and its output.
 *
 *     struct chat_convert *c = chat_convert_new(&job, &sink);        both borrowed; the job's template comes from the sink
 *     chat_convert_file(c, "a.json", from, to, hash, &err);          records from..to, see records_select()
 *     chat_convert_free(c);
 *
 * Records are read in batches and rendered by all threads (chat_job_run). The first good record decides whether all are conversations or
 * raw text, and samples, pairs or labelled, and sink->settle is told. A record that cannot be used goes to sink->bad, which may let it pass. */
#ifndef TEXT_CHAT_CONVERT_H
#define TEXT_CHAT_CONVERT_H

#include "text/chat_job.h"

struct chat_convert_sink {
    void *arg;
    /* Before the first line: raw text, or conversations, for which it returns their template in *t (borrowed). -1 ends everything. */
    int (*settle)(void *arg, const char *file, bool raw, enum chat_stream_kind kind, const struct chat_template **t, struct err *e);
    /* The line of one sample. 0 to go on, 1: enough, the file ends here, -1 ends everything. */
    int (*line)(void *arg, const struct buf *line, struct err *e);
    /* One record cannot be used, for the reason `why`. 0 passes it over, -1 (with `e` filled) ends everything. */
    int (*bad)(void *arg, const struct err *why, struct err *e);
};

struct chat_convert;
/* `most`: how many records are read before any is handed out, 0: as many as is good. */
struct chat_convert *chat_convert_new(const struct chat_job *job, const struct chat_convert_sink *sink, int64_t most);
void chat_convert_free(struct chat_convert *c);

/* 0: the end of the file (or of the part), 1: the sink has enough, -1: an error. hash: SHA-256 of the file's bytes when 0. */
int chat_convert_file(struct chat_convert *c, const char *path, int64_t from, int64_t to, char hash[SHA256_HEX], struct err *e) MUST_CHECK;
int64_t chat_convert_records(const struct chat_convert *c); /* handed out or passed over, so far */
bool chat_convert_settled(const struct chat_convert *c);    /* there was a good record */

#endif
