/* Messages of tools, all on stderr as "tool: text", lower case, no full stop: file, place, found and expected.
 *
 * Each call is one write(2). Control characters in the text (quoted from files) are shown as '?'; newlines stay.
 * The exit statuses are those of every tool: finetools(7). */
#ifndef CLI_MSG_H
#define CLI_MSG_H

#include "base/err.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_DIVERGED = 3, EXIT_STOPPED = 75 };

void msg_init(const char *tool, int verbosity); /* -1 quiet, 0 default, 1 verbose; done by cli_begin */
const char *msg_tool(void);
int msg_verbosity(void);

void msg_info(const char *format, ...) __attribute__((format(printf, 1, 2)));    /* not with -q */
void msg_verbose(const char *format, ...) __attribute__((format(printf, 1, 2))); /* only with -v */
void msg_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));    /* always but with -q */
void msg_error(const char *format, ...) __attribute__((format(printf, 1, 2)));   /* always */

/* These print as msg_error, remove every temporary (cli/outfile.h) and exit. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));       /* status 1 */
_Noreturn void die_usage(const char *format, ...) __attribute__((format(printf, 1, 2))); /* status 2 */
_Noreturn void die_err(const struct err *e);                                             /* status 1 */

#endif
