/* resolve.c - name lookups on helper threads. */
#include "resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Shared by the loop's side and the thread; whoever lets go last frees it.  The answer is
 * written by the thread before `is_ready`, read by the loop after it. */
struct job {
	atomic_int n_holders;
	atomic_bool is_ready;
	int event_fd;
	struct resolve_answer answer;
	char host[];
};

struct resolve {
	struct job *job;
	struct loop_io *io;
	void (*fn)(void *ctx, const struct resolve_answer *answer);
	void *ctx;
};

static void job_release(struct job *job)
{
	if (atomic_fetch_sub(&job->n_holders, 1) > 1)
		return;
	(void)close(job->event_fd);
	free(job);
}

/* Fills the answer; flags as of getaddrinfo().  False when there is none. */
static bool look_up(struct job *job, int flags)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags }, *list = NULL;
	struct resolve_answer *a = &job->answer;
	int rc = getaddrinfo(job->host, NULL, &hints, &list);

	for (struct addrinfo *i = rc == 0 ? list : NULL; i != NULL && a->n < RESOLVE_MAX; i = i->ai_next)
		if (getnameinfo(i->ai_addr, i->ai_addrlen, a->address[a->n], RESOLVE_LEN, NULL, 0, NI_NUMERICHOST) == 0)
			a->n++;
	if (list != NULL)
		freeaddrinfo(list);
	if (a->n == 0)
		a->error = rc != 0 ? gai_strerror(rc) : "the name has no address";
	return a->n > 0;
}

static void job_ready(struct job *job)
{
	atomic_store(&job->is_ready, true);
	(void)eventfd_write(job->event_fd, 1); /* fails only past 2^64 - 2 */
}

static void *lookup_thread(void *ctx)
{
	struct job *job = ctx;

	(void)look_up(job, 0);
	job_ready(job);
	job_release(job);
	return NULL;
}

static int start_thread(struct job *job)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t thread;
	int rc = pthread_attr_init(&attr);

	if (rc != 0)
		return -rc;
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)sigfillset(&all); /* signals are the loop's */
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	atomic_fetch_add(&job->n_holders, 1);
	rc = pthread_create(&thread, &attr, lookup_thread, job);
	if (rc != 0)
		atomic_fetch_sub(&job->n_holders, 1);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	return -rc;
}

static void on_event(void *ctx, uint32_t events)
{
	struct resolve *r = ctx;

	(void)events;
	if (!atomic_load(&r->job->is_ready))
		return;
	r->io = loop_io_free(r->io);
	r->fn(r->ctx, &r->job->answer); /* may free r */
}

static struct job *job_new(const char *host)
{
	size_t n = strlen(host) + 1;
	struct job *job = calloc(1, sizeof(*job) + n);

	if (job == NULL)
		return NULL;
	memcpy(job->host, host, n);
	atomic_init(&job->n_holders, 1);
	atomic_init(&job->is_ready, false);
	job->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (job->event_fd >= 0)
		return job;
	free(job);
	return NULL;
}

int resolve_new(struct loop *l, const char *host, void (*fn)(void *ctx, const struct resolve_answer *answer), void *ctx,
	struct resolve **ret)
{
	struct resolve *r = calloc(1, sizeof(*r));
	int rc = ERR_NOMEM;

	if (r == NULL)
		return ERR_NOMEM;
	r->fn = fn;
	r->ctx = ctx;
	r->job = job_new(host);
	if (r->job != NULL)
		rc = loop_io_new(l, r->job->event_fd, EPOLLIN, on_event, r, &r->io);
	if (rc == 0 && look_up(r->job, AI_NUMERICHOST))
		job_ready(r->job); /* already an address: no thread */
	else if (rc == 0)
		rc = start_thread(r->job);
	if (rc < 0) {
		resolve_free(r);
		return rc;
	}
	*ret = r;
	return 0;
}

struct resolve *resolve_free(struct resolve *r)
{
	if (r == NULL)
		return NULL;
	loop_io_free(r->io);
	if (r->job != NULL)
		job_release(r->job);
	free(r);
	return NULL;
}
