/* What --summary FILE tells: one JSON object with "tool", "version", "status" and what the tool adds, in that order.
 *
 *     summary_count("samples", n); summary_count("dropped", 1); summary_string("template", "chatml");
 * Adding is cheap and may be done whether or not --summary was given; cli_end writes it, atomically, over an older one.
 * A tool that dies writes none. Keys are copied. */
#ifndef CLI_SUMMARY_H
#define CLI_SUMMARY_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"

void summary_count(const char *key, int64_t add);           /* adds to the count of that key, which starts at 0 */
void summary_real(const char *key, double value);
void summary_string(const char *key, const char *value);    /* UTF-8; other bytes become U+FFFD */
void summary_json(const char *key, json_t *value);          /* takes over the reference */

int summary_write(const char *path, const char *tool, int status, struct err *e) MUST_CHECK; /* by cli_end; "-" is stdout */

#endif
