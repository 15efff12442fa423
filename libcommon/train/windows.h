/* A text as windows of tokens, for its perplexity by the protocols that published numbers follow. The text is tokenized at once, with what the
 * tokenizer puts before a text; each window is a sample of a token file in memory, whose mask says which of its tokens count.
 *
 *   plain     windows side by side, the rest left out; every token of a window but its first counts. E. Frantar's GPTQ (llama.py, llama_eval),
 *             whose WikiText-2 tables AWQ and others continue.
 *   stride    windows begin every `stride` tokens until one reaches the end, which may be short; the tokens that no window before had
 *             count: transformers, "Perplexity of fixed-length models". (The loop printed there weighs the mean of a window by one less than
 *             the number of its tokens that count, where windows overlap; here every token weighs the same.)
 *   half      windows side by side, the rest left out, at least two; the first token of each is the one that the tokenizer puts before a text, if
 *             there is such, and those behind the token at window / 2 count. Names of special tokens are text. llama.cpp (tools/perplexity).
 *
 *     windows_open(&w, "model/", "wiki.txt", &o, &e); evaluate(decoder, &pack, w.file, ...); windows_close(&w); */
#ifndef TRAIN_WINDOWS_H
#define TRAIN_WINDOWS_H

#include "format/token_file.h"

struct windows_options {
    int64_t window;            /* tokens, at least 2 */
    int64_t stride;            /* 1 .. window; 0: windows side by side */
    bool half;                 /* not with a stride */
};

struct windows {
    struct token_file *file;   /* one sample a window */
    int64_t tokens;            /* of the whole text */
    char *data;
};

int windows_open(struct windows *w, const char *model, const char *path, const struct windows_options *o, struct err *e) MUST_CHECK;
void windows_close(struct windows *w);

#endif
