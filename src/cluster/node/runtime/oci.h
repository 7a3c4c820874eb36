/* oci.h - the OCI runtime configuration (config.json) of a container, and the seccomp profile in it. Pure but for hostroot_make,
 * which makes the root directory. Source: kube.md 16.5; OCI runtime-spec 1.0.2. */
#ifndef TM_NODE_OCI_H
#define TM_NODE_OCI_H

#include "cluster/node/runtime/cgroup.h"
#include "cluster/node/runtime/hostroot.h"
#include "cluster/node/runtime/runtime.h"
#include "cluster/node/runtime/seccomp_program.h"

struct oci_machine {
    const struct hostroot *root;
    struct rootstock *stock; /* NULL: none */
    struct cgroup_info cgroup;
    const char *cgroup_parent; /* "tm3fa81c07" */
    int64_t nofile_hard;       /* our own limits: without CAP_SYS_RESOURCE nothing beyond them can be given */
    int oom_score_min;
    bool no_device_rules;           /* nothing keeps containers from devices but that they cannot make the files */
    uint64_t capabilities;          /* ours, by number: a container gets none that we do not have */
    const struct json *seccomp;     /* the distribution's profile as it comes; NULL: none */
    struct seccomp_cache *compiled; /* NULL: crun compiles */
};
/* Fills the limits of the struct with what this process may give. */
void oci_limits(struct oci_machine *machine);
/* Writes <bundle>/config.json and makes <bundle>/rootfs. */
int oci_write(const struct oci_machine *machine, const struct container_spec *spec, struct err *err);
/* The OCI form of a profile in the form of containers-common (archMap, includes, excludes) for a container with these
 * capabilities. */
jmval *oci_seccomp(struct jm *m, jval *profile, const struct strlist *caps);
/* Compiles the profile for the usual capabilities ahead of the first container. */
void oci_seccomp_ahead(const struct oci_machine *machine);
/* The usual capabilities of a container, changed by a securityContext's add and drop ("ALL" too). */
void oci_capabilities(const char *const *add, size_t n_add, const char *const *drop, size_t n_drop, bool all,
                      struct strlist *out);

#endif
