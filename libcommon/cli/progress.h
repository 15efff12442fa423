/* One progress line on stderr: drawn after 1 s, at most 10 times a second, when stderr is a terminal and we are in
 * the foreground; a plain line every 30 s otherwise; nothing with -q.
 *     lora-train  43% 1290/3000 [12:04<16:01, 1.78 step/s, 14.6k tok/s] loss 1.234
 * Without a total there is a count and a rate and no ETA. `from` > 0 (a resumed run): the rate counts from there.
 * Any msg_* call first clears the line. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdint.h>

void progress_begin(const char *unit, int64_t from, int64_t total);      /* total 0: unknown */
void progress_step(int64_t done, int64_t tokens, const char *note);      /* tokens: since begin, 0: not shown; note: "" or e.g. "loss 1.234" */
void progress_end(void);
void progress_hide(void);                                                /* takes the line off the screen until the next step */

/* The text of the line, for `seconds` since begin; what it shows is cut to n - 1 bytes. */
struct progress_state {
    const char *tool, *unit, *note;
    int64_t from, done, total, tokens;
    double seconds;
};
void progress_format_line(char *to, unsigned long n, const struct progress_state *s);

/* For the last line of a run. */
double progress_seconds(void);          /* since cli_begin */
int64_t progress_peak_memory(void);     /* bytes that were resident at most, since this program began */
void progress_format_bytes(char *to, unsigned long n, double bytes);   /* "1.4 GB", decimal units */
void progress_format_count(char *to, unsigned long n, double count);   /* "14.6k": three digits and k, M, G, T */
void progress_format_time(char *to, unsigned long n, double seconds);  /* "12:04", "1:00:59" */
void progress_start_clock(void);        /* by cli_begin */

#endif
