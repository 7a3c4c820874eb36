/* The event recorder. Callers pass through the rate limit and leave a copy; a pool of at most one worker writes. */
#include "kube/events.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/utsname.h>

#include "base/str.h"
#include "base/thread.h"
#include "base/timefmt.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define LOG_ROOM "events"
#include "base/log.h"

enum { QUEUE_MAX = 1000, KNOWN_MAX = 4096, BURST = 25, MESSAGE_MAX = 1024 };
#define AGGREGATE_NS   (600 * NS_PER_S)
#define REFILL_NS      (300 * NS_PER_S)
#define WRITE_LIMIT_NS (10 * NS_PER_S)

/* Tokens left for an object. */
struct bucket {
    double tokens;
    int64_t at_ns;
};
/* An Event that we wrote and may count up. */
struct known {
    char *name;
    int64_t count, last_ns;
};
struct event_recorder {
    struct kube *kube;
    char *component, *host;
    const struct clock *clock;
    struct pool *pool;
    struct cancel cancel;

    pthread_mutex_t lock; /* guards buckets and pending */
    pthread_cond_t drained;
    struct strmap buckets; /* object -> struct bucket */
    size_t pending;

    struct strmap known; /* what it says about which object -> struct known; only the worker's */
};
struct record {
    struct event_recorder *r;
    struct json *reference, *related; /* related may be NULL */
    char *ns, *name, *type, *reason, *message;
    char *action; /* NULL: an Event with a source and a count */
    int64_t at_ns;
};

static void known_free(void *p)
{
    struct known *k = p;
    free(k->name);
    free(k);
}

struct event_recorder *event_recorder_new(struct kube *kube, const char *component, const char *host, const struct clock *clock)
{
    struct event_recorder *r = xcalloc(1, sizeof *r);
    r->kube = kube;
    r->component = xstrdup(component);
    r->host = xstrdup(host ? host : "");
    r->clock = clock;
    r->pool = pool_new("events", 1, QUEUE_MAX);
    pthread_mutex_init(&r->lock, NULL);
    thread_cond_init(&r->drained);
    r->buckets = STRMAP_INIT(free);
    r->known = STRMAP_INIT(known_free);
    ERR(e);
    if (cancel_init(&r->cancel, &e) < 0)
        r->cancel.fd = -1; /* a call then ends by its time-out */
    return r;
}

void event_recorder_free(struct event_recorder *r)
{
    if (!r)
        return;
    cancel_raise(&r->cancel); /* queued records see it and are dropped */
    pool_stop(r->pool);
    strmap_free(&r->buckets);
    strmap_free(&r->known);
    cancel_close(&r->cancel);
    pthread_cond_destroy(&r->drained);
    pthread_mutex_destroy(&r->lock);
    free(r->component);
    free(r->host);
    free(r);
}

/* ---- the worker's side ------------------------------------------------------------------------------------------------------
 */

static void put_source(struct jm *m, jmval *ev, const struct record *rec)
{
    char when[TIME_TEXT_MAX];
    jmval *source = event_make_source(m, ev);
    event_source_set_component(m, source, rec->r->component);
    if (*rec->r->host)
        event_source_set_host(m, source, rec->r->host);
    time_format(when, rec->at_ns, TIME_SECONDS);
    event_set_first_timestamp(m, ev, when);
    event_set_last_timestamp(m, ev, when);
    event_set_count(m, ev, 1);
    event_set_reporting_instance(m, ev, rec->r->host);
}

static void put_action(struct jm *m, jmval *ev, const struct record *rec)
{
    char when[TIME_TEXT_MAX];
    struct utsname machine;
    const char *host = *rec->r->host ? rec->r->host : uname(&machine) == 0 ? machine.nodename : "";
    AUTOFREE char *instance = xasprintf("%s-%s", rec->r->component, host);
    event_set_event_time(m, ev, time_format(when, rec->at_ns, TIME_MICROS));
    event_set_action(m, ev, rec->action);
    event_set_reporting_instance(m, ev, instance);
    if (rec->related)
        event_set_related(m, ev, jm_val(m, json_root(rec->related)));
}

static struct json *event_new(const struct record *rec, const char *name)
{
    JM_NEW(m);
    jmval *ev = jm_obj(m);
    jm_set_root(m, ev);
    event_set_kind(m, ev, "Event");
    event_set_api_version(m, ev, "v1");
    jmval *meta = event_make_metadata(m, ev);
    jm_put(m, meta, "name", jm_str(m, name));
    jm_put(m, meta, "namespace", jm_str(m, rec->ns));
    event_set_involved_object(m, ev, jm_val(m, json_root(rec->reference)));
    event_set_reason(m, ev, rec->reason);
    event_set_message(m, ev, rec->message);
    event_set_type(m, ev, rec->type);
    event_set_reporting_component(m, ev, rec->r->component);
    if (rec->action)
        put_action(m, ev, rec);
    else
        put_source(m, ev, rec);
    return jm_freeze(m);
}

static int create_event(struct event_recorder *r, const struct ctx *ctx, const struct record *rec, const char *key,
                        struct err *err)
{
    /* The time makes the name one of its own; two records of one nanosecond would be the same one counted twice. */
    AUTOFREE char *name = xasprintf("%.200s.%llx", rec->name, (unsigned long long)rec->at_ns);
    JSON_REF(ev) = event_new(rec, name);
    JSON_REF(done) = kube_create(r->kube, ctx, &KUBE_EVENTS, rec->ns, json_root(ev), NULL, err);
    if (!done)
        return -1;
    if (strmap_count(&r->known) >= KNOWN_MAX) {
        strmap_free(&r->known);
        r->known = STRMAP_INIT(known_free);
    }
    struct known *k = xcalloc(1, sizeof *k);
    *k = (struct known){xstrdup(name), 1, rec->at_ns};
    strmap_put(&r->known, key, k);
    return 0;
}

static int count_up(struct event_recorder *r, const struct ctx *ctx, const struct record *rec, struct known *k, struct err *err)
{
    char when[TIME_TEXT_MAX];
    JM_NEW(m);
    jmval *patch = jm_obj(m);
    jm_set_root(m, patch);
    if (rec->action) {
        jmval *series = event_make_series(m, patch);
        event_series_set_count(m, series, k->count + 1);
        event_series_set_last_observed_time(m, series, time_format(when, rec->at_ns, TIME_MICROS));
    } else {
        event_set_count(m, patch, k->count + 1);
        event_set_last_timestamp(m, patch, time_format(when, rec->at_ns, TIME_SECONDS));
    }
    JSON_REF(d) = jm_freeze(m);
    JSON_REF(done) = kube_patch(r->kube, ctx, &KUBE_EVENTS, rec->ns, k->name, KUBE_PATCH_MERGE, json_root(d), NULL, err);
    if (!done)
        return -1;
    k->count++;
    k->last_ns = rec->at_ns;
    return 0;
}

static int write_record(struct event_recorder *r, const struct record *rec, struct err *err)
{
    struct ctx bg = {.clock = &clock_system, .cancel = &r->cancel};
    struct ctx ctx = ctx_with_timeout(&bg, WRITE_LIMIT_NS);
    if (ctx_check(&ctx, err) < 0)
        return -1;
    jval *ref = json_root(rec->reference);
    const char *uid = object_reference_uid(ref), *field = object_reference_field_path(ref);
    AUTOFREE char *key = xasprintf("%s|%s/%s/%s|%s|%s|%s|%s", uid ? uid : "", object_reference_kind(ref), rec->ns, rec->name,
                                   field ? field : "", rec->type, rec->reason, rec->message);
    struct known *k = strmap_get(&r->known, key);
    if (k && rec->at_ns - k->last_ns <= AGGREGATE_NS) {
        ERR(e);
        if (count_up(r, &ctx, rec, k, &e) == 0)
            return 0;
        if (e.code != ERR_NOT_FOUND)
            return err_move(err, &e);
    }
    return create_event(r, &ctx, rec, key, err);
}

static void record_free(struct record *rec)
{
    json_unref(rec->reference);
    json_unref(rec->related);
    free(rec->action);
    free(rec->ns);
    free(rec->name);
    free(rec->type);
    free(rec->reason);
    free(rec->message);
    free(rec);
}

static void run_record(void *arg)
{
    struct record *rec = arg;
    struct event_recorder *r = rec->r;
    ERR(e);
    if (write_record(r, rec, &e) < 0 && !atomic_load(&r->cancel.raised))
        log_debug("event %s of %s/%s was not written: %s", rec->reason, rec->ns, rec->name, err_text(&e));
    record_free(rec);
    LOCK_GUARD(&r->lock);
    if (--r->pending == 0)
        pthread_cond_broadcast(&r->drained);
}

/* ---- the caller's side ------------------------------------------------------------------------------------------------------
 */

/* Takes a token of the object's bucket; false when it is empty. Called with the lock held. */
static bool allowed(struct event_recorder *r, const char *object)
{
    int64_t now = r->clock->mono_ns(r->clock);
    struct bucket *b = strmap_get(&r->buckets, object);
    if (!b) {
        if (strmap_count(&r->buckets) >= KNOWN_MAX) {
            strmap_free(&r->buckets);
            r->buckets = STRMAP_INIT(free);
        }
        b = xmalloc(sizeof *b);
        *b = (struct bucket){BURST, now};
        strmap_put(&r->buckets, object, b);
    }
    b->tokens += (double)(now - b->at_ns) / (double)REFILL_NS;
    b->tokens = b->tokens > BURST ? BURST : b->tokens;
    b->at_ns = now;
    if (b->tokens < 1)
        return false;
    b->tokens -= 1;
    return true;
}

static struct json *reference_to(jval *object, const struct kube_res *res, const char *field_path)
{
    JM_NEW(m);
    jmval *ref = obj_make_reference(m, object, res);
    if (!str_empty(field_path))
        object_reference_set_field_path(m, ref, field_path);
    return jm_freeze_val(ref);
}

static void cut_message(char *s)
{
    size_t n = strlen(s);
    if (n <= MESSAGE_MAX)
        return;
    n = MESSAGE_MAX;
    while (n > 0 && ((unsigned char)s[n] & 0xC0) == 0x80)
        n--; /* not within a character */
    s[n] = '\0';
}

/* What is said of an object beyond its type, reason and message. */
struct about {
    const char *field_path, *action; /* NULL: none */
    jval *related;                   /* NULL: none */
};

static void record(struct event_recorder *r, jval *object, const struct kube_res *res, const struct about *about,
                   const char *type, const char *reason, const char *fmt, va_list ap)
{
    if (!r)
        return;
    {
        AUTOFREE char *who = xasprintf("%s/%s/%s/%s", res->kind, obj_namespace(object), obj_name(object), obj_uid(object));
        LOCK_GUARD(&r->lock);
        if (!allowed(r, who))
            return;
        r->pending++;
    }
    BUF(message);
    buf_addv(&message, fmt, ap);
    struct record *rec = xcalloc(1, sizeof *rec);
    *rec = (struct record){
        .r = r,
        .reference = reference_to(object, res, about->field_path),
        .related = about->related ? reference_to(about->related, res, NULL) : NULL,
        .action = about->action ? xstrdup(about->action) : NULL,
        .ns = xstrdup(*obj_namespace(object) ? obj_namespace(object) : "default"),
        .name = xstrdup(obj_name(object)),
        .type = xstrdup(type),
        .reason = xstrdup(reason),
        .message = buf_steal(&message, NULL),
        .at_ns = r->clock->wall_ns(r->clock),
    };
    cut_message(rec->message);
    if (pool_submit(r->pool, run_record, rec))
        return;
    record_free(rec);
    LOCK_GUARD(&r->lock);
    r->pending--;
}

void event_record(struct event_recorder *r, jval *object, const struct kube_res *res, const char *type, const char *reason,
                  const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    record(r, object, res, &(struct about){0}, type, reason, fmt, ap);
    va_end(ap);
}

void event_record_field(struct event_recorder *r, jval *object, const struct kube_res *res, const char *field_path,
                        const char *type, const char *reason, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    record(r, object, res, &(struct about){.field_path = field_path}, type, reason, fmt, ap);
    va_end(ap);
}

void event_record_action(struct event_recorder *r, jval *object, const struct kube_res *res, jval *related, const char *action,
                         const char *type, const char *reason, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    record(r, object, res, &(struct about){.action = action, .related = related}, type, reason, fmt, ap);
    va_end(ap);
}

bool event_recorder_flush(struct event_recorder *r, int ms)
{
    int64_t until = clock_system.mono_ns(&clock_system) + ms * NS_PER_MS;
    LOCK_GUARD(&r->lock);
    while (r->pending > 0)
        if (!thread_cond_wait_until(&r->drained, &r->lock, until))
            return r->pending == 0;
    return true;
}
