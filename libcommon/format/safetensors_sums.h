/* Shared by safetensors_*.c: the digits of checksums. */
#ifndef FORMAT_SAFETENSORS_SUMS_H
#define FORMAT_SAFETENSORS_SUMS_H

#include <xxhash.h>

#define SUMS_DIGITS 32 /* of one XXH3-128 */

void sums_put_hash(char to[SUMS_DIGITS], XXH128_hash_t h);

#endif
