#include <dlfcn.h>
#include <ggml-backend.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapter.h"
#include "complain.h"

#define ERROR_MAX 300

static char first_error[ERROR_MAX];
static char build[256];

/* What llama.cpp says may hold names from a model file, which are any bytes at all: terminals, logs
 * and the agent get plain characters. */
static void make_plain(char *text)
{
	for (; *text != '\0'; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

/* The first error is kept for the sentence in which we say what failed: those after it only say
 * that something did.  The rest is chatter. */
static void on_log(enum ggml_log_level level, const char *text, void *ctx)
{
	char line[ERROR_MAX];

	(void)ctx;
	if (level != GGML_LOG_LEVEL_ERROR)
		return;
	(void)snprintf(line, sizeof(line), "%.*s", (int)strcspn(text, "\n"), text);
	make_plain(line);
	if (first_error[0] == '\0')
		memcpy(first_error, line, sizeof(line));
	complain("llama.cpp: %s", line);
}

const char *backend_first_error(void)
{
	return first_error;
}

void backend_forget_error(void)
{
	first_error[0] = '\0';
}

static ggml_backend_reg_t cpu_backend(void)
{
	ggml_backend_dev_t dev = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);

	return dev != NULL ? ggml_backend_dev_backend_reg(dev) : NULL;
}

/* The file that holds a function; false when the loader does not say. */
static bool file_of(const void *function, char *ret, size_t size)
{
	Dl_info lib;

	return function != NULL && dladdr(function, &lib) != 0 && snprintf(ret, size, "%s", lib.dli_fname) < (int)size;
}

/* Backends lie beside the library when it came as a bundle; a distribution's knows its own place. */
static void load_backends(const char *dir)
{
	char path[4096];

	if (dir != NULL) {
		ggml_backend_load_all_from_path(dir);
		return;
	}
	if (cpu_backend() == NULL && file_of((void *)(uintptr_t)ggml_backend_load_all, path, sizeof(path)))
		ggml_backend_load_all_from_path(dirname(path));
	if (cpu_backend() == NULL)
		ggml_backend_load_all();
}

/* "libggml-cpu-zen4.so" holds the kernels "cpu-zen4"; a library with all kernels in one file
 * chooses among them by itself. */
static void name_kernels(char *ret, size_t size)
{
	void *in_backend = ggml_backend_reg_get_proc_address(cpu_backend(), "ggml_backend_set_n_threads");
	char path[4096];
	const char *name = "cpu";

	if (file_of(in_backend, path, sizeof(path))) {
		name = basename(path);
		name += strncmp(name, "libggml-", 8) == 0 ? 8 : 0;
	}
	(void)snprintf(ret, size, "%.*s", (int)strcspn(name, "."), name);
}

int model_init(const char *backends, char reason[MODEL_REASON_MAX])
{
	char kernels[64];

	llama_log_set(on_log, NULL);
	load_backends(backends);
	if (cpu_backend() == NULL) {
		(void)snprintf(reason, MODEL_REASON_MAX,
			"No compute backend of llama.cpp (libggml-cpu-*.so) was found in %.300s; --backends DIR names its "
			"folder.",
			backends != NULL ? backends : "the folder of its library");
		return ERR_RANGE;
	}
	llama_backend_init();
	name_kernels(kernels, sizeof(kernels));
	(void)snprintf(build, sizeof(build), "llama.cpp %s %s", llama_version(), kernels);
	return 0;
}

/* "Vulkan0 (AMD Radeon Graphics, 8192 MiB)" */
static void name_device(ggml_backend_dev_t dev, char *ret, size_t size)
{
	size_t free_bytes = 0, total = 0;

	ggml_backend_dev_memory(dev, &free_bytes, &total);
	(void)snprintf(ret, size, "%s (%.48s, %zu MiB)", ggml_backend_dev_name(dev), ggml_backend_dev_description(dev), total >> 20);
	make_plain(ret);
}

size_t model_devices(struct span ret[PROTO_MAX_DEVICES])
{
	static char names[PROTO_MAX_DEVICES][96];
	size_t n = 0;

	for (size_t i = 0; i < ggml_backend_dev_count() && n < PROTO_MAX_DEVICES; i++) {
		ggml_backend_dev_t dev = ggml_backend_dev_get(i);

		if (ggml_backend_dev_type(dev) == GGML_BACKEND_DEVICE_TYPE_CPU)
			continue;
		name_device(dev, names[n], sizeof(names[n]));
		ret[n] = span_of(names[n]);
		n++;
	}
	return n;
}

const char *model_build(void)
{
	return build;
}

size_t model_max_sequences(void)
{
	return llama_max_parallel_sequences();
}

bool model_needs_sandbox(void)
{
	return true;
}
