/* hardware.c - kinds of boxes and models.  The figures are of what such boxes sustain, not of what
 * their makers promise; they only have to be right relative to each other. */
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

#define GB 1e9
#define GIB ((uint64_t)1 << 30)

static const struct model_kind models[] = {
	{ "tiny", 0.5e9, 0.6 * GB },
	{ "small", 1.7e9, 1.2 * GB },
	{ "mid", 8e9, 4.9 * GB },
	{ "large", 32e9, 19 * GB },
};

static const struct box_kind kinds[] = {
	{ "pi", 9 * GB, 60e9, 8 * GIB, 2, POWER_MAINS, "class=pi", 4 },
	{ "mini", 20 * GB, 200e9, 16 * GIB, 4, POWER_MAINS, "class=mini", 4 },
	{ "laptop", 45 * GB, 500e9, 16 * GIB, 4, POWER_BATTERY, "class=laptop", 8 },
	{ "desktop", 60 * GB, 1000e9, 32 * GIB, 4, POWER_MAINS, "class=desktop", 16 },
	{ "server", 180 * GB, 3000e9, 128 * GIB, 8, POWER_UPS, "class=server", 64 },
	{ "echo", 600e6 / 13e-3, 1e18, 8 * GIB, 4, POWER_MAINS, "class=echo",
		4 }, /* tiny: 13 ms a step, whatever is in it */
	{ "gpu", 400 * GB, 20000e9, 24 * GIB, 16, POWER_MAINS, "class=gpu", 16 },
};

#define N_MODELS (sizeof(models) / sizeof(models[0]))
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

void hardware_list(void)
{
	printf("\nkinds of boxes (--fleet):\n");
	for (size_t i = 0; i < N_KINDS; i++)
		printf("  %-8s %3.0f GB/s, %5.0f GFLOPS, %3u GiB, %2u jobs at once\n", kinds[i].name, kinds[i].bytes_s / GB,
			kinds[i].flops / 1e9, (unsigned)(kinds[i].memory / GIB), (unsigned)kinds[i].slots);
	printf("\nmodels (--models):\n");
	for (size_t i = 0; i < N_MODELS; i++)
		printf("  %-8s %4.1f billion parameters, %4.1f GB\n", models[i].name, models[i].params / 1e9,
			models[i].bytes / GB);
}

/* "name:number,name:number"; false at the end, or at what cannot be read: then *at does not stand at the end. */
static bool next_item(const char **at, char *ret_name, size_t size, uint64_t *ret_number)
{
	size_t n = strcspn(*at, ":,");
	char *end;

	if (n == 0 || n >= size)
		return false;
	memcpy(ret_name, *at, n);
	ret_name[n] = '\0';
	*ret_number = 1;
	if ((*at)[n] == ':') {
		*ret_number = strtoull(*at + n + 1, &end, 10);
		if (end == *at + n + 1 || *ret_number == 0 || *ret_number > 1000000 || (*end != ',' && *end != '\0'))
			return false;
		n = (size_t)(end - *at);
	}
	*at += n;
	*at += **at == ',';
	return true;
}

static const struct model_kind *find_model(const char *name)
{
	for (size_t i = 0; i < N_MODELS; i++)
		if (strcmp(models[i].name, name) == 0)
			return &models[i];
	return NULL;
}

static const struct box_kind *find_kind(const char *name)
{
	for (size_t i = 0; i < N_KINDS; i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	return NULL;
}

static bool parse_models(const char *text, struct fleet *f)
{
	const char *at = text;
	double sum = 0;
	char name[32];
	uint64_t n;

	while (*at != '\0') {
		const struct model_kind *m = next_item(&at, name, sizeof(name), &n) ? find_model(name) : NULL;

		if (m == NULL || f->n_models == SIM_MODELS) {
			fprintf(stderr,
				"shoal-sim: --models=%s cannot be read: give up to %u names with weights, as tiny:3,mid:1; "
				"--help lists them\n",
				text, SIM_MODELS);
			return false;
		}
		f->models[f->n_models] = m;
		f->share[f->n_models++] = (double)n;
		sum += (double)n;
	}
	for (size_t i = 0; i < f->n_models; i++)
		f->share[i] /= sum;
	return f->n_models > 0;
}

static bool parse_fleet(const char *text, struct fleet *f)
{
	const char *at = text;
	char name[32];
	uint64_t n;

	while (*at != '\0') {
		const struct box_kind *k = next_item(&at, name, sizeof(name), &n) ? find_kind(name) : NULL;

		if (k == NULL || f->n_kinds == sizeof(f->kinds) / sizeof(f->kinds[0])) {
			fprintf(stderr,
				"shoal-sim: --fleet=%s cannot be read: give kinds of boxes with weights, as pi:3,desktop:1; "
				"--help lists them\n",
				text);
			return false;
		}
		f->kinds[f->n_kinds].kind = k;
		f->kinds[f->n_kinds++].weight = n;
		f->weight += n;
	}
	return f->n_kinds > 0;
}

static void fill_kind(const struct fleet *f, struct fleet_kind *k)
{
	const struct box_kind *kind = k->kind;

	k->hardware = (struct hardware){ .mem_total = kind->memory, .cores = kind->cores, .power = kind->power };
	for (size_t m = 0; m < f->n_models; m++) {
		double row = hardware_row_us(kind, f->models[m]), pass = hardware_pass_us(kind, f->models[m]);
		struct agent_bench *b = &k->benches[k->n_benches];

		if (!hardware_fits(kind, f->models[m]))
			continue;
		k->n_benches++;
		*b = (struct agent_bench){ .build = SIM_BUILD,
			.threads = kind->cores,
			.prefill_milli = (uint64_t)(1e9 / row),
			.decode_milli = (uint64_t)(1e9 / (pass + row)) };
		memcpy(b->digest, SIM_DIGEST, sizeof(b->digest));
		b->digest[0] = (uint8_t)f->models[m]->name[0];
	}
}

bool hardware_parse(const struct settings *s, struct fleet *ret)
{
	*ret = (struct fleet){ 0 };
	if (!parse_models(s->models, ret) || !parse_fleet(s->fleet, ret))
		return false;
	for (size_t m = 0; m < ret->n_models; m++) {
		bool is_held = false;

		for (size_t k = 0; k < ret->n_kinds; k++)
			is_held |= hardware_fits(ret->kinds[k].kind, ret->models[m]);
		if (!is_held) {
			fprintf(stderr,
				"shoal-sim: no box of the fleet has memory for model %s: add a greater kind to --fleet\n",
				ret->models[m]->name);
			return false;
		}
	}
	for (size_t k = 0; k < ret->n_kinds; k++)
		fill_kind(ret, &ret->kinds[k]);
	return true;
}

/* Kinds are spread evenly, so that the first boxes are a small fleet of the same mixture. */
const struct fleet_kind *hardware_kind(const struct fleet *f, uint64_t box)
{
	uint64_t at = box * 7919 % f->weight; /* a prime: visits every residue */
	size_t k = 0;

	while (at >= f->kinds[k].weight)
		at -= f->kinds[k++].weight;
	return &f->kinds[k];
}

bool hardware_fits(const struct box_kind *k, const struct model_kind *m)
{
	return m->bytes < 0.7 * (double)k->memory;
}

double hardware_pass_us(const struct box_kind *k, const struct model_kind *m)
{
	return m->bytes / k->bytes_s * 1e6;
}

double hardware_row_us(const struct box_kind *k, const struct model_kind *m)
{
	return 2 * m->params / k->flops * 1e6;
}

/* With all slots in use and nothing cached; a box with several models gives each the same time. */
double hardware_capacity(const struct fleet *f, uint64_t agents, double prompt, double output)
{
	double least = -1;

	for (size_t m = 0; m < f->n_models; m++) {
		double sum = 0;

		for (size_t k = 0; k < f->n_kinds; k++) {
			const struct box_kind *kind = f->kinds[k].kind;
			double n = (double)agents * (double)f->kinds[k].weight / (double)f->weight, n_models = 0;
			double row = hardware_row_us(kind, f->models[m]);
			double token = hardware_pass_us(kind, f->models[m]) / (double)kind->slots + row;

			for (size_t i = 0; i < f->n_models; i++)
				n_models += hardware_fits(kind, f->models[i]);
			if (hardware_fits(kind, f->models[m]))
				sum += n / n_models * 1e6 / (prompt * row + output * token);
		}
		sum /= f->share[m];
		least = least < 0 || sum < least ? sum : least;
	}
	return least;
}
