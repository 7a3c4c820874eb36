/* test_h2_stream.c - what http.h promises of streams, on HTTP/2. */
#include "h2kit.h"
#include "stream_api.h"

#include <unistd.h>

static void test_data(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    struct peer *p = peer_open(k.port);
    struct peer_stream *count = peer_get(p, "/stream/count"), *shared = peer_get(p, "/stream/shared"),
                       *head = peer_ask(p, "HEAD", "/stream/count", NULL, NULL, 0), *fail = peer_get(p, "/stream/fail");
    peer_until(p, count, NULL);
    peer_until(p, shared, NULL);
    peer_until(p, head, NULL);
    peer_until(p, fail, NULL);
    assert_int_equal(count->status, 200);
    assert_has(count->head.data, "content-type: application/x-test\n");
    assert_null(strstr(count->head.data, "transfer-encoding"));
    assert_null(strstr(count->head.data, "content-length"));
    assert_string_equal(count->body.data, "tick 1;tick 2;tick 3;");
    assert_string_equal(shared->body.data, "ashared bytesb");
    assert_true(count->ended && count->code == NGHTTP2_NO_ERROR);
    assert_int_equal(atomic_load(&counts.released), 3);
    assert_int_equal(head->status, 200);
    assert_int_equal(head->body.len, 0);
    assert_int_equal(fail->status, 500);
    assert_int_equal(http_server_connections(k.server), 1);
    peer_close(p);
    streams_stop(&k);
}

static void test_abort(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    struct peer *p = peer_open(k.port);
    struct peer_stream *idle = peer_get(p, "/stream/idle"), *s = peer_get(p, "/stream/abort");
    peer_until(p, s, NULL);
    assert_string_equal(buf_str(&s->body), "some");
    assert_false(s->ended);
    assert_int_equal(s->code, NGHTTP2_INTERNAL_ERROR);
    peer_run(p, 50);
    assert_false(idle->closed || p->gone); /* the others go on */
    peer_close(p);
    streams_wait_closed(2);
    streams_stop(&k);
}

static void test_wakes(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    atomic_store(&counts.stop_waker, 0);
    struct peer *p = peer_open(k.port);
    struct peer_stream *s = peer_get(p, "/stream/wake");
    peer_until(p, s, NULL);
    assert_has(s->body.data, "wake 20;");
    assert_null(strstr(s->body.data, "wake 21;"));
    atomic_store(&counts.stop_waker, 1);
    pthread_join(stream_waker, NULL); /* it went on waking what is gone */
    peer_close(p);
    streams_stop(&k);
}

static void test_back_pressure(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    /* The client's window is what holds the pump, not the socket; another stream of the connection is not held. */
    struct peer *p = peer_open_with(k.port, 100000);
    struct peer_stream *s = peer_get(p, "/stream/pump");
    for (int i = 0; i < 1200 && s->body.len < 100000; i++)
        peer_run(p, 50);
    peer_run(p, 200);
    assert_int_equal(s->body.len, 100000);
    struct peer_stream *count = peer_get(p, "/stream/count");
    peer_until(p, count, NULL);
    assert_string_equal(count->body.data, "tick 1;tick 2;tick 3;");
    assert_true(atomic_load(&counts.max_queued) > 0);
    assert_true(atomic_load(&counts.max_queued) < 256 * 1024);
    p->hold = false;
    nghttp2_session_consume(p->session, s->id, s->body.len);
    peer_until(p, s, NULL);
    assert_true(s->body.len >= 2000 * 16384);
    assert_true(s->ended);
    assert_true(atomic_load(&counts.max_queued) < 256 * 1024);
    peer_close(p);
    streams_stop(&k);
}

static void test_flood_is_cut(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    struct peer *p = peer_open(k.port);
    struct peer_stream *s = peer_get(p, "/stream/flood");
    peer_until(p, s, NULL);
    assert_false(s->ended);
    assert_true(s->body.len < 40 << 20);
    assert_false(p->gone);
    peer_close(p);
    streams_stop(&k);
}

static void test_client_goes(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    struct peer *p = peer_open(k.port);
    struct peer_stream *s[4];
    for (int i = 0; i < 4; i++)
        s[i] = peer_get(p, "/stream/idle");
    struct peer_stream *count = peer_get(p, "/stream/count");
    peer_until(p, count, NULL);
    assert_int_equal(atomic_load(&counts.closed), 1);
    nghttp2_submit_rst_stream(p->session, 0, s[0]->id, NGHTTP2_CANCEL); /* one */
    peer_run(p, 20);
    streams_wait_closed(2);
    peer_close(p); /* and all */
    streams_wait_closed(5);
    /* Half-closed: nobody listens to an endless answer any more. */
    p = peer_open(k.port);
    s[0] = peer_get(p, "/stream/idle");
    peer_until_status(p, s[0]);
    shutdown(p->fd, SHUT_WR);
    streams_wait_closed(6);
    peer_until_gone(p);
    peer_close(p);
    streams_stop(&k);
}

static void test_stop_ends_streams(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    struct peer *p = peer_open(k.port);
    struct peer_stream *s = peer_get(p, "/stream/idle");
    peer_until_status(p, s);
    assert_int_equal(s->status, 200);
    int64_t t = kit_now_ms();
    http_server_stop(k.server, 300);
    assert_true(kit_now_ms() - t < 30000);
    peer_until_gone(p);
    assert_true(p->goaway && p->goaway_code == NGHTTP2_NO_ERROR);
    assert_true(s->ended);
    assert_int_equal(atomic_load(&counts.closed), 1);
    peer_close(p);
}

static void test_upgrade(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    struct peer *p = peer_open(k.port);
    struct peer_stream *s = peer_get(p, "/upgrade");
    peer_until(p, s, NULL);
    assert_int_equal(s->code, NGHTTP2_HTTP_1_1_REQUIRED);
    peer_close(p);
    streams_wait_closed(1);
    streams_stop(&k);
}

static void test_many_idle(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    struct peer *p = peer_open(k.port);
    for (int i = 0; i < 250; i++)
        peer_get(p, "/stream/idle");
    for (int i = 0; i < 250; i++)
        peer_until_status(p, &p->streams[i]);
    for (int i = 0; i < 250; i++)
        assert_int_equal(p->streams[i].status, 200);
    assert_int_equal(http_server_connections(k.server), 1);
    peer_close(p);
    streams_wait_closed(250);
    streams_stop(&k);
}

TEST_GROUP(h2_streams, cmocka_unit_test(test_data), cmocka_unit_test(test_abort), cmocka_unit_test(test_wakes),
           cmocka_unit_test(test_back_pressure), cmocka_unit_test(test_flood_is_cut), cmocka_unit_test(test_client_goes),
           cmocka_unit_test(test_stop_ends_streams), cmocka_unit_test(test_upgrade), cmocka_unit_test(test_many_idle))
