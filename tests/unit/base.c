/* base/: numbers against published vectors. */
#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/dtype.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "tests/unit/tap.h"

static void test_sha256(void)
{
    char hex[SHA256_HEX];
    sha256_hex("abc", 3, hex); /* FIPS 180-4 examples */
    is_str(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "sha256 of abc");
    sha256_hex("", 0, hex);
    is_str(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "sha256 of nothing");
    struct sha256 s;
    sha256_init(&s);
    for (int i = 0; i < 1000000; i += 125)
        sha256_add(&s, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 125);
    sha256_end_hex(&s, hex);
    is_str(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0", "sha256 of a million a's in pieces");
}

static void test_rng(void)
{
    /* Random123 kat_vectors: philox4x32-10, all-ones counter and key, and zeros */
    uint32_t w[4];
    struct rng zero = {0, 0}, ones = {UINT64_MAX, UINT64_MAX};
    rng_block(&zero, 0, w);
    ok(w[0] == 0x6627e8d5 && w[1] == 0xe169c58d && w[2] == 0xbc57ac4c && w[3] == 0x9b00dbd8, "philox of zeros");
    rng_block(&ones, UINT64_MAX, w);
    ok(w[0] == 0x408f276d && w[1] == 0x41c83b0e && w[2] == 0xa20bc7c6 && w[3] == 0x6d5451fd, "philox of ones");
    double sum = 0, squares = 0;
    struct rng r = {1, rng_stream("test", 0)};
    for (int i = 0; i < 100000; i++) {
        double x = rng_normal(&r, (uint64_t)i);
        sum += x, squares += x * x;
    }
    is_near(sum / 1e5, 0, 0.02, "normal mean");
    is_near(squares / 1e5, 1, 0.02, "normal variance");
    uint32_t items[50], seen = 0;
    for (uint32_t i = 0; i < 50; i++)
        items[i] = i;
    rng_shuffle(&r, items, 50);
    for (int i = 0; i < 50; i++)
        seen += items[i];
    is_int(seen, 49 * 50 / 2, "shuffle is a permutation");
}

/* IEEE 754 binary16 by its definition: sign, 5 bits of exponent (bias 15), 10 of fraction. */
static double half_value(uint32_t h)
{
    int exponent = (int)(h >> 10 & 31), fraction = (int)(h & 1023);
    double x = exponent == 31 ? (fraction ? NAN : INFINITY)
               : exponent     ? ldexp(1024 + fraction, exponent - 25)
                              : ldexp(fraction, -24);
    return h >> 15 ? -x : x;
}

/* Round to nearest, ties to even (rint's mode), to a multiple of the last place at x. */
static double half_nearest(double x)
{
    int exponent = x == 0 ? -14 : ilogb(x) < -14 ? -14 : ilogb(x);
    double unit = ldexp(1, exponent - 10), r = rint(x / unit) * unit;
    return fabs(r) >= 65536 ? copysign(INFINITY, x) : r;
}

static void test_half(void)
{
    int wrong = 0;
    for (uint32_t h = 0; h < 65536; h++) {
        double f = f16_to_f32((uint16_t)h), g = half_value(h);
        wrong += memcmp(&f, &g, 8) && !(isnan(f) && isnan(g));
    }
    is_int(wrong, 0, "f16_to_f32 is the definition on all values");
    wrong = 0;
    for (uint64_t u = 0; u < 1ull << 32; u += 4093) {
        uint32_t bits = (uint32_t)u;
        float f;
        memcpy(&f, &bits, 4);
        double got = half_value(f32_to_f16(f)), want = isfinite(f) ? half_nearest(f) : (double)f;
        wrong += memcmp(&got, &want, 8) && !(isnan(got) && isnan(want));
    }
    is_int(wrong, 0, "f32_to_f16 rounds to nearest even on a million values");
    is_int(f32_to_bf16(1.00390625f), 0x3f80, "bf16 tie to even goes down");
    is_int(f32_to_bf16(1.01171875f), 0x3f82, "bf16 tie to even goes up");
    ok(isnan(bf16_to_f32(f32_to_bf16(NAN))), "bf16 keeps NaN");
    is_int(f32_to_bf16(3.4e38f), 0x7f80, "bf16 overflow is infinity");
}

static void *take(size_t bytes, struct err *e)
{
    (void)e;
    return mem_zalloc(1, bytes);
}

static void give_back(void *p, size_t bytes)
{
    (void)bytes;
    free(p);
}

static void test_arena(void)
{
    struct arena a;
    struct err e = ERR_INIT;
    arena_init(&a);
    ok(!arena_alloc(&a, "x", 10, 4) && !arena_alloc(&a, "y", 1, 1), "planning gives no memory");
    is_int((long long)a.used, 128, "sizes are rounded to 64");
    ok(arena_commit(&a, take, give_back, &e) == 0, "commit");
    char *x = arena_alloc(&a, "x", 10, 4), *y = arena_alloc(&a, "y", 1, 1);
    ok(x && y == x + 64, "parts lie one after another");
    arena_release(&a);
}

int main(void)
{
    test_sha256();
    test_rng();
    test_half();
    test_arena();
    unsigned char b[8];
    put_le64(b, 0x1122334455667788u);
    ok(b[0] == 0x88 && get_le64(b) == 0x1122334455667788u && get_le32(b + 4) == 0x11223344, "little endian");
    return tap_end();
}
