#include "cli/msg.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/progress.h"

static const char *tool = "finetools";
static int verbosity;

void msg_init(const char *name, int level)
{
    tool = name;
    verbosity = level;
}

const char *msg_tool(void)
{
    return tool;
}

int msg_verbosity(void)
{
    return verbosity;
}

/* One write, so that lines of the tools of a pipeline do not mix. File contents may be quoted in the text: control
 * characters are shown as '?' lest they drive the terminal. */
__attribute__((format(printf, 1, 0))) static void say(const char *format, va_list ap)
{
    char line[4096];
    size_t room = sizeof line - 1, len = (size_t)snprintf(line, room, "%s: ", tool);
    int n = vsnprintf(line + len, room - len, format, ap);
    if (n < 0)
        return;
    len += (size_t)n < room - len ? (size_t)n : room - len - 1;
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)line[i] < 0x20 && line[i] != '\n' && line[i] != '\t') || line[i] == 0x7f)
            line[i] = '?';
    line[len++] = '\n';
    progress_hide();
    for (size_t at = 0; at < len;) {
        ssize_t r = write(STDERR_FILENO, line + at, len - at);
        if (r <= 0)
            return; /* nobody is listening: the exit status still tells */
        at += (size_t)r;
    }
}

#define SAY()                 \
    do {                      \
        va_list ap;           \
        va_start(ap, format); \
        say(format, ap);      \
        va_end(ap);           \
    } while (0)

void msg_info(const char *format, ...)
{
    if (verbosity >= 0)
        SAY();
}

void msg_verbose(const char *format, ...)
{
    if (verbosity > 0)
        SAY();
}

void msg_warn(const char *format, ...)
{
    if (verbosity >= 0)
        SAY();
}

void msg_error(const char *format, ...)
{
    SAY();
}

void die(const char *format, ...)
{
    SAY();
    exit(EXIT_FAILED);
}

void die_usage(const char *format, ...)
{
    SAY();
    exit(EXIT_USAGE);
}

void die_err(const struct err *e)
{
    die("%s", e->text);
}
