/* What the runtimes share: owned parts of their structs. */
#include "cluster/node/runtime/runtime.h"

#include <stdlib.h>

void sandbox_free(struct sandbox *s)
{
    free(s->name);
    free(s->ip);
    free(s->net_path);
    free(s->ipc_path);
    *s = (struct sandbox){0};
}

void image_info_free(struct image_info *i)
{
    free(i->id);
    free(i->cwd);
    free(i->image);
    free(i->user);
    strlist_free(&i->volumes);
    strlist_free(&i->layers);
    strlist_free(&i->env);
    strlist_free(&i->entrypoint);
    strlist_free(&i->cmd);
    *i = (struct image_info){0};
}

void container_spec_mount(struct container_spec *s, enum mount_kind kind, const char *source, const char *target, bool readonly)
{
    s->mounts = xreallocarray(s->mounts, s->n_mounts + 1, sizeof *s->mounts);
    s->mounts[s->n_mounts++] =
        (struct container_mount){.kind = kind, .source = xstrdup(source), .target = xstrdup(target), .readonly = readonly};
}

void container_spec_free(struct container_spec *s)
{
    strlist_free(&s->args);
    strlist_free(&s->env);
    strlist_free(&s->groups);
    strlist_free(&s->caps);
    strlist_free(&s->sysctls);
    free(s->seccomp);
    free(s->apparmor);
    free(s->pid_path);
    free(s->pids_of);
    strlist_free(&s->layers);
    strlist_free(&s->volumes);
    free(s->cwd);
    free(s->hostname);
    for (size_t i = 0; i < s->n_mounts; i++) {
        free(s->mounts[i].source);
        free(s->mounts[i].target);
    }
    free(s->mounts);
    *s = (struct container_spec){0};
}
