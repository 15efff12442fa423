/* SHA-256 (FIPS 180-4): the identity of models, tokenizers, templates and data in every provenance record.
 * Uses the x86 SHA instructions where the CPU has them. (Integrity of large tensors is checked with XXH3 from
 * libxxhash instead, which costs nothing next to reading them.) */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct sha256 {
    uint32_t state[8];
    uint64_t length;
    unsigned char block[64];
};

#define SHA256_HEX 65 /* 64 digits and a NUL */

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t len);
void sha256_end(struct sha256 *s, unsigned char digest[32]);
void sha256_end_hex(struct sha256 *s, char hex[SHA256_HEX]);
void sha256_hex(const void *data, size_t len, char hex[SHA256_HEX]); /* all in one */

#endif
