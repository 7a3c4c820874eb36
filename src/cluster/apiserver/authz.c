/* authz.c - authorization of a request, and the texts of refusals. */
#include <stdlib.h>

#include "cluster/apiserver/internal.h"

int rbac_fail(struct err *err, const struct identity *who, const struct attrs *at, const char *full, const char *reason)
{
    const char *user = who ? who->user : "system:anonymous";
    const char *more = reason ? ": " : "", *text = reason ? reason : "";
    if (at->path)
        return err_set(err, ERR_FORBIDDEN, "forbidden: User \"%s\" cannot %s path \"%s\"%s%s", user, at->verb, at->path, more,
                       text);
    BUF(b);
    if (!str_empty(at->name))
        buf_addf(&b, "%s \"%s\" is forbidden: ", full, at->name);
    else
        buf_addf(&b, "%s is forbidden: ", full);
    buf_addf(&b, "User \"%s\" cannot %s resource \"%s%s%s\" in API group \"%s\"", user, at->verb, at->resource,
             str_empty(at->sub) ? "" : "/", str_empty(at->sub) ? "" : at->sub, at->group ? at->group : "");
    if (!str_empty(at->ns))
        buf_addf(&b, " in the namespace \"%s\"", at->ns);
    else
        buf_adds(&b, " at the cluster scope");
    err_set(err, ERR_FORBIDDEN, "%s%s%s", buf_str(&b), more, text);
    err_subject(err, at->group, at->resource, str_empty(at->name) ? NULL : at->name);
    return -1;
}

int op_authorize(const struct op *op, struct err *err)
{
    const struct kube_res *k = res_of(op->res);
    struct attrs at = {.verb = op->verb,
                       .group = k->group,
                       .version = k->version,
                       .resource = k->plural,
                       .sub = op->sub,
                       .ns = k->namespaced                                        ? op->ns
                             : strcmp(k->plural, "namespaces") == 0 && !*k->group ? op->name
                                                                                  : NULL,
                       .name = op->name};
    if (rbac_allows(op->a->rbac, op->who, &at, NULL))
        return 0;
    /* A namespace object is cluster-scoped in the text, though a role inside it may allow. */
    return rbac_fail(err, op->who, &at, op->res->full, NULL);
}
