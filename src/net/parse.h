/* parse.h - one HTTP/1.1 message at a time, from bytes as they come. Private to net/.
 *
 * This is the only door to llhttp: its enumerators (HTTP_GET ...) collide with those of http.h, so that no other file may
 * include it. The parser collects the head, with field names in lower case, and hands body bytes on as they come. It stops at the
 * end of a message; what follows is the caller's to keep until h1_reset. Not thread-safe. Sources: RFC 9110, RFC 9112. */
#ifndef TM_NET_PARSE_H
#define TM_NET_PARSE_H

#include "base/base.h"

struct h1;
struct h1_limits {
    size_t max_bytes; /* of the head, and of trailers and chunk extensions together */
    size_t max_url;
    size_t max_fields;
};
struct h1_ops {
    /* The head is complete. 0 goes on, -1 stops with H1_STOPPED. */
    int (*on_head)(void *self);
    int (*on_body)(void *self, const char *p, size_t n);
};
enum h1_result {
    H1_MORE,    /* all bytes were taken, the message goes on */
    H1_DONE,    /* the message is complete; *used says where it ended */
    H1_STOPPED, /* a callback returned -1 */
    H1_ERROR,   /* not HTTP, or beyond a limit: h1_status and h1_reason say what */
};

struct h1 *h1_request_new(const struct h1_limits *limits, const struct h1_ops *ops, void *self);
struct h1 *h1_response_new(const struct h1_limits *limits, const struct h1_ops *ops, void *self);
void h1_free(struct h1 *h);
/* Ready for the next message. no_body: the answer to a HEAD request. */
void h1_reset(struct h1 *h, bool no_body);
enum h1_result h1_feed(struct h1 *h, const char *p, size_t n, size_t *used);
/* The peer will send no more. True when that ends the message well (an answer whose body ends with the connection). */
bool h1_finish(struct h1 *h);

/* After H1_ERROR: the status that a server answers (400, 414, 431, 505), and why, for a person. */
int h1_status(const struct h1 *h);
const char *h1_reason(const struct h1 *h);

/* The head; valid from on_head until h1_reset. */
const char *h1_method(const struct h1 *h);
const char *h1_target(const struct h1 *h);
int h1_code(const struct h1 *h);  /* of an answer */
int h1_minor(const struct h1 *h); /* HTTP/1.<minor> */
bool h1_keep_alive(const struct h1 *h);
bool h1_has_body(const struct h1 *h);
int64_t h1_content_length(const struct h1 *h); /* -1: not said */
size_t h1_fields(const struct h1 *h);
const char *h1_name(const struct h1 *h, size_t i);
const char *h1_value(const struct h1 *h, size_t i);

#endif
