/* The hexadecimal listings of pages about formats. */
#ifndef TESTS_PAGE_LISTING_H
#define TESTS_PAGE_LISTING_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

/* The bytes of listing number `which`, from 1. A listing is lines that begin with an 8-digit offset, the first with offset 0. */
static void read_page_listing(const char *path, int which, struct buf *out)
{
    FILE *page = fopen(path, "r");
    char line[200];
    while (page && fgets(line, sizeof line, page)) {
        if (strspn(line, "0123456789abcdef") != 8 || line[8] != ' ')
            continue;
        which -= !strncmp(line, "00000000", 8);
        char *p = line + 8;
        for (int i = 0; i < 16 && !which; i++) {
            char *end;
            unsigned long v = strtoul(p, &end, 16);
            if (end == p || end - p > 4)
                break;
            buf_add_char(out, (char)v);
            p = end;
        }
    }
    if (page)
        fclose(page);
}

#endif
