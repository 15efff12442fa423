/* Post-processors: the special tokens around a text. Only the template for a single text counts here; what they say about
 * pairs and about offsets does not reach the ids of one text. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"

struct ids { uint32_t *items; size_t n, cap; };

static int add_id(struct ids *l, const json_t *v, const char *place, struct err *e)
{
    json_int_t id = json_integer_value(v);
    if (!json_is_integer(v) || id < 0 || id >= TOKENIZER_NONE)
        return err_set(e, "%s: expected the id of a special token", place);
    l->items = mem_grow(l->items, &l->cap, l->n + 1, sizeof *l->items);
    l->items[l->n++] = (uint32_t)id;
    return 0;
}

static int add_special(struct ids *l, const json_t *json, const json_t *piece, const char *place, struct err *e)
{
    const char *name = json_string_value(json_object_get(piece, "id"));
    const json_t *token = name ? json_object_get(json_object_get(json, "special_tokens"), name) : NULL;
    const json_t *ids = json_object_get(token, "ids");
    if (!json_is_array(ids))
        return err_set(e, "%s: the template names '%s', which is not among its special_tokens", place, name ? name : "?");
    for (size_t i = 0; i < json_array_size(ids); i++)
        if (add_id(l, json_array_get(ids, i), place, e))
            return -1;
    return 0;
}

static int parse_template(struct ids around[2], const json_t *json, const char *place, struct err *e)
{
    const json_t *single = json_object_get(json, "single");
    int side = 0;
    if (!json_is_array(single))
        return err_set(e, "%s: single is missing, expected a list", place);
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *piece = json_array_get(single, i), *special = json_object_get(piece, "SpecialToken");
        const char *sequence = json_string_value(json_object_get(json_object_get(piece, "Sequence"), "id"));
        if (special) {
            if (add_special(&around[side], json, special, place, e))
                return -1;
        } else if (!sequence || strcmp(sequence, "A") || side) {
            return err_set(e, "%s: the template of a single text must hold the sequence A once and no other", place);
        } else {
            side = 1;
        }
    }
    return side ? 0 : err_set(e, "%s: the template of a single text does not hold the sequence A", place);
}

/* RobertaProcessing and BertProcessing: cls A sep, each ["token", id] */
static int parse_pair(struct ids around[2], const json_t *json, const char *place, struct err *e)
{
    return add_id(&around[0], json_array_get(json_object_get(json, "cls"), 1), place, e) ||
           add_id(&around[1], json_array_get(json_object_get(json, "sep"), 1), place, e) ? -1 : 0;
}

int post_parse(struct tokenizer *t, const json_t *json, const char *place, struct err *e)
{
    if (!json || json_is_null(json))
        return 0;
    const char *type = field_type(json, place, e);
    if (!type)
        return -1;
    if (!strcmp(type, "ByteLevel"))
        return 0;
    if (!strcmp(type, "Sequence")) {
        const json_t *list = json_object_get(json, "processors");
        if (!json_is_array(list))
            return err_set(e, "%s: processors is missing, expected a list", place);
        for (size_t i = 0; i < json_array_size(list); i++)
            if (post_parse(t, json_array_get(list, i), place, e))
                return -1;
        return 0;
    }
    if (t->n_before || t->n_after)
        return err_set(e, "%s: a Sequence of more than one processor that adds tokens is not supported", place);
    struct ids around[2] = {{NULL, 0, 0}, {NULL, 0, 0}};
    int result;
    if (!strcmp(type, "TemplateProcessing"))
        result = parse_template(around, json, place, e);
    else if (!strcmp(type, "RobertaProcessing") || !strcmp(type, "BertProcessing"))
        result = parse_pair(around, json, place, e);
    else
        result = err_set(e, "%s: type %s is not supported", place, type);
    t->before = around[0].items, t->n_before = around[0].n;
    t->after = around[1].items, t->n_after = around[1].n;
    return result;
}
