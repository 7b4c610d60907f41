/* http_client.c - curl's multi interface driven by our loop (curl_multi_socket_action):
 * curl says which descriptors and which timeout it wants, the loop tells it what happened. */
#include "http_client.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>

struct http_client {
	struct loop *loop;
	CURLM *multi;
	struct loop_timer *timer;
	struct http_request *requests;
};

struct http_request {
	struct http_client *client;
	struct http_request *prev, *next;
	CURL *easy;
	struct curl_slist *headers;
	struct http_callbacks cb;
	void *ctx;
	char why[CURL_ERROR_SIZE];
};

/* One for each descriptor curl asked about. */
struct watch {
	struct http_client *client;
	struct loop_io *io;
	curl_socket_t fd;
};

/* Tells the owners of finished requests.  A request is out of curl's hands before its
 * callback runs, so the callback may free it. */
static void sweep(struct http_client *c)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(c->multi, &left)) != NULL) {
		struct http_request *r;
		CURLcode result = msg->data.result;

		if (msg->msg != CURLMSG_DONE ||
			curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&r) != CURLE_OK)
			continue;
		curl_multi_remove_handle(c->multi, r->easy);
		if (result == CURLE_OK)
			r->cb.done(r->ctx, http_status(r), NULL);
		else
			r->cb.done(r->ctx, 0, r->why[0] != '\0' ? r->why : curl_easy_strerror(result));
	}
}

static void act(struct http_client *c, curl_socket_t fd, int what)
{
	int running;

	curl_multi_socket_action(c->multi, fd, what, &running);
	sweep(c);
}

static void on_timer(void *ctx)
{
	act(ctx, CURL_SOCKET_TIMEOUT, 0);
}

static void on_io(void *ctx, uint32_t events)
{
	struct watch *w = ctx;
	int what = 0;

	if (events & (EPOLLIN | EPOLLHUP))
		what |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		what |= CURL_CSELECT_OUT;
	if (events & EPOLLERR)
		what |= CURL_CSELECT_ERR;
	act(w->client, w->fd, what); /* may free w */
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
	struct http_client *c = ctx;
	struct watch *w = socket_ctx;
	uint32_t events = (what != CURL_POLL_OUT ? EPOLLIN : 0u) | (what != CURL_POLL_IN ? EPOLLOUT : 0u);

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (w != NULL)
			loop_io_free(w->io);
		free(w);
		return 0;
	}
	if (w != NULL)
		return loop_io_events(w->io, events) < 0 ? -1 : 0;
	w = calloc(1, sizeof(*w));
	if (w == NULL)
		return -1;
	w->client = c;
	w->fd = fd;
	if (loop_io_new(c->loop, fd, events, on_io, w, &w->io) < 0) {
		free(w);
		return -1;
	}
	curl_multi_assign(c->multi, fd, w);
	return 0;
}

static int on_timeout(CURLM *multi, long timeout_ms, void *ctx)
{
	struct http_client *c = ctx;

	(void)multi;
	if (timeout_ms < 0)
		loop_timer_off(c->timer);
	else
		loop_timer_at(c->timer, clock_ms() + (uint64_t)timeout_ms);
	return 0;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *ctx)
{
	struct http_request *r = ctx;

	r->cb.data(r->ctx, span_mem(bytes, size * n));
	return size * n;
}

int http_client_new(struct loop *l, struct http_client **ret)
{
	struct http_client *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return ERR_NOMEM;
	c->loop = l;
	if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK || (c->multi = curl_multi_init()) == NULL ||
		loop_timer_new(l, on_timer, c, &c->timer) < 0) {
		http_client_free(c);
		return ERR_NOMEM;
	}
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
	*ret = c;
	return 0;
}

struct http_client *http_client_free(struct http_client *c)
{
	if (c == NULL)
		return NULL;
	while (c->requests != NULL)
		http_request_free(c->requests);
	if (c->multi != NULL)
		curl_multi_cleanup(c->multi);
	loop_timer_free(c->timer);
	free(c);
	curl_global_cleanup();
	return NULL;
}

/* A proxy of the environment has no business between us and our own box. */
static bool is_loopback(const char *url)
{
	static const char *const hosts[] = { "http://127.", "http://localhost", "http://[::1]" };

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		if (strncasecmp(url, hosts[i], strlen(hosts[i])) == 0)
			return true;
	}
	return false;
}

static void set_up(struct http_request *r, const char *url, const struct span *json, uint64_t timeout_ms)
{
	curl_easy_setopt(r->easy, CURLOPT_URL, url);
	curl_easy_setopt(r->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	if (is_loopback(url))
		curl_easy_setopt(r->easy, CURLOPT_PROXY, "");
	curl_easy_setopt(r->easy, CURLOPT_USERAGENT, "shoal/" SHOAL_VERSION);
	curl_easy_setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(r->easy, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
	curl_easy_setopt(r->easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
	curl_easy_setopt(r->easy, CURLOPT_ERRORBUFFER, r->why);
	curl_easy_setopt(r->easy, CURLOPT_PRIVATE, r);
	curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
	if (json == NULL)
		return;
	curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)json->n);
	curl_easy_setopt(r->easy, CURLOPT_COPYPOSTFIELDS, json->p);
	/* No "Expect: 100-continue": it costs a round trip, or a second where a proxy drops it. */
	r->headers = curl_slist_append(curl_slist_append(NULL, "Content-Type: application/json"), "Expect:");
	curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
}

int http_start(struct http_client *c, const char *url, const struct span *json, uint64_t timeout_ms,
	const struct http_callbacks *cb, void *ctx, struct http_request **ret)
{
	struct http_request *r = calloc(1, sizeof(*r));

	if (r == NULL || (r->easy = curl_easy_init()) == NULL) {
		free(r);
		return ERR_NOMEM;
	}
	r->client = c;
	r->cb = *cb;
	r->ctx = ctx;
	r->next = c->requests;
	if (r->next != NULL)
		r->next->prev = r;
	c->requests = r;
	set_up(r, url, json, timeout_ms);
	/* Nothing is sent in here: curl sets its timer to 0 and begins from the loop. */
	if (curl_multi_add_handle(c->multi, r->easy) != CURLM_OK) {
		http_request_free(r);
		return ERR_NOMEM;
	}
	*ret = r;
	return 0;
}

long http_status(const struct http_request *r)
{
	long status = 0;

	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

struct http_request *http_request_free(struct http_request *r)
{
	if (r == NULL)
		return NULL;
	if (r->prev != NULL)
		r->prev->next = r->next;
	else
		r->client->requests = r->next;
	if (r->next != NULL)
		r->next->prev = r->prev;
	curl_multi_remove_handle(r->client->multi, r->easy); /* harmless when it is out already */
	curl_easy_cleanup(r->easy);
	curl_slist_free_all(r->headers);
	free(r);
	return NULL;
}
