/* task_names.c - see task_names.h. */
#include "cli/task_names.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "value/json.h"

/* A run has 200000 tasks at most, by the engine, and their names are of a length that people can read: a server that goes on is
 * none of ours. Of a page only the names are kept. */
enum { DEPTH_MAX = 64, PAGE = 200, PAGES_MAX = 1100, PART_MAX = 1000 };
#define KEPT_MAX ((size_t)128 << 20)

struct seen {
    struct seen *next;                         /* in the order in which they came */
    const char *id, *above, *name, *iteration; /* above: "" at the root; iteration: NULL: it is none */
};
struct tasks {
    struct arena memory;
    struct strmap by_id; /* struct seen */
    struct seen *first, **end;
};

void task_names_free(struct task_names *n) { strmap_free(&n->by_id); }

static const char *text_of(struct tasks *t, jval *v, const char * or)
{
    const char *s = jv_str_or(v, or);
    return s ? arena_strndup(&t->memory, s, strnlen(s, PART_MAX)) : NULL;
}

static void add(struct tasks *t, jval *task)
{
    struct seen *s = ARENA_NEW(&t->memory, struct seen);
    s->id = text_of(t, jv_get(task, "task_id"), "");
    s->above = text_of(t, jv_get(task, "parent_task_id"), "");
    s->name = text_of(t, jv_get(task, "display_name"), "?");
    s->iteration = text_of(t, jv_path(task, "type_attributes", "iteration_index", NULL), NULL);
    strmap_put(&t->by_id, s->id, s);
    *t->end = s;
    t->end = &s->next;
}

/* One page after the other. */
static int fetch(struct front *f, const char *run_id, struct tasks *tasks, struct err *err)
{
    AUTOFREE char *run = url_encode(run_id), *token = NULL;
    for (int pages = 0; pages == 0 || token; pages++) {
        AUTOFREE char *after = token ? url_encode(token) : xstrdup("");
        AUTOFREE char *path = xasprintf("/apis/v2beta1/runs/%s/tasks?page_size=%d&page_token=%s", run, PAGE, after);
        JSON_REF(page) = front_call(f, HTTP_GET, path, NULL, err);
        if (!page)
            return -1;
        jval *t;
        for (struct jiter it = jv_iter(jv_get(json_root(page), "tasks"));
             tasks->memory.used <= KEPT_MAX && jv_next(&it, NULL, &t);)
            add(tasks, t);
        if (pages == PAGES_MAX || tasks->memory.used > KEPT_MAX)
            return err_set(err, ERR_IO, "the server says without end that run %s has more tasks", run_id);
        const char *next = jv_str(jv_get(json_root(page), "next_page_token"));
        free(token);
        token = str_empty(next) ? NULL : xstrdup(next);
    }
    return 0;
}

/* The iteration of a loop has the loop's name and stands for it: "for-loop-2[0]", not "for-loop-2/for-loop-2[0]". */
static char *name_of(const struct tasks *tasks, const struct seen *t, int depth)
{
    const struct seen *up = depth < DEPTH_MAX ? strmap_get(&tasks->by_id, t->above) : NULL;
    if (t->iteration && up)
        up = strmap_get(&tasks->by_id, up->above);
    bool at_root = !up || !*up->above;
    AUTOFREE char *above = at_root ? xstrdup("") : name_of(tasks, up, depth + 1);
    return xasprintf("%s%s%s%s%s%s", above, at_root ? "" : "/", t->name, t->iteration ? "[" : "",
                     t->iteration ? t->iteration : "", t->iteration ? "]" : "");
}

int task_names_load(struct task_names *n, struct front *f, const char *run_id, struct err *err)
{
    struct tasks tasks = {.by_id = STRMAP_INIT(NULL)};
    tasks.end = &tasks.first;
    int rc = fetch(f, run_id, &tasks, err);
    size_t kept = 0;
    for (const struct seen *t = tasks.first; rc == 0 && t; t = t->next) {
        char *name = name_of(&tasks, t, 0);
        kept += strlen(name);
        strmap_put(&n->by_id, t->id, name);
        if (kept > KEPT_MAX)
            rc = err_set(err, ERR_IO, "the names of the tasks of run %s, as the server gives them, are longer than names are",
                         run_id);
    }
    strmap_free(&tasks.by_id);
    arena_free(&tasks.memory);
    return rc;
}

const char *task_name(const struct task_names *n, jval *task)
{
    const char *name = strmap_get(&n->by_id, jv_str_or(jv_get(task, "task_id"), ""));
    return name ? name : jv_str_or(jv_get(task, "display_name"), "?");
}

bool task_name_means(const struct task_names *n, jval *task, const char *what)
{
    const char *name = task_name(n, task);
    if (str_eq(jv_str(jv_get(task, "task_id")), what) || strcmp(name, what) == 0 ||
        str_eq(jv_str(jv_get(task, "display_name")), what))
        return true;
    size_t have = strlen(name), want = strlen(what);
    return want < have && strcmp(name + have - want, what) == 0 && name[have - want - 1] == '/';
}
