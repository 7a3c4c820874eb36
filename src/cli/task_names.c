/* task_names.c - see task_names.h. */
#include "cli/task_names.h"

#include <stdio.h>
#include <stdlib.h>

#include "value/json.h"

/* A run has 200000 tasks at most, by the engine: a server that goes on is none of ours. */
enum { DEPTH_MAX = 64, PAGE = 200, PAGES_MAX = 1100 };

void task_names_free(struct task_names *n) { strmap_free(&n->by_id); }

/* One page after the other, all tasks by their ids. The documents stay in docs. */
static int fetch(struct front *f, const char *run_id, struct strmap *tasks, struct json ***docs, size_t *n_docs, struct err *err)
{
    AUTOFREE char *run = url_encode(run_id), *token = NULL;
    do {
        AUTOFREE char *after = token ? url_encode(token) : xstrdup("");
        AUTOFREE char *path = xasprintf("/apis/v2beta1/runs/%s/tasks?page_size=%d&page_token=%s", run, PAGE, after);
        struct json *page = front_call(f, HTTP_GET, path, NULL, err);
        if (!page)
            return -1;
        if (*n_docs == PAGES_MAX) {
            json_unref(page);
            return err_set(err, ERR_IO, "the server says without end that run %s has more tasks", run_id);
        }
        *docs = xreallocarray(*docs, *n_docs + 1, sizeof **docs);
        (*docs)[(*n_docs)++] = page;
        jval *t;
        for (struct jiter it = jv_iter(jv_get(json_root(page), "tasks")); jv_next(&it, NULL, &t);)
            strmap_put(tasks, jv_str_or(jv_get(t, "task_id"), ""), (void *)t);
        const char *next = jv_str(jv_get(json_root(page), "next_page_token"));
        free(token);
        token = str_empty(next) ? NULL : xstrdup(next);
    } while (token);
    return 0;
}

/* The iteration of a loop has the loop's name and stands for it: "for-loop-2[0]", not "for-loop-2/for-loop-2[0]". */
static char *name_of(const struct strmap *tasks, jval *t, int depth)
{
    jval *up = depth < DEPTH_MAX ? strmap_get(tasks, jv_str_or(jv_get(t, "parent_task_id"), "")) : NULL;
    const char *own = jv_str_or(jv_get(t, "display_name"), "?");
    const char *iteration = jv_str(jv_path(t, "type_attributes", "iteration_index", NULL));
    if (iteration && up)
        up = strmap_get(tasks, jv_str_or(jv_get(up, "parent_task_id"), ""));
    bool at_root = !up || str_empty(jv_str(jv_get(up, "parent_task_id")));
    AUTOFREE char *above = at_root ? xstrdup("") : name_of(tasks, up, depth + 1);
    return xasprintf("%s%s%s%s%s%s", above, at_root ? "" : "/", own, iteration ? "[" : "", iteration ? iteration : "",
                     iteration ? "]" : "");
}

int task_names_load(struct task_names *n, struct front *f, const char *run_id, struct err *err)
{
    struct strmap tasks = STRMAP_INIT(NULL);
    struct json **docs = NULL;
    size_t n_docs = 0;
    int rc = fetch(f, run_id, &tasks, &docs, &n_docs, err);
    for (size_t i = 0; i < n_docs; i++) {
        jval *t;
        for (struct jiter it = jv_iter(jv_get(json_root(docs[i]), "tasks")); rc == 0 && jv_next(&it, NULL, &t);)
            strmap_put(&n->by_id, jv_str_or(jv_get(t, "task_id"), ""), name_of(&tasks, t, 0));
        json_unref(docs[i]);
    }
    free(docs);
    strmap_free(&tasks);
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
