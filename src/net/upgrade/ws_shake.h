/* ws_shake.h - the opening handshake of RFC 6455 section 4, what both sides need of it. Private to net/. */
#ifndef TM_NET_WS_SHAKE_H
#define TM_NET_WS_SHAKE_H

#include "base/base.h"

#define WS_ACCEPT_SIZE 29 /* base64 of a SHA-1, and its NUL */
/* Sec-WebSocket-Accept for a Sec-WebSocket-Key. */
void ws_accept_key(const char *key, char out[WS_ACCEPT_SIZE]);
/* Is token (any case) an element of a comma-separated list? */
bool ws_list_has(const char *list, const char *token);

#endif
