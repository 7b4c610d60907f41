/* socket.h - TCP for the HTTP server: listening, and what is set on an accepted socket. */
#ifndef SHOAL_SOCKET_H
#define SHOAL_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct listener {
	int fd, port;
	bool is_loopback; /* nobody outside this box can reach it */
};

/* address: numeric, or "localhost"; port 0: any free one.  On failure err says what to do, with the option
 * that sets them. */
SHOAL_CHECK int socket_listen(
	const char *address, int port, const char *option, char *err, size_t err_size, struct listener *ret);
/* Finds dead peers sooner, and bounds what the kernel holds for a slow reader. */
void socket_tune(int fd, size_t send_buffer);
/* Bytes that came in so far; a FIN counts as one. */
uint64_t socket_received(int fd);
/* True when the peer has said that nothing more will come, and all it sent was read. */
bool socket_is_at_end(int fd);

#endif
