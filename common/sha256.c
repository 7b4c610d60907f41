#include "sha256.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdatomic.h>

struct sha256; /* an EVP_MD_CTX by another name: OpenSSL stays in this file */

/* OpenSSL looks an algorithm up by its name whenever EVP_sha256() is used, which takes longer than to hash a kilobyte.
 * Looked up once, for the life of the process. */
static const EVP_MD *algorithm(void)
{
	static _Atomic(EVP_MD *) known;
	EVP_MD *md = atomic_load(&known), *none = NULL;

	if (md != NULL)
		return md;
	md = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (md == NULL)
		return EVP_sha256();
	if (atomic_compare_exchange_strong(&known, &none, md))
		return md;
	EVP_MD_free(md); /* another thread was faster */
	return none;
}

struct sha256 *sha256_new(void)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (ctx != NULL && EVP_DigestInit_ex(ctx, algorithm(), NULL) != 1) {
		EVP_MD_CTX_free(ctx);
		return NULL;
	}
	return (struct sha256 *)ctx;
}

void sha256_add(struct sha256 *h, const void *p, size_t n)
{
	int ok = EVP_DigestUpdate((EVP_MD_CTX *)h, p, n);

	assert(ok == 1); /* fails only on a context that was not set up */
	(void)ok;
}

void sha256_end(struct sha256 *h, uint8_t ret[SHA256_SIZE])
{
	int ok = EVP_DigestFinal_ex((EVP_MD_CTX *)h, ret, NULL);

	assert(ok == 1);
	(void)ok;
	sha256_free(h);
}

struct sha256 *sha256_free(struct sha256 *h)
{
	EVP_MD_CTX_free((EVP_MD_CTX *)h);
	return NULL;
}

void sha256_of(struct span s, uint8_t ret[SHA256_SIZE])
{
	int ok = EVP_Digest(s.p, s.n, ret, NULL, algorithm(), NULL);

	assert(ok == 1);
	(void)ok;
}
