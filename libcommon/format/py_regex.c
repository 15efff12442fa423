#define PCRE2_CODE_UNIT_WIDTH 8
#include "format/py_regex.h"

#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#define MATCH_LIMIT 1000000 /* steps of backtracking: milliseconds */
#define HEAP_LIMIT 65536    /* KiB */

/* What follows "(?" in Python. */
static bool group_is_common(const char *p)
{
    return strchr(":=!<#>", p[0]) || (p[0] == 'P' && (p[1] == '<' || p[1] == '=')) || strchr("aiLmsux-", p[0]) || p[0] == '(';
}

/* The first place where Python and PCRE2 part, or NULL. */
static const char *difference(const char *pattern)
{
    bool in_class = false;
    for (const char *p = pattern; *p; p++) {
        if (*p == '\\') {
            bool letter = (p[1] >= 'a' && p[1] <= 'z') || (p[1] >= 'A' && p[1] <= 'Z');
            if (!p[1] || (letter && !strchr(in_class ? "dDsSwWafnrtvx" : "AbBdDsSwWZafnrtvx", p[1])))
                return p;
            p++;
        } else if (in_class) {
            if (*p == '[' && strchr(":.=", p[1]) && p[1])
                return p;
            in_class = *p != ']';
        } else if (*p == '[') {
            in_class = true;
            p += p[1] == '^';
            p += p[1] == ']';
            if (p[1] == '[' && p[2] && strchr(":.=", p[2]))
                return p;
        } else if (*p == '(' && (p[1] == '*' || (p[1] == '?' && (!p[2] || !group_is_common(p + 2))))) {
            return p;
        } else if (*p == '{' && p[1] == ',') {
            return p;
        }
    }
    return NULL;
}

static pcre2_code *compile(const char *pattern, enum py_regex_mode mode, struct err *e)
{
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | (mode == PY_REGEX_FULLMATCH ? PCRE2_ENDANCHORED : 0);
    const char *at = difference(pattern);
    PCRE2_UCHAR text[256];
    int code;
    PCRE2_SIZE offset;
    if (at) {
        err_set(e, "regex '%s': '%.3s' is not supported", pattern, at);
        return NULL;
    }
    pcre2_code *c = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &code, &offset, NULL);
    if (!c) {
        pcre2_get_error_message(code, text, sizeof text);
        err_set(e, "regex '%s': character %zu: %s", pattern, (size_t)offset, (const char *)text);
    }
    return c;
}

static void get_group(pcre2_match_data *m, const char *text, int count, char *group, unsigned long size)
{
    PCRE2_SIZE *v = pcre2_get_ovector_pointer(m);
    if (count > 1 && v[2] != PCRE2_UNSET)
        snprintf(group, size, "%.*s", (int)(v[3] - v[2]), text + v[2]);
    else
        snprintf(group, size, "%s", "");
}

int py_regex(const char *pattern, const char *text, enum py_regex_mode mode, char *group, unsigned long size, struct err *e)
{
    int r = -1;
    pcre2_code *c = compile(pattern, mode, e);
    if (!c)
        return -1;
    pcre2_match_data *m = pcre2_match_data_create_from_pattern(c, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    if (m && limits) {
        pcre2_set_match_limit(limits, MATCH_LIMIT);
        pcre2_set_heap_limit(limits, HEAP_LIMIT);
        int n = pcre2_match(c, (PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, 0, m, limits);
        r = n > 0 ? 1 : n == PCRE2_ERROR_NOMATCH ? 0 : -1;
        if (r < 0)
            err_set(e, "regex '%s': too costly on '%.200s'", pattern, text);
        if (r == 1 && group)
            get_group(m, text, n, group, size);
    } else {
        err_set(e, "regex '%s': out of memory", pattern);
    }
    pcre2_match_context_free(limits);
    pcre2_match_data_free(m);
    pcre2_code_free(c);
    return r;
}
