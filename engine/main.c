/* The engine: one model, many sequences, on descriptor 3 for the agent that started it. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "box.h"
#include "complain.h"
#include "engine_proto.h"
#include "model.h"
#include "sandbox.h"
#include "serve.h"

#define EXIT_USAGE 64

/* When memory runs out the kernel ends this process before the agent, which then can say so. */
static void offer_to_oom_killer(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "500", 3) < 0)
		complain("oom_score_adj cannot be set, ignoring");
	close(fd);
}

/* After all that has to be opened, before anything of a model file is looked at. */
static int lock_in(void)
{
	int rc = sandbox_enter();

	if (rc == -ENOSYS) {
		complain("this kernel has no system-call filter (CONFIG_SECCOMP_FILTER): a hostile model file could do "
			 "whatever "
			 "the agent's user may; load only models you trust");
		return 0;
	}
	if (rc < 0)
		complain("the sandbox cannot be set up: %s; not looking at any model", strerror(-rc));
	return rc;
}

static int usage(int rc)
{
	fputs("usage: shoal-engine [--backends DIR]\n"
	      "  --backends DIR  where to look for compute backends instead of beside the library\n"
	      "  --version       say what it is\n"
	      "shoal-agent starts it and speaks with it on descriptor 3; docs/ENGINE.md has the protocol.\n",
		rc == 0 ? stdout : stderr);
	return rc;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "backends", required_argument, NULL, 'b' },
		{ "version", no_argument, NULL, 'v' }, { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	const char *backends = NULL;
	char reason[MODEL_REASON_MAX] = "";
	bool is_version = false;
	struct box box;
	struct stat st;

	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (o == 'h')
			return usage(0);
		if (o == '?')
			return usage(EXIT_USAGE);
		if (o == 'b')
			backends = optarg;
		is_version = is_version || o == 'v';
	}
	if (optind < argc)
		return usage(EXIT_USAGE);
	if (model_init(backends, reason) < 0) {
		complain("%s", reason);
		return 1;
	}
	if (is_version)
		return printf("shoal-engine " SHOAL_VERSION " (%s)\n", model_build()) > 0 ? 0 : 1;
	if (fstat(ENGINE_FD, &st) < 0 || !S_ISSOCK(st.st_mode))
		return usage(EXIT_USAGE);
	offer_to_oom_killer();
	box_open(&box, "");
	if (model_needs_sandbox() && lock_in() < 0)
		return 1;
	return serve(ENGINE_FD, &box);
}
