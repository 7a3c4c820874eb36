/* podsec_priv.h - what the checks of one pod share. */
#ifndef TM_KUBE_PODSEC_PRIV_H
#define TM_KUBE_PODSEC_PRIV_H

#include "kube/fields.h"
#include "kube/rules/podsec.h"

/* The pod that is looked at: its containers of all three lists in one. */
struct podsec_pod {
    jval *annotations, *spec, *context; /* context: the pod's own security context */
    jval **containers;
    size_t n;
    int minor;
    bool windows; /* says that it is for Windows; some checks let it pass since 1.25 */
};

/* Finds what is wrong: false, with the reason (static) and the details. */
typedef bool podsec_fn(const struct podsec_pod *p, const char **reason, struct buf *detail);

const char *podsec_plural(const char *one, const char *many, size_t n);
void podsec_quote(struct buf *out, const struct strlist *items); /* "a", "b" */
/* `container "c"`, `containers "a", "b"`, before it `pod` when that is one of them. */
void podsec_setters(struct buf *out, bool pod, const struct strlist *containers);
void podsec_set_add(struct strlist *l, const char *s); /* unless it is there */

/* podsec_baseline.c and podsec_restricted.c */
podsec_fn podsec_app_armor, podsec_capabilities, podsec_host_namespaces, podsec_host_paths, podsec_host_ports, podsec_probe_hosts,
    podsec_privileged, podsec_proc_mount, podsec_se_linux, podsec_seccomp, podsec_sysctls, podsec_host_process;
podsec_fn podsec_escalation, podsec_drop_all, podsec_volumes, podsec_non_root, podsec_run_as_user, podsec_seccomp_set;
bool podsec_seccomp_good(const char *type);

#endif
