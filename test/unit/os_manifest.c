/* The bundled model is the one its manifest names. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "config.h"
#include "sha256.h"
#include "span.h"

struct file {
	char *role, *file, *sha256;
	uint64_t size;
};

struct manifest {
	char *name, **aliases, *description, *architecture, *quantisation, *chat, *licence;
	uint64_t parameters, context;
	struct file *files;
	size_t n_aliases, n_files;
};

static const struct config_option file_options[] = {
	{ "role", CONFIG_TEXT, offsetof(struct file, role), .max = 64 },
	{ "file", CONFIG_TEXT, offsetof(struct file, file), .max = 255 },
	{ "size", CONFIG_UINT, offsetof(struct file, size), .def = "0" },
	{ "sha256", CONFIG_TEXT, offsetof(struct file, sha256), .min = 64, .max = 64 },
};
static const struct config_schema file_schema = { sizeof(struct file), file_options, 4 };

static const struct config_option options[] = {
	{ "name", CONFIG_TEXT, offsetof(struct manifest, name), .max = 64 },
	{ "aliases", CONFIG_TEXTS, offsetof(struct manifest, aliases), offsetof(struct manifest, n_aliases), .max = 16,
		.def = "" },
	{ "description", CONFIG_TEXT, offsetof(struct manifest, description), .max = 1000 },
	{ "architecture", CONFIG_TEXT, offsetof(struct manifest, architecture), .max = 64 },
	{ "parameters", CONFIG_UINT, offsetof(struct manifest, parameters), .def = "0" },
	{ "quantisation", CONFIG_TEXT, offsetof(struct manifest, quantisation), .max = 64 },
	{ "context", CONFIG_UINT, offsetof(struct manifest, context), .def = "0" },
	{ "chat", CONFIG_TEXT, offsetof(struct manifest, chat), .max = 64 },
	{ "licence", CONFIG_TEXT, offsetof(struct manifest, licence), .max = 64 },
	{ "files", CONFIG_GROUPS, offsetof(struct manifest, files), offsetof(struct manifest, n_files), .min = 1, .max = 16,
		.def = NULL, .groups = &file_schema },
};
static const struct config_schema schema = { sizeof(struct manifest), options, sizeof(options) / sizeof(options[0]) };

static struct buf read_all(const char *name)
{
	struct buf out = BUF_INIT(64 << 20);
	char path[512];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), SHOAL_SOURCE_DIR "/models/%s", name);
	f = fopen(path, "rb");
	cr_assert_not_null(f, "%s", path);
	while ((n = fread(buf_reserve(&out, 65536), 1, 65536, f)) > 0)
		out.n += n;
	fclose(f);
	return out;
}

Test(manifest, size_and_digest_are_those_of_the_file)
{
	struct config_error err;
	struct manifest m;

	cr_assert_eq(config_load(&schema, SHOAL_SOURCE_DIR "/models/triage.cfg", NULL, 0, &m, &err), 0, "%s", err.text);
	cr_assert_str_eq(m.name, "triage");
	for (size_t i = 0; i < m.n_files; i++) {
		struct buf bytes = read_all(m.files[i].file), hex = BUF_INIT(65);
		uint8_t digest[SHA256_SIZE];

		sha256_of(buf_span(&bytes), digest);
		for (size_t k = 0; k < sizeof(digest); k++)
			buf_addf(&hex, "%02x", digest[k]);
		cr_expect_eq(bytes.n, m.files[i].size);
		cr_expect(span_is(buf_span(&hex), m.files[i].sha256));
		buf_fini(&bytes);
		buf_fini(&hex);
	}
	config_free(&schema, &m);
}
