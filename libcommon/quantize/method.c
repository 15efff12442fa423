#include "quantize/method.h"

const char *quantize_method_name(enum quantize_method m)
{
    static const char *const names[] = {"int8", "nf4", "fp4", "rtn", "gptq", "awq"};
    return names[m];
}

/* Fields of `bits` along an axis fill whole words. */
static int fill_words(const char *module, const char *axis, int64_t n, int bits, struct err *e)
{
    int64_t whole = bits == 3 ? 32 : 32 / bits;
    if (n % whole == 0)
        return 0;
    return err_set(e, "%s: %lld %s do not fill whole words: %d bits want a multiple of %lld; --skip leaves the module as it is", module, (long long)n,
                   axis, bits, (long long)whole);
}

int quantize_check_shape(const struct quantize_options *o, const char *module, int64_t out, int64_t in, struct err *e)
{
    if (o->method == QUANTIZE_AWQ) {
        if (o->group && in % o->group)
            return err_set(e, "%s: %lld inputs are no multiple of the group of %lld; take another --group, or --skip leaves the module as it is", module,
                           (long long)in, (long long)o->group);
        return fill_words(module, "outputs", out, o->bits, e);
    }
    if (o->method != QUANTIZE_RTN && o->method != QUANTIZE_GPTQ)
        return 0;
    return fill_words(module, "inputs", in, o->bits, e) < 0 ? -1 : fill_words(module, "outputs", out, o->bits, e);
}
