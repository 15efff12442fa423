/* Which modules an adapter targets: PEFT's tuners_utils.check_target_module_exists and get_pattern_key. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "format/adapter.h"
#include "format/py_regex.h"

/* Equal, or ends with "." + name. */
static bool is_suffix(const char *module, const char *name)
{
    size_t m = strlen(module), n = strlen(name);
    return m >= n && !strcmp(module + m - n, name) && (m == n || module[m - n - 1] == '.');
}

static int is_excluded(const struct adapter_config *c, const char *module, struct err *e)
{
    if (c->exclude.regex)
        return py_regex(c->exclude.regex, module, PY_REGEX_FULLMATCH, NULL, 0, e);
    for (int i = 0; i < c->exclude.n; i++)
        if (is_suffix(module, c->exclude.list[i]))
            return 1;
    return 0;
}

/* layers_to_transform: the number after the first "name.", or after one of layers_pattern. */
static int layer_is_chosen(const struct adapter_config *c, const char *module, struct err *e)
{
    char number[24] = "";
    int r = 0;
    if (c->layers_pattern.n == 0)
        r = py_regex(".*?\\.[^.]*\\.(\\d+)\\.", module, PY_REGEX_MATCH, number, sizeof number, e);
    for (int i = 0; i < c->layers_pattern.n && r == 0; i++) {
        char *pattern = mem_printf("(?:^|.*?\\.)%s\\.(\\d+)\\.", c->layers_pattern.list[i]);
        r = py_regex(pattern, module, PY_REGEX_MATCH, number, sizeof number, e);
        free(pattern);
    }
    if (r <= 0)
        return r;
    long long layer = atoll(number);
    for (int i = 0; i < c->n_layers; i++)
        if (c->layers[i] == layer)
            return 1;
    return 0;
}

static int is_targeted(const struct adapter_config *c, const char *module, struct err *e)
{
    int excluded = is_excluded(c, module, e);
    if (excluded)
        return excluded < 0 ? -1 : 0;
    if (c->target_regex && !strcasecmp(c->target_regex, "all-linear"))
        return !is_suffix(module, "lm_head");
    if (c->target_regex)
        return py_regex(c->target_regex, module, PY_REGEX_FULLMATCH, NULL, 0, e);
    bool suffix = false;
    for (int i = 0; i < c->n_targets; i++) {
        if (!strcmp(module, c->targets[i]))
            return 1;
        suffix |= is_suffix(module, c->targets[i]);
    }
    return suffix && c->n_layers ? layer_is_chosen(c, module, e) : suffix;
}

/* re.match(r"(.*\.)?(P)$", module). Most patterns are names, whose only special character is the dot. */
static int pattern_matches(const char *pattern, const char *module, struct err *e)
{
    size_t m = strlen(module), n = strlen(pattern);
    if (strspn(pattern, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.") != n) {
        char *whole = mem_printf("(.*\\.)?(%s)$", pattern);
        int r = py_regex(whole, module, PY_REGEX_MATCH, NULL, 0, e);
        free(whole);
        return r;
    }
    if (n > m || (n < m && module[m - n - 1] != '.'))
        return 0;
    for (size_t i = 0; i < n; i++)
        if (pattern[i] != '.' && pattern[i] != module[m - n + i])
            return 0;
    return 1;
}

static int find_pattern(const struct adapter_pattern *list, int n, const char *module, double *value, struct err *e)
{
    for (int i = 0; i < n; i++) {
        int r = pattern_matches(list[i].pattern, module, e);
        if (r < 0)
            return -1;
        if (r > 0) {
            *value = list[i].value;
            return 0;
        }
    }
    return 0;
}

int adapter_targets(const struct adapter_config *c, const char *module, int *rank, double *scale, struct err *e)
{
    int r = is_targeted(c, module, e);
    if (r <= 0)
        return r;
    double rank_value = c->r, alpha = c->alpha;
    if (find_pattern(c->rank_pattern, c->n_rank_pattern, module, &rank_value, e) < 0 ||
        find_pattern(c->alpha_pattern, c->n_alpha_pattern, module, &alpha, e) < 0)
        return -1;
    *rank = (int)rank_value;
    *scale = alpha / (c->rslora ? sqrt(rank_value) : rank_value);
    return 1;
}
