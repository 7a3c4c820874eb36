/* place.h - where things of this installation lie, and who called us.
 *
 * A running tidemill leaves a run file: one JSON object {"pid", "url", "kubernetes", "kubeconfig", "data"}, in its data directory
 * and, when it was started through sudo, in ~/.tidemill of the caller, so that the caller's own commands find it. */
#ifndef TM_CLI_PLACE_H
#define TM_CLI_PLACE_H

#include <sys/types.h>

#include "base/err.h"
#include "value/json.h"

/* Who typed the command: under sudo the one who called sudo. */
struct caller {
    uid_t uid;
    gid_t gid;
    char *name, *home; /* home may be "" */
    bool sudo;
};
void caller_find(struct caller *c);
void caller_clear(struct caller *c);

/* dir as given, else the default: /var/lib/tidemill for root, ~/.local/share/tidemill otherwise. Absolute. Caller frees. */
char *place_data_dir(const char *given, struct err *err);
/* The run file of the tidemill to talk to: of the data directory when given, else the first of ~/.tidemill, the default data
 * directory and /var/lib/tidemill that has one whose process is alive. ERR_NOT_FOUND tells what to do. */
struct json *place_run_file(const char *data_dir, struct err *err);
/* Writes the run file, by rename, where it belongs; extra (may be NULL) is the --ready-file. Kubeconfig text (NULL:
 * none) is put beside it; the path that the caller can read is returned in *kubeconfig_path (caller frees). */
struct place_run {
    pid_t pid;
    const char *url, *kubernetes, *data_dir;
    const char *artifacts_dir; /* of the embedded store; NULL: there is none */
};
int place_publish(const struct place_run *run, const struct caller *who, const char *kubeconfig_text, const char *extra,
                  char **kubeconfig_path, struct err *err);
void place_unpublish(const char *data_dir, const struct caller *who, pid_t pid);

#endif
