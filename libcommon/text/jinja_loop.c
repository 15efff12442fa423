/* for, and the `loop` variable. */
#include <stdio.h>

#include "text/jinja_internal.h"

struct jloop {
    const struct jnode *node;
    struct jscope *scope;       /* around the loop */
    struct jiter *it;
    int64_t length;             /* -1: not known yet */
    int64_t index0, depth0;
    struct jv previous, current;
    struct jv *ahead;           /* items taken from the iterator before their time */
    size_t n_ahead, at_ahead;
    struct jv changed;          /* arguments of the last changed() */
};

static bool take(struct jloop *l, struct jv *v)
{
    if (l->at_ahead < l->n_ahead) {
        *v = l->ahead[l->at_ahead++];
        return true;
    }
    return jiter_next(l->it, v);
}

static bool peek(struct jrender *r, struct jloop *l, struct jv *v)
{
    if (l->at_ahead == l->n_ahead) {
        struct jv next;
        if (!jiter_next(l->it, &next))
            return false;
        l->ahead = jr_get(r, sizeof *l->ahead);
        l->ahead[0] = next;
        l->n_ahead = 1, l->at_ahead = 0;
    }
    *v = l->ahead[l->at_ahead];
    return true;
}

/* Generators have no length: the rest of the items is taken now. */
static int64_t length(struct jrender *r, struct jloop *l)
{
    if (l->length >= 0)
        return l->length;
    struct jlist rest = {0};
    struct jv v;
    while (take(l, &v))
        jlist_push(r, &rest, v);
    l->ahead = rest.v, l->n_ahead = rest.n, l->at_ahead = 0;
    return l->length = l->index0 + 1 + (int64_t)rest.n;
}

static struct jv loop_cycle(struct jrender *r, struct jv self, const struct jargs *args)
{
    if (!args->n)
        jr_fail(r, "loop.cycle() needs values");
    return args->v[self.loop->index0 % (int64_t)args->n];
}

static struct jv loop_changed(struct jrender *r, struct jv self, const struct jargs *args)
{
    struct jv now = jv_list(r, J_TUPLE, args->n);
    for (size_t i = 0; i < args->n; i++)
        jlist_push(r, now.l, args->v[i]);
    bool same = self.loop->changed.kind != J_MISSING && jv_equal(r, self.loop->changed, now);
    self.loop->changed = now;
    return jv_bool(!same);
}

struct jv jloop_attr(struct jrender *r, struct jloop *l, const char *name, size_t len)
{
    static const struct jbuiltin cycle = {"cycle", loop_cycle, NULL}, changed = {"changed", loop_changed, NULL};
    struct jstr key = {.s = name, .len = len};
    struct jv v;
    if (jstr_is(&key, "index0"))
        return jv_int(l->index0);
    if (jstr_is(&key, "index"))
        return jv_int(l->index0 + 1);
    if (jstr_is(&key, "first"))
        return jv_bool(!l->index0);
    if (jstr_is(&key, "last"))
        return jv_bool(!peek(r, l, &v));
    if (jstr_is(&key, "length"))
        return jv_int(length(r, l));
    if (jstr_is(&key, "revindex"))
        return jv_int(length(r, l) - l->index0);
    if (jstr_is(&key, "revindex0"))
        return jv_int(length(r, l) - l->index0 - 1);
    if (jstr_is(&key, "depth"))
        return jv_int(l->depth0 + 1);
    if (jstr_is(&key, "depth0"))
        return jv_int(l->depth0);
    if (jstr_is(&key, "previtem"))
        return l->index0 ? l->previous : jv_undef_text(r, "there is no previous item");
    if (jstr_is(&key, "nextitem"))
        return peek(r, l, &v) ? v : jv_undef_text(r, "there is no next item");
    if (!jstr_is(&key, "cycle") && !jstr_is(&key, "changed"))
        return jv_missing();
    v.kind = J_METHOD;
    v.method = jr_get(r, sizeof *v.method);
    *v.method = (struct jmethod){{.kind = J_LOOP, .loop = l}, jstr_is(&key, "cycle") ? &cycle : &changed};
    return v;
}

void jloop_repr(struct jrender *r, struct jloop *l, char *text, size_t size)
{
    snprintf(text, size, "<LoopContext %lld/%lld>", (long long)l->index0 + 1, (long long)length(r, l));
}

/* Text made while a loop stands at a message belongs to the message's turn. */
static uint32_t turn_of(struct jrender *r, struct jv item)
{
    return item.kind == J_DICT && item.d->message ? item.d->message : r->turn;
}

static void run(struct jrender *r, struct jloop *l)
{
    const struct jnode *n = l->node;
    uint32_t turn = r->turn;
    struct jv item;
    bool any = false;
    while (take(l, &item)) {
        struct jscope *s = jscope_new(r, l->scope);
        l->index0++;
        l->previous = l->current;
        l->current = item;
        jscope_set(r, s, r->template->names[JNAME_LOOP], (struct jv){.kind = J_LOOP, .loop = l});
        r->fail.line = n->line;
        jassign(r, s, n->a, item);
        r->turn = turn_of(r, item);
        enum jflow flow = jexec_body(r, s, &n->list);
        r->turn = turn;
        if (flow == FLOW_BREAK)
            break;
        any |= flow == FLOW_NEXT; /* as in jinja2: else runs unless an iteration came to the end of the body */
    }
    if (!any)
        jexec_body(r, jscope_new(r, l->scope), &n->more);
}

static void loop_over(struct jrender *r, struct jscope *s, const struct jnode *n, struct jv iterable, int64_t depth0)
{
    struct jloop *l = jr_get(r, sizeof *l);
    *l = (struct jloop){.node = n, .scope = s, .length = -1, .index0 = -1, .depth0 = depth0, .previous = jv_missing(), .current = jv_missing(), .changed = jv_missing()};
    if (n->c) {
        l->it = jr_get(r, sizeof *l->it);
        *l->it = (struct jiter){.source = iterable, .r = r, .kind = JI_FOR, .node = n, .scope = s, .type = "generator"};
        l->it->inner = jiter_new(r, iterable);
    } else {
        l->it = jiter_new(r, iterable);
        if (!jv_length(r, iterable, &l->length))
            l->length = -1;
    }
    run(r, l);
}

void jexec_for(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    loop_over(r, s, n, jeval(r, s, n->b), 0);
}

/* loop(children) inside of a recursive loop */
struct jv jloop_call(struct jrender *r, struct jloop *l, struct jv iterable)
{
    if (!l->node->flag)
        jr_fail(r, "only a loop marked 'recursive' can be called");
    struct jbuild b, *outer = r->out;
    jbuild_init(&b, r);
    b.output = true;
    r->out = &b;
    loop_over(r, l->scope, l->node, iterable, l->depth0 + 1);
    r->out = outer;
    return jbuild_done(&b);
}
