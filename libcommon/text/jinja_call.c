/* Calls: functions known to templates, methods, macros; and the global names. */
#include <stdio.h>
#include <time.h>

#include "text/jinja_internal.h"

/* ---- arguments ---- */

/* Puts arguments in the order of fn->params. */
static void bind(struct jrender *r, const struct jbuiltin *fn, const struct jargs *args, struct jargs *bound)
{
    size_t slots = 0, used = 0;
    for (const char *p = fn->params; *p; slots++) {
        p += strcspn(p, " ");
        p += *p == ' ';
    }
    bound->v = jr_get(r, (slots + 1) * sizeof *bound->v);
    bound->n = slots;
    if (args->n > slots)
        jr_fail(r, "%s() takes at most %zu arguments, %zu given", fn->name, slots, args->n);
    size_t slot = 0;
    for (const char *p = fn->params; *p; slot++) {
        bool required = *p == '!';
        p += required;
        size_t len = strcspn(p, " ");
        struct jv *v = &bound->v[slot];
        *v = slot < args->n ? args->v[slot] : jv_missing();
        for (size_t k = 0; k < args->n_kw; k++)
            if (args->kw_name[k].len == len && !memcmp(args->kw_name[k].s, p, len)) {
                if (slot < args->n)
                    jr_fail(r, "%s() got two values for '%.*s'", fn->name, (int)len, p);
                *v = args->kw[k];
                used++;
            }
        if (required && v->kind == J_MISSING)
            jr_fail(r, "%s() needs its argument '%.*s'", fn->name, (int)len, p);
        p += len + (p[len] == ' ');
    }
    if (used < args->n_kw)
        jr_fail(r, "%s() got an argument by a name that it does not have", fn->name);
}

struct jv jcall_builtin(struct jrender *r, const struct jbuiltin *fn, struct jv self, const struct jargs *args)
{
    struct jargs bound = {0};
    jr_enter(r);
    if (fn->params)
        bind(r, fn, args, &bound);
    struct jv v = fn->fn(r, self, fn->params ? &bound : args);
    jr_leave(r);
    return v;
}

/* ---- macros ---- */

struct jv jmacro_new(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    struct jv v = {.kind = J_MACRO, .macro = jr_get(r, sizeof *v.macro)};
    *v.macro = (struct jmacro){n, s, n->flag, n->flag2, n->flag3};
    return v;
}

static bool same_name(const struct jname *a, const struct jname *b)
{
    return a->len == b->len && !memcmp(a->s, b->s, a->len);
}

static struct jv *named(const struct jargs *args, const struct jname *name, bool *taken)
{
    for (size_t k = 0; k < args->n_kw; k++)
        if (!taken[k] && same_name(&args->kw_name[k], name)) {
            taken[k] = true;
            return &args->kw[k];
        }
    return NULL;
}

/* The rest of the arguments: caller, kwargs and varargs where the body names them, else errors. */
static void bind_rest(struct jrender *r, const struct jmacro *m, struct jscope *s, const struct jargs *args, bool *taken, bool has_caller)
{
    const struct jname *const *names = r->template->names;
    const char *own = m->node->name ? m->node->name->s : "caller";
    size_t n = m->node->list.n;
    if (m->uses_caller && !has_caller) {
        struct jv *caller = named(args, names[JNAME_CALLER], taken);
        jscope_set(r, s, names[JNAME_CALLER], caller ? *caller : jv_undef_text(r, "no caller defined"));
    }
    struct jv rest = jv_dict(r);
    for (size_t k = 0; k < args->n_kw; k++)
        if (!taken[k]) {
            if (!m->uses_kwargs)
                jr_fail(r, "macro '%s' takes no argument named '%.*s'", own, (int)args->kw_name[k].len, args->kw_name[k].s);
            jdict_set(r, rest.d, jv_str(r, args->kw_name[k].s, args->kw_name[k].len, JTAG_TEMPLATE), args->kw[k]);
        }
    if (m->uses_kwargs)
        jscope_set(r, s, names[JNAME_KWARGS], rest);
    if (!m->uses_varargs && args->n > n)
        jr_fail(r, "macro '%s' takes not more than %zu argument(s)", own, n);
    if (m->uses_varargs) {
        struct jv more = jv_list(r, J_TUPLE, 0);
        for (size_t i = n; i < args->n; i++)
            jlist_push(r, more.l, args->v[i]);
        jscope_set(r, s, names[JNAME_VARARGS], more);
    }
}

static struct jv call_macro(struct jrender *r, const struct jmacro *m, const struct jargs *args)
{
    const struct jnodes *params = &m->node->list;
    struct jscope *s = jscope_new(r, m->scope);
    bool *taken = jr_get(r, args->n_kw + 1), has_caller = false;
    memset(taken, 0, args->n_kw + 1);
    struct jv *given = jr_get(r, (params->n + 1) * sizeof *given);
    for (size_t i = 0; i < params->n; i++) {
        const struct jname *name = params->v[i]->name;
        struct jv *kw = i < args->n ? NULL : named(args, name, taken);
        given[i] = i < args->n ? args->v[i] : kw ? *kw : jv_missing();
        has_caller |= name == r->template->names[JNAME_CALLER];
    }
    bind_rest(r, m, s, args, taken, has_caller);
    for (size_t i = 0; i < params->n; i++) {
        const struct jnode *p = params->v[i];
        if (given[i].kind == J_MISSING)
            given[i] = p->a ? jeval(r, s, p->a) : jv_undef(r, NULL, p->name->s, p->name->len);
        jscope_set(r, s, p->name, given[i]);
    }
    struct jbuild b, *outer = r->out;
    jbuild_init(&b, r);
    b.output = true;
    r->out = &b;
    jexec_body(r, s, &m->node->more);
    r->out = outer;
    return jbuild_done(&b);
}

bool jv_callable(struct jv v)
{
    return v.kind == J_MACRO || v.kind == J_FUNCTION || v.kind == J_METHOD || v.kind == J_LOOP || v.kind == J_JOINER || v.kind == J_UNDEF;
}

struct jv jcall(struct jrender *r, struct jv f, const struct jargs *args)
{
    int line = r->fail.line;
    struct jv v;
    jr_enter(r);
    switch (f.kind) {
    case J_UNDEF:
        jv_fail_undef(r, f);
    case J_FUNCTION:
        v = jcall_builtin(r, f.fn, f, args);
        break;
    case J_METHOD:
        v = jcall_builtin(r, f.method->fn, f.method->self, args);
        break;
    case J_MACRO:
        v = call_macro(r, f.macro, args);
        break;
    case J_LOOP:
        if (args->n != 1 || args->n_kw)
            jr_fail(r, "loop() takes one argument");
        v = jloop_call(r, f.loop, args->v[0]);
        break;
    case J_JOINER:
        v = f.cycler->used ? (struct jv){.kind = J_STR, .s = f.cycler->sep} : jv_text(r, "");
        f.cycler->used = true;
        break;
    default:
        jr_fail(r, "'%s' object is not callable", jv_type(f));
    }
    r->fail.line = line;
    jr_leave(r);
    return v;
}

/* ---- global functions ---- */

static struct jv global_range(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)self;
    if (args->n < 1 || args->n > 3 || args->n_kw)
        jr_fail(r, "range() takes one to three arguments");
    int64_t a[3];
    for (size_t i = 0; i < args->n; i++)
        a[i] = jv_need_int(r, args->v[i], "an argument of range()");
    struct jrange g = {.start = args->n > 1 ? a[0] : 0, .stop = args->n > 1 ? a[1] : a[0], .step = args->n > 2 ? a[2] : 1};
    if (!g.step)
        jr_fail(r, "range() step must not be zero");
    __int128 span = g.step > 0 ? (__int128)g.stop - g.start : (__int128)g.start - g.stop, step = g.step > 0 ? g.step : -(__int128)g.step;
    __int128 n = span > 0 ? (span - 1) / step + 1 : 0;
    if (n > JINJA_MAX_RANGE)
        jr_fail(r, "range too big: the sandbox blocks ranges larger than %d", JINJA_MAX_RANGE);
    g.n = (int64_t)n;
    struct jv v = {.kind = J_RANGE, .range = jr_get(r, sizeof g)};
    *v.range = g;
    return v;
}

/* dict(mapping or pairs, name=value...), also for namespace() */
static struct jv make_dict(struct jrender *r, const struct jargs *args, const char *what)
{
    struct jv d = jv_dict(r), item;
    if (args->n > 1)
        jr_fail(r, "%s() takes at most one positional argument", what);
    if (args->n && (args->v[0].kind == J_DICT)) {
        for (size_t i = 0; i < args->v[0].d->n; i++)
            jdict_set(r, d.d, args->v[0].d->v[i].key, args->v[0].d->v[i].value);
    } else if (args->n) {
        struct jiter *it = jiter_new(r, args->v[0]);
        while (jiter_next(it, &item)) {
            struct jv pair = jv_to_list(r, item);
            if (pair.l->n != 2)
                jr_fail(r, "%s() needs pairs", what);
            jdict_set(r, d.d, pair.l->v[0], pair.l->v[1]);
        }
    }
    for (size_t k = 0; k < args->n_kw; k++)
        jdict_set(r, d.d, jv_str(r, args->kw_name[k].s, args->kw_name[k].len, JTAG_TEMPLATE), args->kw[k]);
    return d;
}

static struct jv global_dict(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)self;
    return make_dict(r, args, "dict");
}

static struct jv global_namespace(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)self;
    struct jv d = make_dict(r, args, "namespace");
    for (size_t i = 0; i < d.d->n; i++)
        if (d.d->v[i].key.kind == J_STR && d.d->v[i].key.s->len && d.d->v[i].key.s->s[0] == '_')
            jr_fail(r, "a namespace cannot have an attribute that begins with '_'");
    d.kind = J_NAMESPACE;
    return d;
}

static struct jv global_cycler(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)self;
    if (!args->n || args->n_kw)
        jr_fail(r, "cycler() needs at least one item");
    struct jv v = {.kind = J_CYCLER, .cycler = jr_get(r, sizeof *v.cycler)};
    *v.cycler = (struct jcycler){.items = {args->v, args->n, args->n}};
    return v;
}

static struct jv global_joiner(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)self;
    struct jv v = {.kind = J_JOINER, .cycler = jr_get(r, sizeof *v.cycler)};
    *v.cycler = (struct jcycler){.sep = args->v[0].kind == J_MISSING ? jv_text(r, ", ").s : jv_to_str(r, args->v[0])};
    return v;
}

_Noreturn static struct jv global_raise(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)self;
    jr_fail(r, "%s", jv_cstr(r, args->v[0]));
}

/* C's strftime on local time; %f is what Python gives a clock without fractions, %z and %Z are empty for a naive time. */
static struct jv global_strftime(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)self;
    const struct jstr *format = jv_need_str(r, args->v[0], "the format of strftime_now()");
    struct jbuild b;
    struct tm tm;
    time_t t = (time_t)r->now;
    if (!localtime_r(&t, &tm))
        jr_fail(r, "the time is out of range");
    jbuild_init(&b, r);
    for (size_t i = 0; i < format->len; i++) {
        size_t start = i;
        if (format->s[i] != '%' || i + 1 == format->len) {
            jbuild_sub(&b, format, i, i + 1);
            continue;
        }
        i++;
        i += (format->s[i] == '-' || format->s[i] == '_' || format->s[i] == '^' || format->s[i] == '#' || format->s[i] == '0') && i + 1 < format->len;
        i += (format->s[i] == 'E' || format->s[i] == 'O') && i + 1 < format->len;
        char one[8] = "", out[200];
        memcpy(one, format->s + start, i + 1 - start);
        if (format->s[i] == 'f')
            jbuild_text(&b, "000000");
        else if (format->s[i] != 'z' && format->s[i] != 'Z')
            jbuild_add(&b, out, strftime(out, sizeof out, one, &tm), JTAG_TEMPLATE);
    }
    return jbuild_done(&b);
}

static const struct jbuiltin globals[] = {
    {"range", global_range, NULL},
    {"dict", global_dict, NULL},
    {"namespace", global_namespace, NULL},
    {"cycler", global_cycler, NULL},
    {"joiner", global_joiner, "sep"},
    {"raise_exception", global_raise, "!message"},
    {"strftime_now", global_strftime, "!format"},
};

struct jv jglobal(const char *name, size_t len)
{
    struct jstr key = {.s = name, .len = len};
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (jstr_is(&key, globals[i].name))
            return (struct jv){.kind = J_FUNCTION, .fn = &globals[i]};
    return jv_missing();
}
