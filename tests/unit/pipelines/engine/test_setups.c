/* What a step's `pip install` adds: kept, found again, filled by one of many. */
#include "kit.h"

#include <time.h>

#include "pipelines/engine/live.h"

#define PIP(what) "PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --quiet --no-warn-script-location '" what "' && "

/* more: members of the container beside command and image. */
static char *prelude_run(struct kit *k, const char *name, const char *package, const char *more, enum run_state want)
{
    AUTOFREE char *task = xasprintf("      %s: {componentRef: {name: inst}, taskInfo: {name: %s}}\n", name, name);
    AUTOFREE char *one = kit_yaml("", task, "  inst: {executorLabel: pip}\n");
    const char *at = strstr(one, "components:\n");
    AUTOFREE char *y =
        xasprintf("%.*s    pip: {container: {%s, command: [sh, -c, \"" PIP("%s") "\\\"$0\\\" \\\"$@\\\"\", sh, -c, "
                                                                                 "'true']}}\n%s",
                  (int)(at - one), one, more ? more : "image: img", package, at);
    return kit_run(k, y, NULL, want);
}

#define INDEX(url) "image: img, env: [{name: OTHER, value: x}, {name: PIP_INDEX_URL, value: \"" url "\"}]"

/* What was installed before a step is there for the next with the same image, script and settings of pip, whatever became of the
 * step, and whatever the step says of its script. */
static void setups(void **state)
{
    struct kit k;
    static const struct script scripts[] = {{.task = "none"},
                                            {.task = "fails", .fail_attempts = 9, .fills = "made"},
                                            {.task = "evil", .fills = "made", .claims = PIP("yapf==1") "\"$0\" \"$@\""},
                                            {.task = "made", .fills = "made"},
                                            {.task = "link", .fills = "made", .plants = "link"},
                                            {.task = "pipe", .fills = "made", .plants = "pipe"},
                                            {.task = "setuid", .fills = "made", .plants = "setuid"},
                                            {.task = "needless", .fills = "needless"},
                                            {.task = "not", .fills = "not"},
                                            {.task = "odd", .fills = "whatever"}};
    kit_open(&k, scripts, ARRAY_LEN(scripts));
    static const char evil[] = "[{\"name\":\"PIP_INDEX_URL\",\"value\":\"evil\"}]";
    static const struct {
        const char *task, *package, *more, *fill;
        int hours;                                /* before it */
    } cases[] = {{"none", "yapf==1", NULL, "[]"}, /* no mark: not kept */
                 {"odd", "yapf==1", NULL, "[]"},
                 {"fails", "yapf==1", NULL, "[]"},
                 {"none", "yapf==1", NULL, "complete"},
                 {"evil", "evil==1", NULL, "[]"},
                 {"none", "evil==1", NULL, "complete"},
                 {"none", "yapf==1", NULL, "complete"},
                 {"none", "yapf==2", NULL, "[]"},
                 {"none", "yapf==1", "image: other", "[]"},
                 {"made", "yapf==1", INDEX("evil"), evil}, /* somebody else's settings are not for all */
                 {"none", "yapf==1", INDEX("evil"), "complete"},
                 {"none", "yapf==1", "image: img, env: [{name: OTHER, value: y}]", "complete"},
                 {"link", "link==1", NULL, "[]"},
                 {"none", "link==1", NULL, "complete"},
                 {"pipe", "pipe==1", NULL, "[]"},
                 {"none", "pipe==1", NULL, "[]"},
                 {"setuid", "setuid==1", NULL, "[]"},
                 {"none", "setuid==1", NULL, "[]"},
                 {"needless", "kfp==1", NULL, "[]"},
                 {"made", "kfp==1", NULL, NULL},
                 {"not", "private==1", NULL, "[]"}, /* wants what only the step has */
                 {"made", "private==1", NULL, NULL},
                 {"made", "private==1", NULL, "[]", 2},
                 {"none", "private==1", NULL, "complete"}};
    clock_manual_advance(&k.clock, (int64_t)time(NULL) * NS_PER_S - k.clock.clock.wall_ns(&k.clock.clock)); /* as files have it */
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        clock_manual_advance(&k.clock, cases[n].hours * 3600 * NS_PER_S);
        bool fails = strcmp(cases[n].task, "fails") == 0;
        AUTOFREE char *id = prelude_run(&k, cases[n].task, cases[n].package, cases[n].more, fails ? RUN_FAILED : RUN_SUCCEEDED);
        JSON_REF(t) = json_parse_str(k.last_task, NULL);
        if (!str_eq(k.last_fill, cases[n].fill) && (k.last_fill || cases[n].fill))
            fail_msg("case %zu, %s %s: %s", n, cases[n].task, cases[n].package, k.last_fill ? k.last_fill : "nothing");
        assert_int_equal(str_eq(jv_str(jv_get(json_root(t), "setupDir")), LAUNCH_SETUP_DIR), cases[n].fill != NULL);
        assert_false(strlist_has(&k.last_mounts, LAUNCH_SETUP_DIR)); /* its own, and read-only */
    }
    kit_close(&k);
}

/* Tasks of these names (separated by '+'), in one run: each with the same script and image. */
static char *many_submit(struct kit *k, const char *names)
{
    STRLIST(each);
    str_split(names, '+', &each);
    BUF(tasks);
    for (size_t n = 0; n < each.n; n++)
        buf_addf(&tasks, "      %s: {componentRef: {name: inst}, taskInfo: {name: %s}}\n", each.v[n], each.v[n]);
    AUTOFREE char *one = kit_yaml("", buf_str(&tasks), "  inst: {executorLabel: pip}\n");
    const char *at = strstr(one, "components:\n");
    AUTOFREE char *y = xasprintf("%.*s    pip: {container: {image: img, command: [sh, -c, \"" PIP(
                                     "yapf==1") "\\\"$0\\\" \\\"$@\\\"\", sh, -c, 'true']}}\n%s",
                                 (int)(at - one), one, at);
    return kit_submit(k, y, NULL);
}

/* Of steps that start together one fills the set-up, and the others have it as soon as that one's own work begins; when it comes
 * to nothing another one does it, but they do not stand in line for ever. */
static void one_fills(void **state)
{
    static const struct script scripts[] = {{.task = "a", .fills = "made"},
                                            {.task = "b", .fills = "made"},
                                            {.task = "c", .fills = "made"},
                                            {.task = "fails", .fail_attempts = 9, .fills = "made"},
                                            {.task = "gone", .fail_attempts = 9, .vanish = true},
                                            {.task = "hopeless", .hopeless = true},
                                            {.task = "long", .fills = "made", .hang = true},
                                            {.task = "not", .fills = "not"},
                                            {.task = "stuck", .waits = "no node has room"}};
    static const struct {
        const char *tasks;
        int fills;
        bool ends, restart; /* all but those that hang; the engine is made anew between turns */
        enum run_state want;
    } cases[] = {{"a+b+c", 1, true, false, RUN_SUCCEEDED},         {"a+b+c", 1, true, true, RUN_SUCCEEDED},
                 {"fails+a", 1, true, false, RUN_FAILED},          {"a+fails", 1, true, false, RUN_FAILED},
                 {"a+gone", 2, true, false, RUN_FAILED},           {"a+gone", 2, true, true, RUN_FAILED},
                 {"a+hopeless", 2, true, false, RUN_FAILED},       {"a+stuck", 2, false, false, RUN_RUNNING},
                 {"a+long", 1, false, false, RUN_RUNNING},         {"a+b+c+not", 1, true, false, RUN_SUCCEEDED},
                 {"n1+n2+n3+n4+n5", 5, true, false, RUN_SUCCEEDED} /* without a mark: one by one at first */};
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        struct kit k;
        kit_open(&k, scripts, ARRAY_LEN(scripts));
        k.sweeps = cases[n].restart;
        AUTOFREE char *id = many_submit(&k, cases[n].tasks);
        for (int t = 0; t < 200 && !run_state_final(kit_state(&k, id, NULL)); t++) {
            if (cases[n].restart)
                kit_restart(&k);
            kit_turn(&k, id);
        }
        if (k.fills != cases[n].fills || kit_state(&k, id, NULL) != cases[n].want)
            fail_msg("%s: %d filled it, the run is %s", cases[n].tasks, k.fills, run_state_name(kit_state(&k, id, NULL)));
        assert_int_equal(k.twice, 0);
        if (!cases[n].ends)
            assert_int_equal(kit_task(&k, id, "root/a"), TASK_SUCCEEDED);
        kit_close(&k);
    }
}

/* Another run's step waits, says why, and goes on when the run that fills is deleted, or takes too long. */
static void the_one_that_fills_is_gone(void **state)
{
    static const struct script scripts[] = {{.task = "slow", .pending = true}, {.task = "a", .fills = "made"}};
    for (int deleted = 0; deleted < 2; deleted++) {
        struct kit k;
        struct ctx ctx = ctx_background();
        kit_open(&k, scripts, ARRAY_LEN(scripts));
        AUTOFREE char *first = many_submit(&k, "slow"), *second = many_submit(&k, "a");
        kit_turn(&k, first);
        for (int t = 0; t < 20; t++)
            kit_turn(&k, second);
        assert_int_equal(k.fills, 1);
        assert_int_equal(kit_task(&k, second, "root/a"), TASK_STARTING);
        struct task_row row = kit_row(&k, second, "root/a");
        assert_non_null(strstr(row.error_message, "another step installs the same packages"));
        task_row_clear(&row);
        if (deleted)
            assert_int_equal(engine_delete(k.engine, &ctx, first, false, NULL), 0);
        else
            clock_manual_advance(&k.clock, 600 * NS_PER_S);
        kit_drive(&k, second);
        assert_int_equal(kit_state(&k, second, NULL), RUN_SUCCEEDED);
        assert_int_equal(k.fills, 2);
        kit_close(&k);
    }
}

/* A step that waits is ended with its run. */
static void ended_while_it_waits(void **state)
{
    static const struct script scripts[] = {{.task = "slow", .pending = true}};
    struct kit k;
    struct ctx ctx = ctx_background();
    kit_open(&k, scripts, ARRAY_LEN(scripts));
    AUTOFREE char *first = many_submit(&k, "slow"), *second = many_submit(&k, "a");
    kit_turn(&k, first);
    kit_turn(&k, second);
    assert_int_equal(engine_terminate(k.engine, &ctx, second, "me", NULL), 0);
    kit_drive(&k, second);
    assert_int_equal(kit_task(&k, second, "root/a"), TASK_CANCELED);
    assert_int_equal(k.starts, 1);
    kit_close(&k);
}

static char *which_image(void *self, const char *image)
{
    const char *const *pair = self;
    return str_starts(image, pair[0]) ? xstrdup(pair[1]) : NULL;
}

/* Kept for the image and not for its name; and what turns out to be for another one is not used twice. */
static void names_of_images_move(void **state)
{
    struct kit k;
    static const struct script scripts[] = {{.task = "made", .fills = "made"}, {.task = "stale", .fills = "made", .stale = true}};
    const char *id[] = {"reg/one", "sha256:1"};
    kit_open(&k, scripts, ARRAY_LEN(scripts));
    k.cfg.image_id = which_image;
    k.cfg.image_self = id;
    kit_restart(&k);
    const struct {
        const char *task, *image, *id, *fill;
    } cases[] = {{"made", "image: 'reg/one:1'", "sha256:1", "[]"},
                 {"made", "image: 'reg/one:latest'", "sha256:1", "complete"}, /* another tag of it */
                 {"made", "image: 'reg/one:latest'", "sha256:2", "[]"},       /* the tag moved */
                 {"made", "image: 'reg/one:1'", "sha256:1", "complete"},
                 {"made", "image: 'elsewhere:1'", "sha256:1", "[]"}, /* not known: its name counts */
                 {"made", "image: 'elsewhere:2'", "sha256:1", "[]"},
                 {"made", "image: 'elsewhere:1'", "sha256:1", "complete"},
                 {"stale", "image: 'elsewhere:1'", "sha256:1", "complete"}, /* its agent saw that it moved */
                 {"made", "image: 'elsewhere:1'", "sha256:1", "[]"},
                 {"made", "image: 'elsewhere:1'", "sha256:1", "complete"}};
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        id[1] = cases[n].id;
        AUTOFREE char *run = prelude_run(&k, cases[n].task, "yapf==1", cases[n].image, RUN_SUCCEEDED);
        if (!str_eq(k.last_fill, cases[n].fill))
            fail_msg("case %zu, %s: %s", n, cases[n].image, k.last_fill ? k.last_fill : "nothing");
    }
    kit_close(&k);
}

/* An image that comes with the pod is known when the set-up is kept. */
static void the_image_comes_with_the_pod(void **state)
{
    struct kit k;
    static const struct script scripts[] = {{.task = "made", .fills = "made"}};
    const char *id[] = {"nothing yet", "sha256:1"};
    kit_open(&k, scripts, ARRAY_LEN(scripts));
    k.cfg.image_id = which_image;
    k.cfg.image_self = id;
    kit_restart(&k);
    AUTOFREE char *first = many_submit(&k, "made");
    kit_turn(&k, first);
    id[0] = "img";
    kit_drive(&k, first);
    AUTOFREE char *second = prelude_run(&k, "made", "yapf==1", NULL, RUN_SUCCEEDED);
    assert_string_equal(k.last_fill, "complete");
    kit_close(&k);
}

TEST_GROUP(setups, cmocka_unit_test(setups), cmocka_unit_test(one_fills), cmocka_unit_test(the_one_that_fills_is_gone),
           cmocka_unit_test(ended_while_it_waits), cmocka_unit_test(names_of_images_move),
           cmocka_unit_test(the_image_comes_with_the_pod))
