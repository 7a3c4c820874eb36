/* bench_kube.c - one client for any API server that a kubeconfig leads to, so that two can be compared.
 *
 *     bench_kube KUBECONFIG creates N       N ConfigMaps of 1 kB, made by 32 clients: prints creates a second
 *     bench_kube KUBECONFIG fill N          N pods that nobody schedules
 *     bench_kube KUBECONFIG list            all pods, as bytes, the median of seven: prints milliseconds and bytes
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/thread.h"
#include "kube/kinds.h"
#include "kube/remote/remote.h"
#include "net/client.h"

enum { CLIENTS = 32, ROUNDS = 7 };

static struct kube *kube;
static atomic_int next_one;
static int total;
static bool pods;

static NORETURN void die(const struct err *e)
{
    fprintf(stderr, "bench_kube: %s\n", err_text(e));
    exit(1);
}

static struct json *object(int i)
{
    if (pods) {
        AUTOFREE char *text =
            xasprintf("{\"metadata\":{\"name\":\"p-%d\",\"labels\":{\"app\":\"bench\"}},\"spec\":{\"schedulerName\":\"nobody\","
                      "\"containers\":"
                      "[{\"name\":\"main\",\"image\":\"registry.example/some/image:1.2.3\",\"command\":[\"sleep\",\"1000\"],"
                      "\"resources\":{\"requests\":{\"cpu\":\"10m\",\"memory\":\"16Mi\"}}}]}}",
                      i);
        return json_parse_str(text, NULL);
    }
    char kilobyte[1001];
    memset(kilobyte, 'x', 1000);
    kilobyte[1000] = '\0';
    AUTOFREE char *text = xasprintf("{\"metadata\":{\"generateName\":\"b-\"},\"data\":{\"k\":\"%s\"}}", kilobyte);
    return json_parse_str(text, NULL);
}

static void *client(void *arg)
{
    struct ctx bg = ctx_background();
    int i;
    while ((i = atomic_fetch_add(&next_one, 1)) < total) {
        struct ctx ctx = ctx_with_timeout(&bg, 60 * NS_PER_S);
        ERR(e);
        JSON_REF(d) = object(i);
        JSON_REF(made) = kube_create(kube, &ctx, pods ? &KUBE_PODS : &KUBE_CONFIGMAPS, "default", json_root(d), NULL, &e);
        if (!made && e.code != ERR_EXISTS)
            die(&e);
    }
    return NULL;
}

static void create_all(void)
{
    pthread_t threads[CLIENTS];
    struct ctx ctx = ctx_background();
    int64_t began = ctx_mono_ns(&ctx);
    for (int i = 0; i < CLIENTS; i++)
        threads[i] = thread_start("client", client, NULL);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    printf("%.1f\n", total / ((double)(ctx_mono_ns(&ctx) - began) / (double)NS_PER_S));
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The bytes only: what a client makes of them is the same for every server. */
static void list_all(struct kube_access *a)
{
    ERR(e);
    struct http_client_config cfg = {
        .ca_pem = a->ca_pem, .client_cert_pem = a->cert_pem, .client_key_pem = a->key_pem, .max_response = 1u << 30};
    struct http_client *c = http_client_new(&cfg, &e);
    if (!c)
        die(&e);
    AUTOFREE char *url = xasprintf("%s/api/v1/namespaces/default/pods", a->server),
                  *auth = a->token ? xasprintf("Bearer %s", a->token) : NULL;
    struct http_header h[] = {{"Accept", "application/json"}, {"Authorization", auth}};
    struct http_call call = {.method = HTTP_GET, .url = url, .headers = h, .n_headers = auth ? 2 : 1};
    double ms[ROUNDS];
    size_t bytes = 0;
    for (int i = 0; i < ROUNDS; i++) {
        struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 120 * NS_PER_S);
        struct http_answer answer;
        int64_t began = ctx_mono_ns(&bg);
        if (http_fetch(c, &ctx, &call, &answer, &e) < 0 || answer.status != 200)
            die(&e);
        ms[i] = (double)(ctx_mono_ns(&bg) - began) / (double)NS_PER_MS;
        bytes = answer.body.len;
        http_answer_free(&answer);
    }
    qsort(ms, ROUNDS, sizeof *ms, by_value);
    printf("%.2f %zu\n", ms[ROUNDS / 2], bytes);
    http_client_free(c);
}

int main(int argc, char **argv)
{
    ERR(e);
    struct kube_access a;
    if (argc < 3)
        return 2;
    if (kube_access_load(argv[1], NULL, &a, &e) < 0)
        die(&e);
    if (strcmp(argv[2], "list") == 0) {
        list_all(&a);
        kube_access_clear(&a);
        return 0;
    }
    total = argc > 3 ? atoi(argv[3]) : 1000;
    pods = strcmp(argv[2], "fill") == 0;
    if (!(kube = kube_remote_new(&(struct kube_remote_config){.access = &a, .component = "bench", .qps = -1}, &e)))
        die(&e);
    create_all();
    kube_remote_free(kube);
    return 0;
}
