/* Runs a fuzz target without libFuzzer: over every file of its corpus, then over
 * mutations of them from a fixed seed.  Crashing or a sanitizer's report is failing.
 *
 * Usage: fuzz_NAME CORPUS_DIR [MUTATIONS [SEED]] */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "rng.h"

#define MAX_INPUTS 4096
#define MAX_SIZE 65536

struct input {
	uint8_t *p;
	size_t n;
};

static struct input inputs[MAX_INPUTS];
static size_t n_inputs;

static void load(const char *dir, const char *name)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (f == NULL || n_inputs == MAX_INPUTS) {
		fprintf(stderr, "fuzz: cannot read %s\n", path);
		exit(2);
	}
	inputs[n_inputs].p = malloc(MAX_SIZE);
	inputs[n_inputs].n = fread(inputs[n_inputs].p, 1, MAX_SIZE, f);
	n_inputs++;
	fclose(f);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void load_all(const char *dir)
{
	struct dirent **names;
	int n = scandir(dir, &names, NULL, by_name);

	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.')
			load(dir, names[i]->d_name);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	if (n_inputs == 0) {
		fprintf(stderr, "fuzz: no corpus in %s\n", dir);
		exit(2);
	}
}

/* A block of its own size each time, so that the sanitizer sees a read past the end. */
static void run(const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n > 0 ? n : 1);

	if (n > 0)
		memcpy(copy, p, n);
	(void)LLVMFuzzerTestOneInput(copy, n);
	free(copy);
}

static size_t cut(struct rng *rng, uint8_t *p, size_t n)
{
	size_t at = (size_t)rng_below(rng, n), k = 1 + (size_t)rng_below(rng, n - at);

	memmove(p + at, p + at + k, n - at - k);
	return n - k;
}

static size_t repeat(struct rng *rng, uint8_t *p, size_t n)
{
	size_t at = (size_t)rng_below(rng, n), k = 1 + (size_t)rng_below(rng, n - at);

	if (n + k > MAX_SIZE)
		return n;
	memmove(p + at + k, p + at, n - at);
	return n + k;
}

static size_t mutate(struct rng *rng, uint8_t *p, size_t n)
{
	static const uint8_t odd[] = { 0, 1, 0x7f, 0x80, 0xff, 0x9b, 0xbb, 0x5b, 0x7b, 0x1b, '"', '{', '\\' };

	for (uint64_t k = 1 + rng_below(rng, 4); k > 0 && n > 0; k--) {
		switch (rng_below(rng, 5)) {
		case 0: p[rng_below(rng, n)] ^= (uint8_t)(1u << rng_below(rng, 8)); break;
		case 1: p[rng_below(rng, n)] = (uint8_t)rng_next(rng); break;
		case 2: p[rng_below(rng, n)] = odd[rng_below(rng, sizeof(odd))]; break;
		case 3: n = cut(rng, p, n); break;
		default: n = repeat(rng, p, n); break;
		}
	}
	return n;
}

int main(int argc, char **argv)
{
	uint64_t mutations = argc > 2 ? strtoull(argv[2], NULL, 10) : 20000,
		 seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
	uint8_t *work = malloc(MAX_SIZE);
	struct rng rng;

	if (argc < 2) {
		fprintf(stderr, "usage: %s CORPUS_DIR [MUTATIONS [SEED]]\n", argv[0]);
		return 2;
	}
	load_all(argv[1]);
	for (size_t i = 0; i < n_inputs; i++)
		run(inputs[i].p, inputs[i].n);
	rng_seed(&rng, seed);
	for (uint64_t i = 0; i < mutations; i++) {
		const struct input *in = &inputs[rng_below(&rng, n_inputs)];

		memcpy(work, in->p, in->n);
		run(work, mutate(&rng, work, in->n));
	}
	for (size_t i = 0; i < n_inputs; i++)
		free(inputs[i].p);
	free(work);
	printf("%zu inputs, %" PRIu64 " mutations from seed %" PRIu64 "\n1 passed, 0 failed, 0 skipped\n", n_inputs,
		mutations, seed);
	return 0;
}
