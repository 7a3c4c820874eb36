/* describe.c - see describe.h. */
#include "cli/describe.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/ctx.h"
#include "base/timefmt.h"

static void part(struct jm *m, jmval *list, const char *name, bool ok, const char *state, const char *detail)
{
    jmval *p = jm_obj(m);
    jm_put(m, p, "name", jm_str(m, name));
    jm_put(m, p, "ok", jm_bool(m, ok));
    jm_put(m, p, "state", jm_str(m, state));
    jm_put(m, p, "detail", jm_str(m, detail ? detail : ""));
    jm_push(list, p);
}

static void text_age(char out[TIME_TEXT_MAX], int64_t ns)
{
    duration_format(out, ns < 10 * NS_PER_S ? ns / (10 * NS_PER_MS) * (10 * NS_PER_MS) : ns / NS_PER_S * NS_PER_S);
}

struct latest {
    struct jm *m;
    jmval *list;
    int64_t now;
};

static int add_latest(void *self, void *row, struct err *err)
{
    struct latest *l = self;
    const struct run *r = row;
    char when[TIME_TEXT_MAX];
    jmval *o = jm_obj(l->m);
    jm_put(l->m, o, "id", jm_str(l->m, r->run_id));
    jm_put(l->m, o, "name", jm_str(l->m, r->display_name));
    jm_put(l->m, o, "state", jm_str(l->m, run_state_name(r->state)));
    jm_put(l->m, o, "created", jm_str(l->m, time_format(when, r->created_ns, TIME_SECONDS)));
    text_age(when, (r->finished_ns ? r->finished_ns : l->now) - r->created_ns);
    jm_put(l->m, o, "took", jm_str(l->m, when));
    jm_push(l->list, o);
    return 0;
}

static void latest_runs(const struct store *st, struct jm *m, jmval *list)
{
    ERR(e);
    struct db *db = db_reader_get(st->readers, &e);
    if (!db)
        return;
    struct latest l = {m, list, st->clock->wall_ns(st->clock)};
    row_each(&RUN_ROWS, db, "WHERE r.storage_state = 0 ORDER BY r.created_at DESC LIMIT 10", NULL, 0, add_latest, &l, &e);
    db_reader_put(st->readers, db);
}

void describe_status(const struct status_source *s, struct jm *m, jmval *o)
{
    char age[TIME_TEXT_MAX];
    text_age(age, clock_system.wall_ns(&clock_system) - s->started_ns);
    jm_put(m, o, "version", jm_str(m, TIDEMILL_VERSION));
    jm_put(m, o, "pid", jm_i64(m, getpid()));
    jm_put(m, o, "uptime", jm_str(m, age));
    jm_put(m, o, "url", jm_str(m, s->url));
    jm_put(m, o, "kubernetes", jm_str(m, s->kube_url));
    jm_put(m, o, "kubeconfig", jm_str(m, s->kubeconfig));
    jm_put(m, o, "data", jm_str(m, s->data_dir));
    jmval *parts = jm_arr_at(m, o, "parts");
    part(m, parts, "Kubernetes API", true, "serving", s->kube_url);
    if (s->node) {
        AUTOFREE char *why = NULL;
        bool ready = node_ready(s->node, &why);
        part(m, parts, "Node", ready, ready ? "Ready" : "NotReady", ready ? node_name(s->node) : why);
    } else if (!s->remote) {
        part(m, parts, "Node", false, "off", "--no-node: pods stay Pending");
    }
    part(m, parts, "Pipelines", true, "serving", "/apis/v2beta1");
    part(m, parts, "Pipelines engine", !s->no_engine, s->no_engine ? "paused" : "running",
         s->no_engine ? "--no-engine: runs are accepted and stay PENDING" : "");
    jmval *runs = jm_arr_at(m, o, "runs");
    if (s->store && s->store->readers)
        latest_runs(s->store, m, runs);
}
