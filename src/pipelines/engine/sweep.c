/* sweep.c - what a killed tidemill left behind: directories are removed after the commit that makes them needless, so a kill in
 * between leaves them, and nobody would look at a run that is over again. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#define LOG_ROOM "engine"
#include "base/fs.h"
#include "base/log.h"
#include "pipelines/engine/live.h"

enum { ID_LEN = 36 }; /* of a run or a task */

static void names_in(const char *dir, struct strlist *out)
{
    DIR *d = opendir(dir);
    for (const struct dirent *e; d && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            strlist_add(out, e->d_name);
    if (d)
        closedir(d);
}

/* Whether nobody needs it: the run is over (and it is kept no longer than that), or there is none. */
static bool is_needless(struct db *db, const char *run_id, bool kept_with_run)
{
    RUN(row);
    ERR(e);
    if (run_get(db, run_id, &row, &e) < 0)
        return e.code == ERR_NOT_FOUND;
    return !kept_with_run && run_state_final(row.state);
}

/* Names that begin with the id of a run. */
static size_t sweep_runs(struct engine *e, struct db *db, const char *name, bool kept_with_run)
{
    AUTOFREE char *top = fs_join(e->cfg.data_dir, name);
    STRLIST(names);
    size_t n = 0;
    names_in(top, &names);
    for (size_t k = 0; k < names.n; k++) {
        AUTOFREE char *id = xstrndup(names.v[k], ID_LEN);
        if (strlen(id) != ID_LEN || !is_needless(db, id, kept_with_run))
            continue;
        engine_remove_later(e, fs_join(top, names.v[k]));
        n++;
    }
    return n;
}

static void free_row(void *p)
{
    task_row_clear(p);
    free(p);
}

/* Tasks of runs that are not over whose attempt may be at work. */
static int add_task(void *self, struct task_row *t, struct err *err)
{
    if (t->state != TASK_STARTING && t->state != TASK_RUNNING)
        return 0;
    struct task_row *copy = xcalloc(1, sizeof *copy);
    *copy = *t;
    *t = (struct task_row){0};
    strmap_put(self, copy->task_id, copy);
    return 0;
}

/* ".<task>.<generation>.<attempt>": what a step installs, until it has ended. */
static bool is_filled_still(struct strmap *tasks, const char *name, const struct task_row **t)
{
    AUTOFREE char *id = xstrndup(name + 1, ID_LEN);
    const char *attempt = strrchr(name, '.');
    *t = strmap_get(tasks, id);
    return *t && (*t)->attempt == atoi(attempt + 1);
}

static size_t sweep_setups(struct engine *e, struct db *db)
{
    AUTOFREE char *top = fs_join(e->cfg.data_dir, "setup");
    STRLIST(names);
    STRLIST(live);
    struct strmap tasks = STRMAP_INIT(free_row);
    size_t n = 0;
    ERR(err);
    names_in(top, &names);
    bool known = names.n && runs_live(db, &live, &err) == 0;
    for (size_t k = 0; k < live.n && known; k++)
        known = tasks_each(db, live.v[k], add_task, &tasks, &err) == 0;
    for (size_t k = 0; k < names.n && known; k++) {
        const char *name = names.v[k];
        const struct task_row *t;
        if (name[0] != '.' || strlen(name) < 1 + ID_LEN + 2 || name[1 + ID_LEN] != '.')
            continue;
        AUTOFREE char *path = fs_join(top, name);
        if (is_filled_still(&tasks, name, &t)) {
            setup_restore(e, path, t);
        } else {
            engine_remove_later(e, TAKE(path));
            n++;
        }
    }
    strmap_free(&tasks);
    return n;
}

void engine_sweep(struct engine *e)
{
    ERR(err);
    struct db *db = db_reader_get(e->cfg.store->readers, &err);
    if (!db) {
        log_warn("looking for what an earlier life left: %s", err_text(&err));
        return;
    }
    size_t n = sweep_runs(e, db, "engine", false) + sweep_runs(e, db, "workspaces", true) + sweep_setups(e, db);
    db_reader_put(e->cfg.store->readers, db);
    if (n)
        log_info("removing %zu directories that an earlier life left", n);
}
