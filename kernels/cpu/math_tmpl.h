/* exp and tanh of vectors, within 2 units in the last place. Coefficients: weighted least squares driven to the minimax error
 * (Lawson's iteration) for (exp(r) - 1 - r) / r^2 on |r| <= ln(2) / 2 and (tanh(x) / x - 1) / x^2 on |x| <= 0.625. Included after
 * a vec_*.h. */
#ifndef KERNELS_CPU_MATH_TMPL_H
#define KERNELS_CPU_MATH_TMPL_H

#define EXP_LARGEST 88.7228394f   /* beyond it exp overflows */
#define EXP_SMALLEST -87.3365479f /* below it results would be subnormal: they become 0 */

/* exp(x) = 2^n exp(r), n the integer nearest to x / ln 2; ln 2 in two parts, so that r is exact. NaN stays NaN. */
VEC vf v_exp(vf x)
{
    vf y = v_max(v_set(-104), v_min(v_set(EXP_LARGEST), x)); /* in this order: the second argument is kept when it is NaN */
    vf n = v_round(v_mul(y, v_set(0x1.715476p+0f)));
    vf r = v_fnma(n, v_set(0x1.7f7d1cp-20f), v_fnma(n, v_set(0x1.62e400p-1f), y));
    vf p = v_fma(r, v_set(0.00138145399f), v_set(0.00836874513f));
    p = v_fma(r, p, v_set(0.0416683908f));
    p = v_fma(r, p, v_set(0.166665204f));
    p = v_fma(r, p, v_set(0.499999934f));
    p = v_add(v_fma(v_mul(r, r), p, r), v_set(1));
    p = v_shift_exponent(p, n);
    p = v_if_less(x, v_set(EXP_SMALLEST), v_set(0), p);
    return v_if_less(v_set(EXP_LARGEST), x, v_set(__builtin_inff()), p);
}

/* 1 / (1 + exp(-x)) */
VEC vf v_sigmoid(vf x)
{
    return v_div(v_set(1), v_add(v_set(1), v_exp(v_sub(v_set(0), x))));
}

/* An odd polynomial near 0, 1 - 2 / (exp(2x) + 1) elsewhere. */
VEC vf v_tanh(vf x)
{
    vf minus = v_sub(v_set(0), x), size = v_max(minus, x), z = v_mul(x, x);
    vf p = v_fma(z, v_set(-0.00570498633f), v_set(0.0206390866f));
    p = v_fma(z, p, v_set(-0.0537397148f));
    p = v_fma(z, p, v_set(0.133314422f));
    p = v_fma(z, p, v_set(-0.333332819f));
    p = v_fma(v_mul(x, z), p, x);
    vf far = v_sub(v_set(1), v_div(v_set(2), v_add(v_exp(v_add(size, size)), v_set(1))));
    far = v_if_less(x, v_set(0), v_sub(v_set(0), far), far);
    return v_if_less(size, v_set(0.625f), p, far);
}

#endif
