/* The store: compare-and-swap, lists at a revision, watches, restarts, crashes, compaction. */
#include <inttypes.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/thread.h"
#include "cluster/apiserver/store/map.h"
#include "cluster/apiserver/store/store.h"
#include "data/sql.h"
#include "unit.h"

struct fix {
    char dir[64];
    char *path;
    struct store *s;
    struct store_coll *c;
};

static void fix_open(struct fix *f, const struct store_limits *l)
{
    ERR(e);
    f->s = store_open(f->path, NULL, l, &e);
    if (!f->s)
        fail_msg("%s", err_text(&e));
    f->c = store_coll(f->s, "", "things");
}

static void fix_init(struct fix *f, const struct store_limits *l)
{
    strcpy(f->dir, "/tmp/tm-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->path = fs_join(f->dir, "kube.db");
    fix_open(f, l);
}

static void fix_done(struct fix *f)
{
    store_close(f->s);
    fs_rm_rf(f->dir, NULL);
    free(f->path);
}

static int write_full(struct fix *f, const char *key, const char *value, const char *label, int64_t expect, bool remove,
                      bool soft, struct store_obj **out, struct err *err)
{
    JM_NEW(m);
    jmval *root = jm_obj(m);
    jm_set_root(m, root);
    jm_put(m, root, "kind", jm_str(m, "Thing"));
    jm_put(m, root, "apiVersion", jm_str(m, "v1"));
    jmval *meta = jm_obj_at(m, root, "metadata");
    jm_put(m, meta, "label", jm_str(m, label ? label : ""));
    jm_put(m, root, "v", jm_str(m, value));
    struct store_write w = {.coll = f->c, .key = key, .expect = expect, .doc = m, .remove = remove, .soft = soft};
    return store_write(f->s, &w, out, err);
}

static int64_t put(struct fix *f, const char *key, const char *value, int64_t expect)
{
    OBJ_REF(o) = NULL;
    ERR(e);
    if (write_full(f, key, value, NULL, expect, false, false, &o, &e) < 0)
        fail_msg("%s", err_text(&e));
    return o->rv;
}

static int64_t put_label(struct fix *f, const char *key, const char *label, int64_t expect)
{
    OBJ_REF(o) = NULL;
    assert_int_equal(write_full(f, key, "v", label, expect, false, false, &o, NULL), 0);
    return o->rv;
}

static int64_t del(struct fix *f, const char *key, int64_t expect)
{
    OBJ_REF(o) = NULL;
    assert_int_equal(write_full(f, key, "last", NULL, expect, true, false, &o, NULL), 0);
    return o->rv;
}

static char *keys(struct fix *f, const struct store_query *q)
{
    struct store_list l;
    ERR(e);
    if (store_list(f->c, q, &l, &e) < 0)
        return xasprintf("error %d", e.code);
    BUF(b);
    for (size_t i = 0; i < l.n; i++)
        buf_addf(&b, "%s%s=%s", i ? " " : "", l.v[i]->key, jv_str(jv_get(obj_root(l.v[i]), "v")));
    if (l.more)
        buf_addf(&b, " +%" PRId64, l.remaining);
    store_list_free(&l);
    return buf_steal(&b, NULL);
}

static void check_keys(struct fix *f, const struct store_query *q, const char *want)
{
    char *got = keys(f, q);
    assert_string_equal(got, want);
    free(got);
}

/* ---- the map -------------------------------------------------------------------------------------------------- */

static struct store_obj *fake(const char *key)
{
    struct store_obj *o = xcalloc(1, sizeof(*o) + strlen(key) + 1);
    atomic_init(&o->refs, 1);
    strcpy(o->key, key);
    return o;
}

static void test_map_against_flags(void **state)
{
    enum { N = 3000 };
    static bool there[N];
    struct map m = {0};
    unsigned seed = 7;
    size_t n = 0;
    for (int step = 0; step < 20000; step++) {
        int k = (int)(rand_r(&seed) % N);
        char key[32];
        snprintf(key, sizeof(key), "k%05d", k);
        if (rand_r(&seed) % 3) {
            struct store_obj *old = map_put(&m, fake(key));
            assert_int_equal(old != NULL, there[k]);
            n += !there[k];
            there[k] = true;
            store_obj_unref(old);
        } else {
            struct store_obj *old = map_del(&m, key);
            assert_int_equal(old != NULL, there[k]);
            n -= there[k];
            there[k] = false;
            store_obj_unref(old);
        }
        assert_int_equal(m.count, n);
    }
    struct map_pos p = map_seek(&m, NULL, false);
    size_t rank = 0;
    for (int k = 0; k < N; k++) {
        char key[32];
        snprintf(key, sizeof(key), "k%05d", k);
        assert_int_equal(map_get(&m, key) != NULL, there[k]);
        struct map_pos at = map_seek(&m, key, false);
        assert_int_equal(map_rank(&m, at), rank);
        if (!there[k])
            continue;
        assert_string_equal(map_at(&m, p)->key, key);
        map_step(&m, &p);
        struct map_pos beyond = map_seek(&m, key, true);
        assert_int_equal(map_rank(&m, beyond), ++rank);
    }
    assert_null(map_at(&m, p));
    map_free(&m);
}

/* ---- writes and lists ----------------------------------------------------------------------------------------- */

static void test_compare_and_swap(void **state)
{
    struct fix f;
    fix_init(&f, NULL);
    int64_t r1 = put(&f, "a/x", "1", 0);
    ERR(e);
    assert_int_equal(write_full(&f, "a/x", "2", NULL, 0, false, false, NULL, &e), -1);
    assert_int_equal(e.code, ERR_EXISTS);
    assert_int_equal(write_full(&f, "a/y", "2", NULL, 5, false, false, NULL, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_int_equal(write_full(&f, "a/x", "2", NULL, r1 + 1, false, false, NULL, &e), -1);
    assert_int_equal(e.code, ERR_CONFLICT);
    int64_t r2 = put(&f, "a/x", "2", r1);
    assert_true(r2 > r1);
    OBJ_REF(o) = store_get(f.c, "a/x");
    assert_int_equal(o->rv, r2);
    char text[32];
    snprintf(text, sizeof(text), "%" PRId64, r2);
    assert_string_equal(jv_str(jv_path(obj_root(o), "metadata", "resourceVersion", NULL)), text);
    assert_memory_equal(o->bytes + o->tail, "\"metadata\":", 11);
    assert_true(del(&f, "a/x", r2) > r2);
    assert_null(store_get(f.c, "a/x"));
    assert_int_equal(store_count(f.c), 0);
    fix_done(&f);
}

static bool is_first(void *arg, const struct store_obj *o) { return str_ends(o->key, "/1"); }

static void test_lists(void **state)
{
    struct fix f;
    fix_init(&f, NULL);
    put(&f, "b/1", "1", 0);
    int64_t c2 = put(&f, "b/2", "1", 0);
    put(&f, "a/1", "1", 0);
    put(&f, "b-x/1", "1", 0);
    put(&f, "b/3", "1", 0);
    int64_t at = store_rev(f.s);
    check_keys(&f, &(struct store_query){0}, "a/1=1 b-x/1=1 b/1=1 b/2=1 b/3=1");
    check_keys(&f, &(struct store_query){.ns = "b"}, "b/1=1 b/2=1 b/3=1");
    check_keys(&f, &(struct store_query){.ns = "b", .limit = 1}, "b/1=1 +2");
    check_keys(&f, &(struct store_query){.ns = "b", .limit = 2, .after = "b/1"}, "b/2=1 b/3=1");
    check_keys(&f, &(struct store_query){.limit = 2, .after = "a/1"}, "b-x/1=1 b/1=1 +2");
    /* Keys are left whether or not they match: nothing behind a full page is looked at. */
    check_keys(&f, &(struct store_query){.ns = "b", .limit = 1, .match = is_first}, "b/1=1 +0");
    check_keys(&f, &(struct store_query){.ns = "b", .limit = 2, .match = is_first}, "b/1=1");
    check_keys(&f, &(struct store_query){.ns = "b", .limit = 1, .match = is_first, .after = "b/1"}, "");
    /* The state of a former revision: a changed, a removed and a new object. */
    c2 = put(&f, "b/2", "2", c2);
    put(&f, "b/2", "3", c2);
    OBJ_REF(gone) = store_get(f.c, "b/3");
    del(&f, "b/3", gone->rv);
    put(&f, "b/0", "1", 0);
    check_keys(&f, &(struct store_query){.ns = "b"}, "b/0=1 b/1=1 b/2=3");
    check_keys(&f, &(struct store_query){.ns = "b", .at = at}, "b/1=1 b/2=1 b/3=1");
    check_keys(&f, &(struct store_query){.ns = "b", .at = at, .limit = 1}, "b/1=1 +2");
    check_keys(&f, &(struct store_query){.ns = "b", .at = at, .limit = 1, .after = "b/1"}, "b/2=1 +1");
    check_keys(&f, &(struct store_query){.at = at}, "a/1=1 b-x/1=1 b/1=1 b/2=1 b/3=1");
    check_keys(&f, &(struct store_query){.at = store_rev(f.s) + 1}, "error 7"); /* ERR_TIMEOUT: not there yet */
    fix_done(&f);
}

/* ---- watches -------------------------------------------------------------------------------------------------- */

static bool match_label(void *arg, const struct store_obj *o)
{
    return str_eq(jv_str(jv_path(obj_root(o), "metadata", "label", NULL)), arg);
}

static char *drain(struct store_watch *w)
{
    BUF(b);
    for (;;) {
        struct store_event ev;
        enum store_next n = store_watch_next(w, &ev);
        if (n == STORE_NEXT_NONE)
            break;
        if (n == STORE_NEXT_OVER) {
            buf_adds(&b, "over ");
            break;
        }
        if (n == STORE_NEXT_INITIAL_END) {
            buf_adds(&b, "| ");
            continue;
        }
        buf_addf(&b, "%c:%s ", "AMD"[ev.type], ev.obj->key);
        assert_true(ev.rv >= ev.obj->rv);
        store_obj_unref(ev.obj);
    }
    return buf_steal(&b, NULL);
}

static void check_drain(struct store_watch *w, const char *want)
{
    char *got = drain(w);
    assert_string_equal(got, want);
    free(got);
}

static void test_watch_selectors(void **state)
{
    struct fix f;
    fix_init(&f, NULL);
    int64_t x = put_label(&f, "a/x", "in", 0);
    put_label(&f, "a/y", "out", 0);
    put_label(&f, "b/z", "in", 0);
    int64_t start = store_rev(f.s);
    struct store_watch_opts all = {.from = -1}, in = {.from = -1, .match = match_label, .arg = (void *)(uintptr_t) "in"},
                            ns = {.from = -1, .ns = "a"}, one = {.from = start, .ns = "a", .name = "x"},
                            any_x = {.from = -1, .name = "x"};
    struct store_watch *wall = store_watch(f.c, &all, NULL), *win = store_watch(f.c, &in, NULL),
                       *wns = store_watch(f.c, &ns, NULL), *wone = store_watch(f.c, &one, NULL),
                       *wx = store_watch(f.c, &any_x, NULL);
    check_drain(wall, "A:a/x A:a/y A:b/z | ");
    check_drain(win, "A:a/x A:b/z | ");
    check_drain(wns, "A:a/x A:a/y | ");
    check_drain(wone, "");
    check_drain(wx, "A:a/x | ");
    x = put_label(&f, "a/x", "out", x);
    x = put_label(&f, "a/x", "out", x);
    x = put_label(&f, "a/x", "in", x);
    x = put_label(&f, "a/x", "in", x);
    del(&f, "a/x", x); /* the last state has no label: it left the selection before */
    check_drain(wall, "M:a/x M:a/x M:a/x M:a/x D:a/x ");
    check_drain(win, "D:a/x A:a/x M:a/x D:a/x ");
    check_drain(wone, "M:a/x M:a/x M:a/x M:a/x D:a/x ");
    check_drain(wx, "M:a/x M:a/x M:a/x M:a/x D:a/x ");
    /* From a former revision the same comes from the log. */
    in.from = start;
    struct store_watch *late = store_watch(f.c, &in, NULL);
    check_drain(late, "D:a/x A:a/x M:a/x D:a/x ");
    /* From a revision that is yet to come. */
    struct store_watch *early = store_watch(f.c, &(struct store_watch_opts){.from = store_rev(f.s) + 1}, NULL);
    put(&f, "c/1", "1", 0);
    put(&f, "c/2", "1", 0);
    check_drain(early, "A:c/2 ");
    store_watch_close(early);
    free(drain(wall));
    store_watch_close(late);
    store_watch_end_all(f.c);
    check_drain(wall, "over ");
    struct store_watch *ws[] = {wall, win, wns, wone, wx};
    for (size_t i = 0; i < ARRAY_LEN(ws); i++)
        store_watch_close(ws[i]);
    fix_done(&f);
}

static void count_notify(void *arg) { atomic_fetch_add((atomic_int *)arg, 1); }

static void test_slow_watch_is_ended(void **state)
{
    struct fix f;
    fix_init(&f, &(struct store_limits){.queue = 10});
    atomic_int n = 0;
    struct store_watch_opts o = {.from = store_rev(f.s), .notify = count_notify, .notify_arg = &n};
    struct store_watch *w = store_watch(f.c, &o, NULL);
    for (int i = 0; i < 10; i++) {
        char key[32];
        snprintf(key, sizeof(key), "k%d", i);
        put(&f, key, "1", 0);
    }
    assert_int_equal(n, 1); /* told once, when the queue was no longer empty */
    put(&f, "one-more", "1", 0);
    assert_int_equal(n, 2);
    check_drain(w, "over ");
    store_watch_close(w);
    fix_done(&f);
}

static void test_log_is_bounded(void **state)
{
    struct fix f;
    fix_init(&f, &(struct store_limits){.log_entries = 20});
    int64_t start = store_rev(f.s);
    int64_t rv = 0;
    for (int i = 0; i < 50; i++)
        rv = put(&f, "k", "1", rv);
    ERR(e);
    assert_null(store_watch(f.c, &(struct store_watch_opts){.from = start}, &e));
    assert_int_equal(e.code, ERR_GONE);
    struct store_list l;
    assert_int_equal(store_list(f.c, &(struct store_query){.at = rv - 30}, &l, &e), -1);
    assert_int_equal(e.code, ERR_GONE);
    struct store_watch *w = store_watch(f.c, &(struct store_watch_opts){.from = rv - 2}, &e);
    check_drain(w, "M:k M:k ");
    store_watch_close(w);
    fix_done(&f);
}

/* ---- restarts ------------------------------------------------------------------------------------------------- */

static void test_clean_restart(void **state)
{
    struct fix f;
    fix_init(&f, NULL);
    int64_t a = put(&f, "n/a", "1", 0);
    int64_t from = store_rev(f.s);
    put(&f, "n/a", "2", a);
    OBJ_REF(soft) = NULL;
    assert_int_equal(write_full(&f, "n/soft", "1", NULL, 0, false, true, &soft, NULL), 0);
    int64_t before = store_rev(f.s);
    store_close(f.s);
    fix_open(&f, NULL);
    assert_int_equal(store_rev(f.s), before);
    check_keys(&f, &(struct store_query){0}, "n/a=2 n/soft=1");
    check_keys(&f, &(struct store_query){.at = from}, "n/a=1");
    struct store_watch *w = store_watch(f.c, &(struct store_watch_opts){.from = from}, NULL);
    check_drain(w, "M:n/a A:n/soft ");
    store_watch_close(w);
    fix_done(&f);
}

/* A disk that takes nothing: soft changes wait for it, but not more of them than the limit; then they fail as all others do, and
 * go on once it takes them again. */
static void test_soft_changes_are_bounded(void **state)
{
    struct fix f;
    struct rlimit was, none = {0};
    fix_init(&f, &(struct store_limits){.soft = 4});
    put(&f, "n/a", "1", 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    none.rlim_max = was.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    size_t taken = 0;
    ERR(e);
    for (int i = 0; i < 50; i++) {
        AUTOFREE char *key = xasprintf("n/s%d", i);
        if (write_full(&f, key, "1", NULL, 0, false, true, NULL, &e) < 0)
            break;
        taken++;
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(taken, 4);
    assert_true(e.code != ERR_OK);
    put(&f, "n/b", "1", 0);
    assert_int_equal(write_full(&f, "n/t", "1", NULL, 0, false, true, NULL, NULL), 0);
    fix_done(&f);
}

/* Runs store_crash_child in a process that dies by the fault; the parent looks at what is left. */
static void crash_in_child(struct fix *f, const char *fault)
{
    store_close(f->s);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("TIDEMILL_FAULT", fault, 1);
        execl("/proc/self/exe", "unit_apiserver", "crash_child", f->dir, (char *)NULL);
        _exit(99);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    fix_open(f, NULL);
}

static void test_crashes(void **state)
{
    static const char *const faults[] = {"store.commit.before:4", "store.commit.after:4", "store.publish.after:4"};
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct fix f;
        fix_init(&f, NULL);
        crash_in_child(&f, faults[i]);
        AUTOFREE char *seen_path = fs_join(f.dir, "seen");
        BUF(seen);
        assert_int_equal(fs_read(seen_path, 4096, &seen, NULL), 0);
        /* The child writes n/0, n/1, ... and notes each answered revision. All that was answered is there, and new revisions are
         * above. */
        int64_t last = 0;
        STRLIST(lines);
        str_split(buf_str(&seen), '\n', &lines);
        for (size_t k = 0; k + 1 < lines.n; k++) {
            int64_t rv;
            assert_true(str_to_i64(lines.v[k], &rv));
            char key[32];
            snprintf(key, sizeof(key), "n/%zu", k);
            OBJ_REF(o) = store_get(f.c, key);
            assert_non_null(o);
            assert_int_equal(o->rv, rv);
            last = rv;
        }
        assert_true(last > 0);
        assert_true(store_rev(f.s) > last);
        assert_true(put(&f, "n/new", "1", 0) > last + 1);
        ERR(e);
        /* From a revision that nobody could know to be durable: the watcher lists again. From the last durable one it goes on. */
        OBJ_REF(o3) = store_get(f.c, "n/3");
        int64_t durable = o3 ? o3->rv : last;
        assert_null(store_watch(f.c, &(struct store_watch_opts){.from = durable + 1}, &e));
        assert_int_equal(e.code, ERR_GONE);
        struct store_watch *w = store_watch(f.c, &(struct store_watch_opts){.from = durable}, &e);
        check_drain(w, "A:n/new ");
        store_watch_close(w);
        /* The same to a watcher that slept through one stop more, clean or not. */
        store_close(f.s);
        fix_open(&f, NULL);
        err_clear(&e);
        assert_null(store_watch(f.c, &(struct store_watch_opts){.from = durable + 1}, &e));
        assert_int_equal(e.code, ERR_GONE);
        w = store_watch(f.c, &(struct store_watch_opts){.from = durable}, &e);
        check_drain(w, "A:n/new ");
        store_watch_close(w);
        fix_done(&f);
    }
}

/* What the child of test_crashes does; called by main. */
int store_crash_child(const char *dir);
int store_crash_child(const char *dir)
{
    struct fix f = {0};
    snprintf(f.dir, sizeof(f.dir), "%s", dir);
    f.path = fs_join(dir, "kube.db");
    fix_open(&f, NULL);
    AUTOFREE char *seen = fs_join(dir, "seen");
    BUF(b);
    for (int i = 0; i < 10; i++) {
        char key[32];
        snprintf(key, sizeof(key), "n/%d", i);
        buf_addf(&b, "%" PRId64 "\n", put(&f, key, "1", 0));
        if (fs_write_atomic(seen, b.data, b.len, 0600, NULL) < 0)
            return 1;
    }
    return 0;
}

/* ---- many at once --------------------------------------------------------------------------------------------- */

struct racer {
    struct fix *f;
    int won;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    for (int i = 0; i < 200;) {
        OBJ_REF(o) = store_get(r->f->c, "n/counter");
        ERR(e);
        JM(m, obj_root(o));
        int64_t n;
        str_to_i64(jv_str(jv_get(obj_root(o), "v")), &n);
        jm_put(m, jm_root(m), "v", jm_strf(m, "%" PRId64, n + 1));
        struct store_write w = {.coll = r->f->c, .key = "n/counter", .expect = o->rv, .doc = m, .soft = i % 2};
        if (store_write(r->f->s, &w, NULL, &e) == 0)
            i++;
        else
            assert_int_equal(e.code, ERR_CONFLICT);
    }
    return NULL;
}

static void test_concurrent_counters(void **state)
{
    struct fix f;
    fix_init(&f, NULL);
    put(&f, "n/counter", "0", 0);
    struct store_watch *w = store_watch(f.c, &(struct store_watch_opts){.from = store_rev(f.s)}, NULL);
    struct racer r[4];
    pthread_t t[4];
    for (int i = 0; i < 4; i++) {
        r[i] = (struct racer){&f, 0};
        t[i] = thread_start("racer", race, &r[i]);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    check_keys(&f, &(struct store_query){0}, "n/counter=800");
    /* The watcher has seen each change once, in order. */
    int64_t last = 0;
    int n = 0;
    for (struct store_event ev; store_watch_next(w, &ev) == STORE_NEXT_EVENT; n++) {
        assert_true(ev.rv > last);
        last = ev.rv;
        store_obj_unref(ev.obj);
    }
    assert_int_equal(n, 800);
    store_watch_close(w);
    fix_done(&f);
}

static int64_t log_rows(const char *path)
{
    ERR(e);
    struct db *db = db_open_reader(path, &e);
    if (!db)
        fail_msg("%s", err_text(&e));
    struct stmt *st = db_prepare(db, "SELECT count(*) FROM log", &e);
    assert_int_equal(stmt_step(st, &e), 1);
    int64_t n = stmt_i64(st, 0);
    stmt_done(st);
    db_close(db);
    return n;
}

static void test_compaction(void **state)
{
    struct fix f;
    fix_init(&f, &(struct store_limits){.log_entries = 50});
    int64_t rv = 0;
    for (int i = 0; i < 1000; i++)
        rv = put(&f, "k", "1", rv);
    store_close(f.s);
    assert_true(log_rows(f.path) < 400);
    fix_open(&f, &(struct store_limits){.log_entries = 50});
    check_keys(&f, &(struct store_query){0}, "k=1");
    fix_done(&f);
}

TEST_GROUP(store, cmocka_unit_test(test_soft_changes_are_bounded), cmocka_unit_test(test_map_against_flags),
           cmocka_unit_test(test_compare_and_swap), cmocka_unit_test(test_lists), cmocka_unit_test(test_watch_selectors),
           cmocka_unit_test(test_slow_watch_is_ended), cmocka_unit_test(test_log_is_bounded),
           cmocka_unit_test(test_clean_restart), cmocka_unit_test(test_crashes), cmocka_unit_test(test_concurrent_counters),
           cmocka_unit_test(test_compaction))
