#include "broker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "topic.h"

#define PASSWORD_MAX 1024

const char *broker_check(const struct broker_settings *b)
{
	if ((b->certfile[0] != '\0') != (b->keyfile[0] != '\0'))
		return "broker.certfile and broker.keyfile go together: set both or none";
	if (b->certfile[0] != '\0' && b->cafile[0] == '\0')
		return "broker.certfile needs broker.cafile: without it there is no TLS";
	return NULL;
}

const char *broker_check_prefix(const char *value)
{
	struct topic t;
	size_t n = strlen(value);

	if (n == 0 || value[0] == '/' || value[n - 1] == '/' || strpbrk(value, "+#$ ") != NULL ||
		topic_make(value, TOPIC_AGENT_REGISTRATION, SPAN("+"), &t) < 0)
		return "a prefix is a piece of a topic: no + # $ nor blank, no / at either end, at most some 100 characters";
	return NULL;
}

/* The first line, without its end. */
static int read_password(const char *path, char *ret, size_t size)
{
	FILE *f = fopen(path, "re");
	int rc = 0;

	if (f == NULL)
		return -errno;
	if (fgets(ret, (int)size, f) == NULL)
		rc = ferror(f) ? -EIO : ERR_MISSING;
	(void)fclose(f);
	ret[strcspn(ret, "\r\n")] = '\0';
	return rc == 0 && ret[0] == '\0' ? ERR_MISSING : rc;
}

static const char *or_null(const char *text)
{
	return text[0] != '\0' ? text : NULL;
}

int broker_link_new(struct loop *l, const struct broker_settings *b, const struct mq_config *base,
	const struct mq_callbacks *cb, void *ctx, char *err, size_t err_size, struct mq **ret)
{
	char password[PASSWORD_MAX] = "";
	struct mq_config c = *base;
	int rc = 0;

	c.host = b->host;
	c.port = (int)b->port;
	c.username = or_null(b->username);
	c.cafile = or_null(b->cafile);
	c.certfile = or_null(b->certfile);
	c.keyfile = or_null(b->keyfile);
	c.keepalive_s = (int)b->keepalive_s;
	if (b->password_file[0] != '\0') {
		rc = read_password(b->password_file, password, sizeof(password));
		c.password = password;
	}
	if (rc < 0) {
		(void)snprintf(err, err_size,
			"no password in \"%s\": %s; broker.password_file names a file whose first line it is",
			b->password_file, rc > -1000 ? strerror(-rc) : err_text(rc));
		return rc;
	}
	rc = mq_new(l, &c, cb, ctx, ret);
	explicit_bzero(password, sizeof(password));
	if (rc < 0)
		(void)snprintf(err, err_size, "the MQTT client cannot be made (%s); see the options under broker.",
			rc > -1000 ? strerror(-rc) : err_text(rc));
	return rc;
}
