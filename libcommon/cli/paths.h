/* No output destroys an input: which paths a tool reads, which it writes, and whether they are apart.
 *
 * cli_begin asks once for every tool, from its option table (.path = OPT_INPUT, OPT_OUTPUT) and its operands (CLI_FILES),
 * before anything is opened. Files are compared by what they are, not by name: symbolic and hard links are seen through. */
#ifndef CLI_PATHS_H
#define CLI_PATHS_H

#include "base/err.h"

/* Refuses an output that is the input, that is a folder which holds it, or that is a file of the input folder, under whatever name. What
 * does not exist yet, a folder within, "-", devices and inputs that are not there are fine. */
int paths_refuse_input(const char *output, const char *input, struct err *e) MUST_CHECK;

/* Refuses two outputs that are one file. The names of the options are for the message. */
int paths_refuse_same(const char *output, const char *option, const char *other, const char *other_option, struct err *e) MUST_CHECK;

#endif
