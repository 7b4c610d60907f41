/* sha256.h - SHA-256 (FIPS 180-4) by way of OpenSSL's libcrypto.  Pure. */
#ifndef SHOAL_SHA256_H
#define SHOAL_SHA256_H

#include <stdint.h>

#include "span.h"

#define SHA256_SIZE 32

struct sha256; /* a running hash */

struct sha256 *sha256_new(void); /* NULL when out of memory */
void sha256_add(struct sha256 *h, const void *p, size_t n);
void sha256_end(struct sha256 *h, uint8_t ret[SHA256_SIZE]); /* also frees h */
struct sha256 *sha256_free(struct sha256 *h);
/* All at once. */
void sha256_of(struct span s, uint8_t ret[SHA256_SIZE]);

#endif
