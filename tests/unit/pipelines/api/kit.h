/* kit.h - the API behind a real server on a free port, over a database in a temporary directory. */
#ifndef TM_TESTS_PIPELINES_API_KIT_H
#define TM_TESTS_PIPELINES_API_KIT_H

#include "unit.h"

#include <pthread.h>

#include "net/client.h"
#include "net/server.h"
#include "pipelines/api/api.h"
#include "value/json.h"

struct kit {
    char *dir;
    struct store store;
    struct blob_store *blobs;
    struct pipelines_api *api;
    struct http_server *server;
    struct http_client *client;
    int port;
    struct clock_manual clock;
    pthread_mutex_t lock; /* over notified */
    char *notified;       /* the last run that the API told about */
    enum err_code fails;  /* terminate fails with it, unless it is ERR_OK */
    struct schedule *schedule;
};
/* urls: may be NULL. */
struct kit *kit_new(const struct pipelines_url_rules *urls);
void kit_free(struct kit *k);
/* Starts recurring runs on the kit's clock; what a failed test leaves running is stopped with the kit. */
struct schedule *kit_schedule(struct kit *k);
void kit_schedule_stop(struct kit *k);
int kit_setup(void **state);
int kit_teardown(void **state);
#define WITH_KIT(test) cmocka_unit_test_setup_teardown(test, kit_setup, kit_teardown)

/* Sends a request and expects this status; the answer's JSON document is the caller's to unref. body may be NULL. path may hold a
 * printf form already expanded; it must be percent-encoded. */
struct json *kit_call(struct kit *k, enum http_method method, const char *path, const char *body, int status);
struct json *kit_send(struct kit *k, enum http_method method, const char *path, const char *content_type, const void *body,
                      size_t n, int status);
/* Uploads a file; query as in "name=x". */
struct json *kit_upload(struct kit *k, const char *endpoint, const char *query, const char *file_name, const void *p, size_t n,
                        int status);
/* A member of the answer, as text that is freed with the kit's next answer: for ids. Caller frees. */
char *kit_get(struct json *d, const char *member);

/* Runs SQL as the writer does: for rows that no call makes. */
void kit_sql(struct kit *k, const char *sql);

/* A small valid pipeline with this name. */
extern const char HELLO_IR[];

#endif
