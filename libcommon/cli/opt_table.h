/* The whole option table of a tool: its own entries, then the shared ones it has (cli/opt.h). What a tool defines itself
 * hides the shared option of that name. Entries are borrowed. Shared by parsing and by everything that lists options. */
#ifndef CLI_OPT_TABLE_H
#define CLI_OPT_TABLE_H

#include "cli/opt.h"

enum { OPT_TABLE_MOST = 100 };

struct opt_table {
    int n;
    const struct opt *items[OPT_TABLE_MOST];
};

struct opt_table opt_table_build(const struct cli_tool *tool);

#endif
