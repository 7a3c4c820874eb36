/* stream_api.h - an API of streams that count what happens to them, for the tests of both protocols. */
#ifndef TM_TESTS_NET_STREAM_API_H
#define TM_TESTS_NET_STREAM_API_H

#include "kit.h"

/* GET /stream/{count,shared,abort,wake,flood,pump,idle,fail}, and /upgrade */
struct stream_counts {
    atomic_int opened, closed, released, wakes_seen, stop_waker;
    _Atomic size_t max_queued;
};
extern struct stream_counts counts;
extern pthread_t stream_waker; /* of the stream /stream/wake */
void streams_start(struct kit *k, const struct server_limits *limits);
void streams_start_with(struct kit *k, const struct server_limits *limits, struct listener_config *cfg);
void streams_stop(struct kit *k); /* every stream that was opened must have been closed, once */
void streams_wait_closed(int n);
void streams_wait_queued(void); /* until something waits for a reader */

#endif
