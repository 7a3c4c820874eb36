/* retire.c - the end of pods whose runs are over: the newest stay for a while, for people with kubectl. */
#include <stdlib.h>

#include "pipelines/engine/live.h"
#include "pipelines/engine/pods.h"

#define RETIRE_EVERY (15 * NS_PER_S)
#define STAYS_MAX    1000 /* pipelines of which it is known; then they are read anew */

/* How long a pipeline wants the pods of its runs to stay (resourceTtl...), by how they ended; 0: it does not say. */
struct stay {
    int64_t success_ns, failure_ns;
};

static int64_t seconds(jval *config, const char *first, const char *second)
{
    int64_t s = jv_i64_or(jv_get(config, first), 0);
    if (s <= 0)
        s = jv_i64_or(jv_get(config, second), 0);
    return s > 0 ? s * NS_PER_S : 0;
}

/* Success and failure win over completion. NULL: it cannot be read now. */
static struct stay *read_stay(struct db *db, const char *hash)
{
    AUTOFREE char *spec = NULL, *platform = NULL;
    if (spec_get(db, hash, &spec, &platform, NULL) < 0)
        return NULL;
    JSON_REF(d) = platform ? json_parse_str(platform, NULL) : NULL;
    jval *config = d ? jv_path(json_root(d), "platforms", "kubernetes", "pipelineConfig", NULL) : NULL;
    struct stay *s = xcalloc(1, sizeof *s);
    s->success_ns = seconds(config, "resourceTtlOnSuccess", "resourceTtlOnCompletion");
    s->failure_ns = seconds(config, "resourceTtlOnFailure", "resourceTtlOnCompletion");
    return s;
}

/* Specs never change: each is read once. */
static const struct stay *stay_of(struct engine *e, struct db *db, const char *hash)
{
    struct stay *s = strmap_get(&e->stays, hash);
    if (s || !(s = read_stay(db, hash)))
        return s;
    if (strmap_count(&e->stays) >= STAYS_MAX) {
        strmap_free(&e->stays);
        e->stays = STRMAP_INIT(free);
    }
    strmap_put(&e->stays, hash, s);
    return s;
}

struct asking {
    struct engine *e;
    struct db *db;
};

static int64_t run_ended(void *self, const char *run_id, int64_t *age_ns)
{
    const struct asking *a = self;
    RUN(row);
    if (run_get(a->db, run_id, &row, NULL) < 0 || !run_state_final(row.state))
        return 0;
    const struct stay *s = stay_of(a->e, a->db, row.spec_hash);
    int64_t own = !s ? 0 : row.state == RUN_SUCCEEDED ? s->success_ns : s->failure_ns;
    if (own > 0)
        *age_ns = own;
    return row.finished_ns;
}

int engine_retire(struct engine *e, const struct ctx *ctx, int64_t *again, struct err *err)
{
    const struct engine_config *cfg = &e->cfg;
    struct db *db = db_reader_get(cfg->store->readers, err);
    if (!db)
        return -1;
    struct asking asking = {e, db};
    const struct pods_retire how = {.max = cfg->finished_pods > 0 ? (size_t)cfg->finished_pods : 0,
                                    .age_ns = cfg->finished_pods_s > 0 ? cfg->finished_pods_s * NS_PER_S : 0,
                                    .now_ns = engine_now(e),
                                    .self = &asking,
                                    .ended = run_ended};
    size_t left = 0;
    int rc = pods_retire(e->pods, ctx, &how, &left, err);
    db_reader_put(cfg->store->readers, db);
    *again = RETIRE_EVERY;
    return rc;
}
