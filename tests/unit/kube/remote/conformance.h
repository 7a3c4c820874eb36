/* conformance.h - what every `struct kube` must do, as one table of cases that is run against each of them: the embedded API
 * server as function calls, the same over HTTPS, and a real Kubernetes whose kubeconfig TIDEMILL_CONFORMANCE_KUBECONFIG names. */
#ifndef TM_TESTS_CONFORMANCE_H
#define TM_TESTS_CONFORMANCE_H

#include "unit.h"

#include "base/str.h"
#include "kube/kinds.h"
#include "kube/kube.h"
#include "kube/object.h"

struct target {
    const char *name;
    struct kube *kube;
    bool wire;        /* objects go as bytes that are decoded, not as values whose kind is known */
    const char *node; /* runs pods, or at least their programs; NULL: there is none */
    bool real_node;   /* pods on it really run; else their programs run on this machine, and their log is "line 1\nline 2\n" */
    char ns[64];      /* made for the run, deleted after it */
    void *self;
    /* Stops the API server, waits, starts it again with what it had. NULL: cannot be done here. */
    void (*restart)(struct target *t);
};
struct conformance_case {
    const char *name;
    void (*run)(struct target *t);
};
extern const struct conformance_case conformance_objects[], conformance_live[], conformance_node[];
extern const size_t n_conformance_objects, n_conformance_live, n_conformance_node;

/* Makes the namespace. */
void target_open(struct target *t);
void target_close(struct target *t);

/* ---- helpers for cases; each fails the test when it cannot ---- */

struct ctx soon(void);                                    /* a minute */
struct json *doc(const char *fmt, ...) PRINTF_LIKE(1, 2); /* JSON with ' for " */
struct json *make(struct target *t, const struct kube_res *res, const char *fmt, ...) PRINTF_LIKE(3, 4);
struct json *make_map(struct target *t, const char *name, const char *labels /* "'a': 'b'" or "" */);
struct json *get(struct target *t, const struct kube_res *res, const char *name);
const char *text_at(jval *v, const char *dotted); /* "" when absent */
void expect_error(const char *what, const struct err *e, enum err_code code, const char *part);
/* Waits for the next event that is no bookmark. */
struct kube_event next_event(struct target *t, struct kube_watch *w);
void expect_event(struct target *t, struct kube_watch *w, enum kube_event_type type, const char *name);
bool eventually(bool (*cond)(void *arg), void *arg); /* within 20 s */

#endif
