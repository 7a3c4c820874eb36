/* identity.c - identities that own their strings. */
#include <stdlib.h>

#include "cluster/apiserver/internal.h"

static const char **copy_list(const char *const *v)
{
    size_t n = 0;
    while (v && v[n])
        n++;
    const char **out = xcalloc(n + 1, sizeof(*out));
    for (size_t i = 0; i < n; i++)
        out[i] = xstrdup(v[i]);
    return out;
}

static void free_list(const char *const *v)
{
    for (size_t i = 0; v && v[i]; i++)
        free((void *)(uintptr_t)v[i]);
    free((void *)(uintptr_t)v);
}

struct identity *identity_copy(const struct identity *who)
{
    struct identity *id = xcalloc(1, sizeof(*id));
    id->user = xstrdup(who->user ? who->user : "");
    id->uid = xstrdup(who->uid ? who->uid : "");
    id->groups = copy_list(who->groups);
    id->extra = who->extra ? copy_list(who->extra) : NULL;
    return id;
}

void identity_free(struct identity *who)
{
    if (!who)
        return;
    free((void *)(uintptr_t)who->user);
    free((void *)(uintptr_t)who->uid);
    free_list(who->groups);
    free_list(who->extra);
    free(who);
}
