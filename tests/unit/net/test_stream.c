/* test_stream.c - answers that go on: chunks, back-pressure, wakes, timers, aborts, upgrades. The same on HTTP/2:
 * test_h2_stream.c.
 */
#include "stream_api.h"

#include <unistd.h>

static void test_chunks(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    int fd = kit_connect(k.port);
    BUF(b);
    kit_send(fd, "GET /stream/count HTTP/1.1\r\nHost: localhost\r\n\r\n");
    kit_read_until(fd, &b, "0\r\n\r\n");
    assert_has(b.data, "\r\nTransfer-Encoding: chunked\r\n");
    assert_has(b.data, "\r\nContent-Type: application/x-test\r\n");
    assert_has(b.data, "7\r\ntick 1;\r\n7\r\ntick 2;\r\n7\r\ntick 3;\r\n0\r\n\r\n");
    buf_reset(&b);
    kit_send(fd, "GET /stream/shared HTTP/1.1\r\nHost: localhost\r\n\r\n"); /* the connection is kept */
    kit_read_until(fd, &b, "0\r\n\r\n");
    assert_has(b.data, "1\r\na\r\nc\r\nshared bytes\r\n1\r\nb\r\n0\r\n\r\n");
    kit_send(fd, "HEAD /stream/count HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    buf_reset(&b);
    kit_read_all(fd, &b);
    assert_status(b.data, 200);
    assert_null(strstr(b.data, "tick"));
    assert_int_equal(atomic_load(&counts.released), 3);
    close(fd);
    AUTOFREE char *old = kit_talk(k.port, "GET /stream/count HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert_has(old, "\r\n\r\ntick 1;tick 2;tick 3;");
    AUTOFREE char *failed = kit_get(k.port, "/stream/fail");
    assert_status(failed, 500);
    streams_stop(&k);
}

static void test_abort(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    AUTOFREE char *a = kit_get(k.port, "/stream/abort");
    assert_has(a, "4\r\nsome\r\n");
    assert_null(strstr(a, "0\r\n\r\n"));
    assert_null(strstr(a, "never"));
    streams_stop(&k);
}

static void test_wakes(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    atomic_store(&counts.stop_waker, 0);
    AUTOFREE char *a = kit_get(k.port, "/stream/wake");
    assert_has(a, "wake 20;");
    assert_null(strstr(a, "wake 21;"));
    atomic_store(&counts.stop_waker, 1);
    pthread_join(stream_waker, NULL); /* it went on waking what is gone */
    streams_stop(&k);
}

static void test_back_pressure(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    atomic_store(&counts.max_queued, 0);
    int fd = kit_connect(k.port);
    kit_send(fd, "GET /stream/pump HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    streams_wait_queued();
    usleep(100000); /* nobody reads: the pump must stand still */
    BUF(b);
    kit_read_all(fd, &b);
    size_t n = 0;
    for (size_t i = 0; i < b.len; i++)
        n += b.data[i] == 'x';
    assert_true(n >= 2000 * 16384);
    assert_true(atomic_load(&counts.max_queued) < 256 * 1024);
    close(fd);
    streams_stop(&k);
}

static void test_flood_is_cut(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    int fd = kit_connect(k.port);
    kit_send(fd, "GET /stream/flood HTTP/1.1\r\nHost: localhost\r\n\r\n");
    BUF(b);
    kit_read_all(fd, &b);
    assert_true(b.len < 40 << 20);
    close(fd);
    streams_stop(&k);
}

static void test_client_goes(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    int fd = kit_connect(k.port);
    kit_send(fd, "GET /stream/idle HTTP/1.1\r\nHost: localhost\r\n\r\n");
    BUF(b);
    kit_read_until(fd, &b, "\r\n\r\n");
    assert_int_equal(atomic_load(&counts.closed), 0);
    close(fd);
    kit_wait(&counts.closed, 1);
    assert_int_equal(atomic_load(&counts.closed), 1);
    streams_stop(&k);
}

static void test_stop_ends_streams(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    int fd = kit_connect(k.port);
    kit_send(fd, "GET /stream/idle HTTP/1.1\r\nHost: localhost\r\n\r\n");
    BUF(b);
    kit_read_until(fd, &b, "\r\n\r\n");
    int64_t t = kit_now_ms();
    http_server_stop(k.server, 300);
    assert_true(kit_now_ms() - t < 1500);
    kit_read_all(fd, &b);
    assert_has(b.data, "0\r\n\r\n");
    assert_int_equal(atomic_load(&counts.closed), 1);
    close(fd);
}

static void test_upgrade(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    int fd = kit_connect(k.port);
    BUF(b);
    kit_send(
        fd,
        "GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly bytes, more than ten;");
    kit_read_until(fd, &b, "ten;");
    assert_status(b.data, 101);
    assert_has(b.data, "\r\nUpgrade: echo\r\n");
    assert_has(b.data, "\r\nConnection: Upgrade\r\n");
    assert_null(strstr(b.data, "chunked"));
    assert_has(b.data, "\r\n\r\nhi;early bytes, more than ten;");
    buf_reset(&b);
    kit_send(fd, "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789;");
    kit_read_until(fd, &b, "789;");
    assert_string_equal(b.data, "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789;");
    buf_reset(&b);
    kit_send(fd, "end!");
    kit_read_all(fd, &b);
    assert_string_equal(b.data, "end!");
    close(fd);
    /* The peer's half-close: what it sent before is still echoed. */
    fd = kit_connect(k.port);
    kit_send(fd, "GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    buf_reset(&b);
    kit_read_until(fd, &b, "hi;");
    kit_send(fd, "last one");
    shutdown(fd, SHUT_WR);
    kit_read_all(fd, &b);
    assert_has(b.data, "hi;last one");
    close(fd);
    streams_stop(&k);
}

static void test_many_idle(void **state)
{
    struct kit k;
    streams_start(&k, NULL);
    int fds[200];
    for (int i = 0; i < 200; i++) {
        fds[i] = kit_connect(k.port);
        kit_send(fds[i], "GET /stream/idle HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    for (int i = 0; i < 200; i++) {
        BUF(b);
        kit_read_until(fds[i], &b, "\r\n\r\n");
    }
    assert_int_equal(http_server_connections(k.server), 200);
    for (int i = 0; i < 200; i++)
        close(fds[i]);
    streams_stop(&k);
}

TEST_GROUP(streams, cmocka_unit_test(test_chunks), cmocka_unit_test(test_abort), cmocka_unit_test(test_wakes),
           cmocka_unit_test(test_back_pressure), cmocka_unit_test(test_flood_is_cut), cmocka_unit_test(test_client_goes),
           cmocka_unit_test(test_stop_ends_streams), cmocka_unit_test(test_upgrade), cmocka_unit_test(test_many_idle))
