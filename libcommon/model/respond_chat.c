#include "model/respond_chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/chat_history.h"
#include "text/utf8.h"

struct respond_chat {
    struct responder *responder;
    struct respond_chat_sink sink;
    struct chat_history *history;
    struct buf reply;
    uint64_t turn;
};

struct respond_chat *respond_chat_new(struct responder *r, const struct respond_chat_sink *sink)
{
    struct respond_chat *c = mem_zalloc(1, sizeof *c);
    c->responder = r;
    c->sink = *sink;
    c->history = chat_history_new();
    return c;
}

void respond_chat_free(struct respond_chat *c)
{
    if (!c)
        return;
    chat_history_free(c->history);
    buf_release(&c->reply);
    free(c);
}

static enum respond_chat_result run_command(struct respond_chat *c, const char *line, struct err *e)
{
    if (!strcmp(line, "/quit") || !strcmp(line, "/exit"))
        return RESPOND_CHAT_QUIT;
    if (!strncmp(line, "/system", 7) && (line[7] == ' ' || !line[7])) {
        chat_history_system(c->history, line[7] ? line + 8 : NULL);
    } else if (!strcmp(line, "/reset")) {
        chat_history_reset(c->history);
    } else {
        err_set(e, "%s: unknown command; there are /reset, /system TEXT and /quit", line);
        return RESPOND_CHAT_REFUSED;
    }
    return RESPOND_CHAT_DONE;
}

static int keep_text(void *arg, size_t request, const char *text, size_t len)
{
    struct respond_chat *c = arg;
    buf_add(&c->reply, text, len);
    return c->sink.answer.text(c->sink.answer.arg, request, text, len);
}

static int pass_end(void *arg, size_t request, enum generate_end why, int64_t n)
{
    struct respond_chat *c = arg;
    return c->sink.answer.end(c->sink.answer.arg, request, why, n);
}

/* A question that does not render, or no longer fits, is taken back. */
static enum respond_chat_result answer(struct respond_chat *c, const char *line, struct err *e)
{
    const struct respond_sink sink = {c, keep_text, pass_end};
    struct token_list ids = {0};
    enum respond_chat_result result = RESPOND_CHAT_REFUSED;
    json_t *sample = chat_history_ask(c->history, line);
    if (responder_prompt(c->responder, sample, &ids, e) < 0) {
        chat_history_take_back(c->history);
    } else {
        buf_clear(&c->reply);
        c->sink.begin(c->sink.answer.arg, (int64_t)ids.n);
        result = responder_run(c->responder, &ids, 1, c->turn++, &sink, e) < 0 ? RESPOND_CHAT_FAILED : RESPOND_CHAT_DONE;
        c->sink.finish(c->sink.answer.arg);
        chat_history_answer(c->history, buf_str(&c->reply), c->reply.len);
    }
    json_decref(sample);
    token_list_release(&ids);
    return result;
}

enum respond_chat_result respond_chat_line(struct respond_chat *c, const char *line, size_t len, struct err *e)
{
    if (line[0] == '/')
        return run_command(c, line, e);
    if (utf8_valid(line, len) < len) {
        err_set(e, "that line is not valid UTF-8");
        return RESPOND_CHAT_REFUSED;
    }
    return strspn(line, " \t") < len ? answer(c, line, e) : RESPOND_CHAT_DONE;
}
