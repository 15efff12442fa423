/* What a tool says about itself, all from its option table. Prints to `to`; the caller checks the stream. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include <stdio.h>

#include "cli/opt.h"

void help_print(const struct cli_tool *tool, FILE *to);   /* --help */
void help_brief(const struct cli_tool *tool, FILE *to);   /* no arguments at a terminal: ten lines at most */
void help_version(const struct cli_tool *tool, FILE *to); /* --version */

/* --options, for scripts (completions, checks of the manual): one line per option, six fields separated by tabs:
 * "-t" or nothing, "--template", the argument's name or nothing, "flag", "string", "count", "size", "real", "choice", "list" or "range",
 * help, the names that may stand there, separated by spaces. */
void help_options(const struct cli_tool *tool, FILE *to);

#endif
