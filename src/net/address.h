/* address.h - which addresses lead back to this machine, or no further than its link.
 *
 * Near are loopback, unspecified and link-local addresses, also as IPv6 writes them, and those at which clouds tell a machine who
 * it is. Who follows a URL that a stranger wrote does not go there (client.h, `outside`). */
#ifndef TM_NET_ADDRESS_H
#define TM_NET_ADDRESS_H

#include <sys/socket.h>

#include "base/base.h"

bool address_is_near(const struct sockaddr *sa);
/* Of a literal address, with or without brackets, and of "localhost". Other names are not looked up: false. */
bool host_is_near(const char *host);

#endif
