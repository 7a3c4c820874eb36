/* Kubernetes' format library: format.named("dns1123Label"), or format.dns1123Label(), and what it says of a text. The rules
 * themselves come with the environment. */
#include <string.h>

#include "value/cel_priv.h"

typedef const struct cel_value *val;

static bool equal(const void *a, const void *b) { return a == b; }
static const struct cel_opaque type = {.name = "kubernetes.NamedFormat", .equal = equal};

static const struct cel_format *find(const struct cel_call *c, const char *name, size_t n)
{
    for (const struct cel_format *f = c->run->prog->formats; f && f->name; f++)
        if (strlen(f->name) == n && memcmp(f->name, name, n) == 0)
            return f;
    return NULL;
}

static val named(struct cel_call *c)
{
    const struct cel_format *f = find(c, c->args[0]->s, c->args[0]->n);
    return cel_mk_optional(c->run, f ? cel_mk_opaque(c->run, &type, f) : NULL);
}

static val constant(struct cel_call *c)
{
    const char *name = c->node->name + strlen("format.");
    const struct cel_format *f = find(c, name, strlen(name));
    return f ? cel_mk_opaque(c->run, &type, f) : cel_error(c->run, "the format '%s' is not known here", name);
}

/* optional.none() when the text is good, else the list of what is wrong with it. */
static val validate(struct cel_call *c)
{
    if (c->args[0]->type != &type || !cel_arg_is(c, 1, CEL_STRING))
        return cel_no_overload(c);
    const struct cel_format *f = c->args[0]->p;
    val s = c->args[1];
    if (cel_charge_bytes(c->run, s->n * 2) < 0)
        return NULL;
    STRLIST(faults);
    AUTOFREE char *text = xstrndup(s->s, s->n);
    if (memchr(s->s, 0, s->n))
        strlist_add(&faults, "must not contain a NUL");
    else
        f->check(text, &faults);
    if (!faults.n)
        return cel_mk_optional(c->run, NULL);
    const struct cel_value **items = arena_alloc(c->run->a, faults.n * sizeof *items);
    for (size_t i = 0; i < faults.n; i++)
        items[i] = cel_mk_copy(c->run, CEL_STRING, faults.v[i], strlen(faults.v[i]));
    return cel_mk_optional(c->run, cel_mk_list(c->run, items, faults.n));
}

#define FORMAT(name)                                                                                                             \
    {                                                                                                                            \
        "format." name, CEL_GLOBAL, 0, 0, ANY_KIND, constant                                                                     \
    }
const struct cel_fn cel_lib_named[] = {
    {"format.named", CEL_GLOBAL, 1, 1, KIND(CEL_STRING), named},
    {"validate", CEL_MEMBER, 2, 2, KIND(CEL_OPAQUE), validate},
    FORMAT("dns1123Label"),
    FORMAT("dns1123Subdomain"),
    FORMAT("dns1035Label"),
    FORMAT("qualifiedName"),
    FORMAT("dns1123LabelPrefix"),
    FORMAT("dns1123SubdomainPrefix"),
    FORMAT("dns1035LabelPrefix"),
    FORMAT("labelValue"),
    FORMAT("uri"),
    FORMAT("uuid"),
    FORMAT("byte"),
    FORMAT("date"),
    FORMAT("datetime"),
    {0},
};
