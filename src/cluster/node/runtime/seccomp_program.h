/* seccomp_program.h - seccomp profiles compiled to what the kernel takes, once for each set of rules.
 *
 * crun compiles the rules of config.json anew for every container, which takes longer than all the rest that it does (some 20 of
 * 27 ms). It takes a compiled program as well, in the annotation run.oci.seccomp_bpf_data. The rules stay in config.json beside
 * it: a crun that does not know the annotation compiles those. */
#ifndef TM_NODE_SECCOMP_PROGRAM_H
#define TM_NODE_SECCOMP_PROGRAM_H

#include "value/json.h"

/* The program for the rules of an OCI configuration (linux.seccomp), in base64. NULL with an error for what this does not know
 * (flags, a listener); crun may know it. The caller frees. */
char *seccomp_compile(jval *rules, struct err *err);

/* Programs by the text of their rules; any thread. */
struct seccomp_cache;
struct seccomp_cache *seccomp_cache_new(void);
void seccomp_cache_free(struct seccomp_cache *c);
/* The program for these rules, compiled now unless it was before. NULL: it cannot be compiled here, or there are too many
 * different ones (rules differ with a container's capabilities, and those are its owner's choice). Lives as long as the cache. */
const char *seccomp_cache_get(struct seccomp_cache *c, jval *rules);

#endif
