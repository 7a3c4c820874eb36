/* kit.h - whole pipelines without a pod: an engine on a scripted runtime, a database and an artifact store in a temporary
 * directory, and a clock that is turned by hand. */
#ifndef TM_TESTS_ENGINE_KIT_H
#define TM_TESTS_ENGINE_KIT_H

#include "unit.h"

#include "base/str.h"
#include "pipelines/engine/engine.h"
#include "pipelines/ir/ir.h"

/* What a step does when it is run, by the name of its task. */
struct script {
    const char *task;
    int fail_attempts; /* so many attempts exit with exit_code first (default 1) */
    int exit_code;
    const char *params[4][2]; /* output parameter files: key, text */
    const char *executor_output;
    bool pending;       /* is made, and does not get further */
    bool hang;          /* runs until it is stopped */
    const char *fills;  /* the mark of its set-up, when it is to be filled; NULL: none is left */
    const char *plants; /* put there as well: "link", "pipe", "setuid" */
    bool stale;         /* its set-up was made for another image */
    const char *claims; /* what it writes into its task file as the script that it was */
    bool logs;          /* leaves its log as well */
    bool artifacts;     /* leaves a file for each output artifact */
    bool vanish;        /* its pod disappears without a result */
    const char *reason; /* of a failed pod */
    bool hopeless;      /* never starts */
    const char *waits;  /* why it does not start until it is released */
};

struct kit {
    char dir[64];
    struct clock_manual clock;
    struct store store;
    struct blob_store *blobs;
    struct engine *engine;
    struct engine_config cfg;
    struct task_runtime rt;
    const struct script *scripts;
    size_t n_scripts;
    bool restart_every_turn; /* the engine is thrown away and made again between turns */
    bool sweeps;             /* a new engine looks for what an earlier one left */
    struct strmap pods;      /* pod name -> struct fake_pod */
    int starts, most_running, forgets;
    int twice;            /* starts of a pod that was there before */
    struct strlist order; /* task names in the order they were started */
    char *last_input;     /* executor input of the step started last */
    char *last_argv;      /* its argv, joined with '|' */
    bool released;
    struct strmap inputs;       /* executor input by task name */
    struct strlist last_mounts; /* where the mounts of the last step lie inside */
    char *last_env;
    int fills;             /* attempts that were to fill one */
    char *last_fill;       /* the environment in which its set-up is filled; "complete", or NULL: there is none */
    char *last_task;       /* its task file */
    char *last_secret;     /* "name path" of its first Secret; NULL: none */
    char *last_images;     /* "reference path\n" of each */
    char *last_kubernetes; /* NULL: it has no configuration of its own */
};

void kit_open(struct kit *k, const struct script *scripts, size_t n);
void kit_close(struct kit *k);
/* Stores a run of this pipeline and returns its id (owned by the kit's caller). */
char *kit_submit(struct kit *k, const char *yaml, const char *parameters);
/* Turns until the run is final, or nothing moves any more; the clock goes on to whatever the engine waits for. */
void kit_drive(struct kit *k, const char *run_id);
bool kit_turn(struct kit *k, const char *run_id); /* one turn and what the pods do then; true: something may follow */
/* Submit and drive; fails the test unless the run ends in this state. Returns the run's id. */
char *kit_run(struct kit *k, const char *yaml, const char *parameters, enum run_state want);

enum run_state kit_state(struct kit *k, const char *run_id, char **message /* may be NULL */);
/* State of the task with this path, -1 when there is none. */
int kit_task(struct kit *k, const char *run_id, const char *path);
struct task_row kit_row(struct kit *k, const char *run_id, const char *path); /* caller clears */
int kit_count(struct kit *k, const char *sql, const char *run_id);
void kit_restart(struct kit *k);

/* A package: header, executors "e" (sh) and "py", and the given components and root (YAML in flow style). */
char *kit_yaml(const char *root_inputs, const char *tasks, const char *components);
/* Components most tests use. */
#define STEP                                                                                                                     \
    "  step: {executorLabel: e, inputDefinitions: {parameters: {x: {parameterType: STRING, isOptional: true}}}, "                \
    "outputDefinitions: {parameters: {Output: {parameterType: STRING}}}}\n"
#define RUNS(t, comp) "      " t ": {componentRef: {name: " comp "}, taskInfo: {name: " t "}"
#define END           "}\n"
#define FROM(t)       ", inputs: {parameters: {x: {taskOutputParameter: {producerTask: " t ", outputParameterKey: Output}}}}"
#define AFTER(t)      ", dependentTasks: [" t "]"
#define ALWAYS        ", triggerPolicy: {strategy: ALL_UPSTREAM_TASKS_COMPLETED}"

#endif
