/* agent.h - the parts of tidemill-agent, the program that runs inside pods.
 *
 * `tidemill-agent launch` reads the task that the engine left in LAUNCH_DIR (launch/task.h says what it holds and in what order
 * things are done), runs the command and leaves a result. The program is static, loads nothing (names are looked up in /etc/hosts
 * and by DNS), and has threads only while it moves artifacts, so that it works in any image; it runs as the container's user,
 * often as process 1. Source: pipelines-runtime spec 12-14, 21.6. */
#ifndef TM_AGENT_AGENT_H
#define TM_AGENT_AGENT_H

#include "launch/task.h"

/* Runs the task whose file is in from, with its marks and its result in dir. Returns the exit code for the process. */
int agent_launch(const char *from, const char *dir);

/* Copies this program to dir/tidemill-agent, for an init container whose image has it. Returns the exit code. */
int agent_install(const char *dir);

/* ---- run.c: one command -------------------------------------------------------------------------------------- */

struct run_outcome {
    bool started; /* false: could not be executed; exec_errno says why */
    int exec_errno;
    int wait_status; /* as waitpid gives it */
    int log_fd;      /* > 0: in: the output is written there as well */
    bool log_ended;  /* it could not take all of it */
    struct buf tail; /* last LAUNCH_TAIL_LINES lines of the output, at most LAUNCH_TAIL_MAX bytes */
    int64_t started_ns, finished_ns;
};
/* Runs argv (NULL-terminated, argv[0] looked up in PATH), relays its merged output to our standard output, forwards SIGTERM,
 * SIGINT, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2, and reaps whatever else ends meanwhile (we may be process 1). -1 only when the
 * machine has no process or pipe to give. */
int agent_run(char *const *argv, struct run_outcome *out, struct err *err);

/* ---- prelude.c: is what pip would install already there? ------------------------------------------------------ */

/* True when every requirement (PEP 508: name, version specifiers, an environment marker on python_version) is met by a
 * distribution that python3, as found in PATH, would import. False whenever that cannot be told without running it: then pip
 * decides. */
bool agent_requirements_met(const struct strlist *requirements);
/* ---- setup.c: what pip installs, kept for later steps ----------------------------------------------------------- */

/* Fills the task's set-up directory, in an init container where nothing of the step's has run: the prelude of the task in dir,
 * with nothing behind it. Leaves a mark, unless it was ended from outside; the exit code says only that there was a task to read.
 */
int agent_setup(const char *dir);
/* Puts the directory's packages in front of PATH and PYTHONPATH. False: they do not meet the requirements, or were made for
 * another image (*stale, then); nothing has changed. */
bool agent_setup_use(const char *setup_dir, const struct strlist *requirements, bool *stale);
/* What tells one image from another as far as packages go, as hex digits; false: not a Python whose layout we know. */
enum { AGENT_IMAGE_TEXT = 65 };
bool agent_image_print(char out[AGENT_IMAGE_TEXT]);

/* The directories below prefix into which python3's pip would install, joined with ':'; NULL: not a Python whose layout we know.
 */
char *agent_setup_path(const char *prefix);
/* The parts of it that tests look at. version: "2.17.0"; spec: ">=2.0,<3". -1: cannot tell. */
int agent_version_matches(const char *version, const char *spec);
int agent_marker_true(const char *marker, const char *python_version);
/* Directories with *.dist-info that python3 at this path would use, and its "3.11". False: not a Python whose layout we know. */
bool agent_python_dirs(const char *python, struct strlist *dirs, char version[16]);

/* ---- pause.c: a step that waits to be looked at ---------------------------------------------------------------- */

enum agent_pause { PAUSE_BEFORE, PAUSE_AFTER, PAUSE_FAILED /* after a command that failed */ };
/* Waits where the environment asks for it, until somebody lets it go on; 0 at once where it does not. -1: we are to end, or
 * nobody could let it go on. */
int agent_pause(enum agent_pause when, struct err *err);

/* ---- collect.c: what the command left ------------------------------------------------------------------------ */

/* Reads output parameters, the executor output, and looks at the artifacts. -1: an output that is there could not be read. */
int agent_collect(const struct launch_task *t, struct launch_result *r, struct err *err);

/* ---- yield.c: what others remove ------------------------------------------------------------------------------- */

/* Opens (0777) the directories below dir that belong to this user, when dir itself does not. Links are not followed. What cannot
 * be opened stays as it is. */
void agent_yield(const char *dir);

/* ---- transfer.c: stores that are not mounted ------------------------------------------------------------------- */

/* What task_uri names, to a file. ERR_NOT_FOUND: there is nothing. */
int agent_bring_task(const struct launch_task *t, const char *path, struct err *err);
/* Each of downloads[]; what is not there is fine. */
int agent_bring_inputs(const struct launch_task *t, struct err *err);
/* Each output artifact that has a URI and exists. */
int agent_send_outputs(const struct launch_task *t, const struct launch_result *r, struct err *err);
int agent_send_log(const struct launch_task *t, struct err *err);
int agent_send_result(const struct launch_task *t, const char *path, struct err *err);

/* ---- models.c: a container image that another container reads -------------------------------------------------- */

#define IMAGE_MODELS "/models"
/* "check": exit code 0 when there is something in models. "serve": leaves a link to models as seen from the pod's other processes
 * at dir/models, and stays until SIGTERM. "ready": 0 when that link leads to something. Errors go to standard error. */
int agent_models(const char *what, const char *models, const char *dir);

#endif
