/* task.h - the file format between the pipelines engine and tidemill-agent.
 *
 * A container step meets the engine in one directory, mounted at /tidemill/task in its pod; each attempt has a directory of its
 * own:
 *
 *     task.json      written by the engine before the pod exists; read by the agent
 *     started        made by the agent (O_CREAT|O_EXCL, before it runs anything): proof that the attempt began. When it
 *                    exists already the agent runs nothing, writes no result and exits with LAUNCH_EXIT_TWICE
 *     result.json    written by the agent as its last act (temporary name, fsync, rename, fsync of the directory)
 *
 * The engine has resolved everything: placeholders, conditions, structures, types. The agent makes directories, runs argv, reads
 * output files and reports; it knows nothing of pipelines. The agent's own exit code is the command's (128 + signal when a
 * signal ended it; 126/127 when it could not be started), so that the pod's status says the same as the result file.
 * Where engine and pods share no directory, /tidemill/task is the pod's own: the task is read from LAUNCH_IN_DIR, where the pod's
 * annotation stands as a file, and the result is sent to a store. A task that is too long for an annotation lies in a store as
 * well; what stands in the annotation then says where (task_uri).
 *
 * Both files are JSON with the field names below; unknown fields are ignored by readers, so that the two sides may differ in
 * version.
 *
 * What the agent does, in order:
 *  1. reads task.json; creates `started`
 *  2. removes each of clean[] (trees; a missing one is fine), then makes each of dirs[] with parents, mode 0755
 *  3. when executor_input_at >= 0: argv[executor_input_at] (empty in the file) becomes the executor input's text; when big_input
 * is set it becomes unfit for argv: the text goes to LAUNCH_INPUT_FILE and argv keeps working through a shim (see big_input)
 *  4. brings each of downloads[] from its store to its path
 *  5. when prelude_at > 0: the shortcut below
 *  6. runs argv with the pod's environment and the image's working directory, stdin from /dev/null, stdout and stderr to the
 * pod's log, keeping the last LAUNCH_TAIL_LINES lines; forwards SIGTERM and SIGINT
 *  7. on exit code 0 collects: the text of each output parameter file, the executor output file, and what lies at each output
 *     artifact's path. The executor output's artifacts.<key>.artifacts[0].custom_path (or customPath) moves an artifact's bytes:
 * they are brought from there to `path` first (rename, else copy)
 *  8. sends output artifacts that have a store, and the log, to where they belong
 *  9. in each of yield[] that belongs to somebody else: opens the directories that the step has made, so that the owner can
 * remove them (mode 0777; the owner need not be root, and the step may have been)
 * 10. writes result.json, and sends it, too, when it has a place in a store
 *
 * Where the artifacts' store is mounted (the embedded store, a volume claim), nothing has a store and nothing is moved. Where it
 * is not, `stores` says how each is reached: settings without secrets, and where the keys are (files of a mounted Secret, or the
 * pod's environment).
 *
 * Ownership: structs own everything they point to; *_clear frees. Not thread-safe. Source: pipelines-runtime spec, sections
 * 12-14, 21. */
#ifndef TM_LAUNCH_TASK_H
#define TM_LAUNCH_TASK_H

#include "base/err.h"
#include "base/str.h"
#include "value/json.h"

#define LAUNCH_DIR        "/tidemill/task"
#define LAUNCH_IN_DIR     "/tidemill/in" /* with task.json, where no directory is shared */
#define LAUNCH_TASK       "task.json"
#define LAUNCH_STARTED    "started"
#define LAUNCH_RESULT     "result.json"
#define LAUNCH_INPUT_FILE "/tmp/kfp/executor_input.json"
#define LAUNCH_IMAGE      "image.json" /* beside LAUNCH_DIR: what the image runs by itself; see image_command */
#define LAUNCH_SETUP_DIR  "/tidemill/setup"
#define LAUNCH_SETUP_MARK ".tidemill-setup" /* in it: how its filling ended, enum launch_setup as a word */
#define LAUNCH_SETUP_FOR  ".tidemill-image" /* and what told the image that filled it from others */
#define LAUNCH_AGENT      "/tidemill/agent" /* where the agent's binary is mounted, read-only */
#define LAUNCH_TAIL_LINES 20
#define LAUNCH_TAIL_MAX   (16u << 10) /* bytes of log_tail */
#define LAUNCH_PARAM_MAX  (4u << 20)  /* bytes of one output parameter file */
#define LAUNCH_OUTPUT_MAX (16u << 20) /* bytes of the executor output file */
#define LAUNCH_FILE_MAX   (96u << 20) /* bytes of task.json or result.json */
#define LAUNCH_EXIT_TWICE 125

/* A named output and where its file (or directory) lies inside the container. */
struct launch_output {
    char *key;
    char *path;
    char *uri; /* "uri": of an artifact that is sent to a store; NULL: its bytes stay at path */
    int store; /* "store": index into stores; counts only with uri */
};

/* An object store that is not mounted. */
struct launch_store {
    struct json *settings; /* "settings": blob_settings of data/blob.h as JSON, without keys */
    /* "accessKeyFile", "secretKeyFile", "tokenFile": files with the keys; NULL: none, settings say fromEnv or anonymous */
    char *access_key_file, *secret_key_file, *token_file;
};
/* An object or a prefix that is wanted at a path. That there is nothing is fine: an artifact may be its metadata. */
struct launch_download {
    char *uri, *path;
    int store;
};

struct launch_task {
    int version;            /* "version": 1 */
    char *run_id, *task_id; /* for messages */
    int attempt;            /* 0-based */
    struct strlist argv;    /* "argv": at least one element, unless image_command; argv[0] is looked up in PATH */
    /* "imageCommand": the component names no command: the image's own entry point comes before argv, and when argv is empty the
     * image's own arguments after it. A node that knows the image's configuration has put it where the agent finds it, at
     * /tidemill/image.json: {"entrypoint": [...], "cmd": [...]}; elsewhere such a task fails, and says so. */
    bool image_command;
    struct strlist clean;  /* "clean": absolute paths removed before the command runs (leftovers of an earlier attempt) */
    struct strlist dirs;   /* "dirs": absolute paths to make */
    struct strlist yield;  /* "yield": directories that outlive the step and that somebody else removes */
    char *executor_input;  /* "executorInput": the JSON text, at most 16 MiB; NULL when no argv element wants it */
    int executor_input_at; /* "executorInputAt": the argv element that is exactly this text; -1: none (placed inside others
                              already) */
    /* "bigInput": the text is longer than an argv element may be (120 KiB). argv[executor_input_at - 1] is "--executor_input" and
     * the command is the Python executor: the agent writes the text to LAUNCH_INPUT_FILE, and hands the module
     * kfp.dsl.executor_main its arguments from there (for instance by a sitecustomize directory put before PYTHONPATH that
     * replaces the argument). */
    bool big_input;
    /* "preludeAt": argv is `sh -c <generated pip install> sh ...` and argv[prelude_at] begins the inner command ("$0" "$@" of the
     * generated script). When python3 in the image has every one of requirements[] installed (name and version specifier against
     * *.dist-info; environment markers as in `typing-extensions>=3.7.4,<5; python_version<"3.9"`), the agent runs the inner
     * command alone, else argv as it stands. 0: no such prelude. */
    int prelude_at;
    struct strlist requirements; /* "requirements" */
    /* "setupDir": a directory, read-only, with what the prelude would install: it is found through PYTHONPATH, and the prelude is
     * left out when that meets the requirements. What fills it is `tidemill-agent setup`, in an init container of the pod before
     * anything of the step's runs: it runs the prelude without the inner command, has pip install there (PIP_PREFIX), and leaves
     * LAUNCH_SETUP_MARK as its last act. NULL: none. */
    char *setup_dir;
    char *executor_output_path;   /* "executorOutputPath": file that the command may leave; NULL: none */
    struct launch_output *params; /* "outputParameters": [{key, path}] */
    size_t n_params;
    struct launch_output *artifacts; /* "outputArtifacts": [{key, path, uri?, store?}]; path is where the bytes must end up */
    size_t n_artifacts;
    struct launch_store *stores; /* "stores" */
    size_t n_stores;
    struct launch_download *downloads; /* "downloads": [{uri, path, store}] */
    size_t n_downloads;
    char *log_path; /* "logPath": a copy of the command's output is left there; NULL: none */
    /* "logUri", "logStore": where that copy is sent, also when the command failed; "resultUri", "resultStore": the same for the
     * result, which is there as a file in any case. NULL: nowhere. */
    char *log_uri, *result_uri;
    int log_store, result_store;
    /* "taskUri", "taskStore": the task lies there, and but for the stores and the place of the result nothing else is said here.
     * NULL: this is it. */
    char *task_uri;
    int task_store;
};

enum launch_outcome {
    LAUNCH_EXITED,    /* "exited": the command ended by itself: exit_code */
    LAUNCH_SIGNALED,  /* "signaled": signal */
    LAUNCH_NOT_FOUND, /* "notFound": argv[0] is no program of this image; message says which and where it was looked for */
    LAUNCH_SETUP,     /* "setup": directories, task file or inputs could not be prepared; message */
    LAUNCH_COLLECT, /* "collect": the command succeeded but an output could not be read (too big, permission) or sent; message */
};

struct launch_result_param {
    char *key;
    char *text;   /* NULL: there is no file ("text" absent) */
    size_t len;   /* bytes; text may hold NULs */
    bool too_big; /* "tooBig": the file is larger than LAUNCH_PARAM_MAX; len is its size, text NULL */
};
struct launch_result_artifact {
    char *key;
    bool exists;  /* "exists": something lies at path */
    bool is_dir;  /* "isDir" */
    int64_t size; /* "size": bytes, of a tree the sum of its files */
};

struct launch_result {
    int version;                 /* "version": 1 */
    int attempt;                 /* as in the task */
    enum launch_outcome outcome; /* "outcome" */
    int exit_code;               /* "exitCode": what the agent exits with */
    int signal;                  /* "signal": 0 unless signaled */
    char *message;               /* "message": one line for a person when outcome is not exited with 0; else NULL */
    char *log_tail; /* "logTail": last lines of the merged output; bytes that are no UTF-8 are replaced; may be NULL */
    int64_t started_ns, finished_ns;    /* "startedNs", "finishedNs": Unix time of the command */
    bool prelude_skipped;               /* "preludeSkipped" */
    bool setup_stale;                   /* "setupStale": what setup_dir holds was made for another image, and was not used */
    bool has_log;                       /* "hasLog": log_path was written and, if it has a store, is there */
    int64_t log_size;                   /* "logSize" */
    char *executor_output;              /* "executorOutput": text of the file, NULL when there was none */
    struct launch_result_param *params; /* "outputParameters": [{key, text | tooBig, len}] : one for each of the task's */
    size_t n_params;
    struct launch_result_artifact *artifacts; /* "outputArtifacts": one for each of the task's */
    size_t n_artifacts;
};

enum launch_setup {
    LAUNCH_SETUP_NONE,     /* no mark, or none that we know */
    LAUNCH_SETUP_MADE,     /* "made": it meets the requirements */
    LAUNCH_SETUP_NEEDLESS, /* "needless": the image meets them by itself */
    LAUNCH_SETUP_NOT,      /* "not": it could not be filled */
};
const char *launch_setup_word(enum launch_setup s);
enum launch_setup launch_setup_parse(const char *word);

void launch_task_init(struct launch_task *t);
void launch_task_clear(struct launch_task *t);
void launch_task_add_param(struct launch_task *t, const char *key, const char *path);
void launch_task_add_artifact(struct launch_task *t, const char *key, const char *path);
/* The artifact added last is sent to uri. */
void launch_task_send_artifact(struct launch_task *t, const char *uri, int store);
/* Returns the index of the new store; settings is copied, file names may be NULL. */
int launch_task_add_store(struct launch_task *t, jval *settings, const char *access_key_file, const char *secret_key_file,
                          const char *token_file);
void launch_task_add_download(struct launch_task *t, const char *uri, const char *path, int store);
/* Writes dir/task.json (0644, so that any container user can read it): the old content or the new one, not synced. */
int launch_task_write(const struct launch_task *t, const char *dir, struct err *err);
/* Reads dir/task.json. ERR_NOT_FOUND when there is none, ERR_BAD_REQUEST when it is not a task. */
int launch_task_read(const char *dir, struct launch_task *out, struct err *err);

void launch_result_init(struct launch_result *r);
void launch_result_clear(struct launch_result *r);
int launch_result_write(const struct launch_result *r, const char *dir, struct err *err);
/* ERR_NOT_FOUND when there is none (yet). The file comes from inside a container: it is checked as untrusted input. */
int launch_result_read(const char *dir, struct launch_result *out, struct err *err);
/* The same from text, for tests and fuzzing. */
int launch_task_parse(const char *text, size_t len, struct launch_task *out, struct err *err);
int launch_result_parse(const char *text, size_t len, struct launch_result *out, struct err *err);
void launch_task_text(const struct launch_task *t, struct buf *out);
void launch_result_text(const struct launch_result *r, struct buf *out);

#endif
