#include "cli/progress.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cli/msg.h"

enum { LINE = 400 };
static const double first_draw = 1, redraw = 0.1, plain_line = 30; /* seconds */

static struct progress_state now;
static double started, begun, drawn_at;
static size_t drawn; /* columns on the screen */

static double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void progress_start_clock(void)
{
    started = clock_seconds();
}

double progress_seconds(void)
{
    return clock_seconds() - started;
}

/* VmHWM of /proc/self/status in bytes, -1 where there is none. Unlike ru_maxrss it begins anew with the program: the size of
 * whoever started it does not count. */
static int64_t high_water_mark(void)
{
    char line[200];
    long long kib = -1;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && kib < 0 && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lld kB", &kib) != 1)
            kib = -1;
    if (f)
        fclose(f);
    return kib < 0 ? -1 : kib * 1024;
}

int64_t progress_peak_memory(void)
{
    struct rusage u;
    int64_t peak = high_water_mark();
    if (peak >= 0)
        return peak;
    getrusage(RUSAGE_SELF, &u);
    return (int64_t)u.ru_maxrss * 1024;
}

static void format_scaled(char *to, size_t n, double x, const char *const *units)
{
    int i = 0;
    for (; x >= 999.5 && units[i + 1]; i++)
        x /= 1000;
    int decimals = i == 0 || x >= 99.95 ? 0 : x >= 9.995 ? 1 : 2;
    snprintf(to, n, "%.*f%s", decimals, x, units[i]);
}

void progress_format_bytes(char *to, unsigned long n, double bytes)
{
    static const char *const units[] = {" B", " kB", " MB", " GB", " TB", " PB", NULL};
    format_scaled(to, n, bytes, units);
}

void progress_format_count(char *to, unsigned long n, double count)
{
    static const char *const units[] = {"", "k", "M", "G", "T", NULL};
    format_scaled(to, n, count, units);
}

void progress_format_time(char *to, unsigned long n, double seconds)
{
    long long s = (long long)(seconds + 0.5);
    if (s < 3600)
        snprintf(to, n, "%02lld:%02lld", s / 60, s % 60);
    else
        snprintf(to, n, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
}

/* "1.78 step/s", "2.50 s/step", "14.6k record/s" */
static void format_rate(char *to, size_t n, double per_second, const char *unit)
{
    char number[32];
    bool slow = per_second < 1;
    double x = slow ? 1 / per_second : per_second;
    if (x < 999.5)
        snprintf(number, sizeof number, "%.*f", x < 9.995 ? 2 : x < 99.95 ? 1 : 0, x);
    else
        progress_format_count(number, sizeof number, x);
    snprintf(to, n, slow ? "%s s/%s" : "%s %s/s", number, unit);
}

void progress_format_line(char *to, unsigned long n, const struct progress_state *s)
{
    char elapsed[32], left[36] = "", rate[64] = "", tokens[48] = "", counts[96], number[32];
    double per_second = s->seconds > 0 ? (double)(s->done - s->from) / s->seconds : 0;
    progress_format_time(elapsed, sizeof elapsed, s->seconds);
    if (s->total > 0) {
        snprintf(counts, sizeof counts, "%3d%% %lld/%lld", (int)(100.0 * (double)s->done / (double)s->total),
                 (long long)s->done, (long long)s->total);
        left[0] = '<';
        if (per_second > 0)
            progress_format_time(left + 1, sizeof left - 1, (double)(s->total - s->done) / per_second);
        else
            snprintf(left, sizeof left, "<?");
    } else {
        snprintf(counts, sizeof counts, "%lld", (long long)s->done);
    }
    if (per_second > 0) {
        rate[0] = ',', rate[1] = ' ';
        format_rate(rate + 2, sizeof rate - 2, per_second, s->unit);
    }
    if (s->tokens > 0 && s->seconds > 0) {
        progress_format_count(number, sizeof number, (double)s->tokens / s->seconds);
        snprintf(tokens, sizeof tokens, ", %s tok/s", number);
    }
    snprintf(to, n, "%s %s [%s%s%s%s]%s%s", s->tool, counts, elapsed, left, rate, tokens, *s->note ? " " : "", s->note);
}

void progress_begin(const char *unit, int64_t from, int64_t total)
{
    now = (struct progress_state){msg_tool(), unit, "", from, from, total, 0, 0};
    begun = clock_seconds();
    drawn_at = begun;
}

static bool in_foreground(void)
{
    return isatty(STDERR_FILENO) && tcgetpgrp(STDERR_FILENO) == getpgrp();
}

static void put(const char *text, size_t len)
{
    if (write(STDERR_FILENO, text, len) < 0)
        drawn = 0; /* a line that cannot be shown is not worth failing for */
}

static void draw(void)
{
    char line[LINE + 2];
    struct winsize size;
    size_t width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1u : 79;
    line[0] = '\r';
    progress_format_line(line + 1, width < LINE ? width + 1 : LINE, &now);
    size_t len = strlen(line + 1), covered = len;
    for (; covered < drawn && covered < LINE; covered++)
        line[1 + covered] = ' ';
    drawn = len;
    put(line, 1 + covered);
}

void progress_step(int64_t done, int64_t tokens, const char *note)
{
    now.done = done;
    if (msg_verbosity() < 0)
        return;
    double t = clock_seconds();
    if (t - begun < first_draw || t - drawn_at < redraw)
        return;
    bool live = in_foreground();
    if (!live && t - drawn_at < plain_line)
        return;
    now.seconds = t - begun;
    now.tokens = tokens;
    now.note = note ? note : "";
    drawn_at = t;
    if (live) {
        draw();
        return;
    }
    char line[LINE];
    now.tool = "";
    progress_format_line(line, sizeof line, &now);
    now.tool = msg_tool();
    msg_info("%s", line + strspn(line, " "));
}

void progress_hide(void)
{
    if (!drawn)
        return;
    char blank[LINE + 2];
    size_t n = drawn < LINE ? drawn : LINE;
    memset(blank, ' ', sizeof blank);
    blank[0] = '\r';
    blank[n + 1] = '\r';
    drawn = 0;
    put(blank, n + 2);
}

void progress_end(void)
{
    progress_hide();
}
