#include "kube/schema/crd.h"

#include <stdlib.h>

#include "kube/fields.h"
#include "kube/object.h"
#include "kube/selector.h"

/* ---- defaults and status ----------------------------------------------------------------------------------------------------
 */

bool crd_default(struct jm *m, jmval *crd)
{
    jmval *spec = jm_obj_at(m, crd, "spec"), *names = jm_obj_at(m, spec, "names");
    const char *kind = jmv_str(jmv_get(names, "kind"));
    bool changed = false;
    if (str_empty(jmv_str(jmv_get(names, "singular"))) && !str_empty(kind)) {
        AUTOFREE char *lower = xstrdup(kind);
        for (char *p = lower; *p; p++)
            *p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
        custom_resource_definition_names_set_singular(m, names, lower);
        changed = true;
    }
    if (str_empty(jmv_str(jmv_get(names, "listKind"))) && !str_empty(kind)) {
        AUTOFREE char *list = xasprintf("%sList", kind);
        custom_resource_definition_names_set_list_kind(m, names, list);
        changed = true;
    }
    if (jmv_type(jmv_get(spec, "conversion")) != J_OBJECT) {
        custom_resource_conversion_set_strategy(m, custom_resource_definition_spec_make_conversion(m, spec), "None");
        changed = true;
    }
    return changed;
}

void crd_prepare_status(struct jm *m, jmval *crd, jval *old)
{
    jmval *status = custom_resource_definition_make_status(m, crd);
    if (!old) {
        jm_clear(status);
        custom_resource_definition_status_set_conditions(m, status, jm_null(m));
        jmval *names = custom_resource_definition_status_make_accepted_names(m, status);
        custom_resource_definition_names_set_plural(m, names, "");
        custom_resource_definition_names_set_kind(m, names, "");
        custom_resource_definition_status_set_stored_versions(m, status, jm_null(m));
    }
    jmval *versions = jmv_path(crd, "spec", "versions", NULL);
    jmval *v, *x;
    for (struct jmiter it = jmv_iter(versions); jmv_next(&it, NULL, &v);) {
        if (!jmv_bool(jmv_get(v, "storage"), false))
            continue;
        const char *name = jmv_str(jmv_get(v, "name"));
        jmval *stored = custom_resource_definition_status_make_stored_versions(m, status);
        bool known = false;
        for (struct jmiter st = jmv_iter(stored); jmv_next(&st, NULL, &x);)
            known |= str_eq(jmv_str(x), name);
        if (!known)
            jm_push(stored, jm_str(m, name));
        break; /* the first one counts, should there wrongly be several */
    }
}

bool crd_established(jval *crd) { return obj_condition_is(crd, "Established", "True"); }

/* ---- names
 * ---------------------------------------------------------------------------------------------------------------------- */

struct taken {
    struct strmap resources, kinds; /* names that other definitions of the group have */
};

static void take(struct strmap *m, const char *name)
{
    if (!str_empty(name))
        strmap_put(m, name, NULL);
}

static void take_names(struct taken *t, jval *names)
{
    take(&t->resources, custom_resource_definition_names_plural(names));
    take(&t->resources, custom_resource_definition_names_singular(names));
    jval *shorts = custom_resource_definition_names_short_names(names);
    for (size_t i = 0; i < (jv_is(shorts, J_ARRAY) ? jv_len(shorts) : 0); i++)
        take(&t->resources, jv_str(jv_at(shorts, i)));
    take(&t->kinds, custom_resource_definition_names_kind(names));
    take(&t->kinds, custom_resource_definition_names_list_kind(names));
}

struct conflict {
    const char *reason;
    struct buf message;
};

static void say_taken(struct conflict *c, const char *reason, const char *name)
{
    if (c->reason != reason)
        buf_reset(&c->message); /* the last kind of conflict is the one that is told */
    c->reason = reason;
    buf_addf(&c->message, "%s\"%s\" is already in use", c->message.len ? ", " : "", name);
}

/* Accepts one name unless it is taken. */
static void accept_name(struct jm *m, jmval *accepted, jval *names, const char *member, const struct strmap *taken,
                        const char *reason, struct conflict *c)
{
    const char *name = jv_str(jv_get(names, member));
    if (!str_empty(name) && strmap_has(taken, name))
        say_taken(c, reason, name);
    else if (jv_get(names, member))
        jm_put(m, accepted, member, jm_val(m, jv_get(names, member)));
    else
        jm_del(accepted, member);
}

static void accept_short_names(struct jm *m, jmval *accepted, jval *names, const struct strmap *taken, struct conflict *c)
{
    jval *shorts = custom_resource_definition_names_short_names(names);
    bool clash = false;
    for (size_t i = 0; i < (jv_is(shorts, J_ARRAY) ? jv_len(shorts) : 0); i++) {
        const char *name = jv_str_or(jv_at(shorts, i), "");
        if (strmap_has(taken, name)) {
            say_taken(c, "ShortNamesConflict", name);
            clash = true;
        }
    }
    if (!clash && jv_len(shorts))
        custom_resource_definition_names_set_short_names(m, accepted, jm_val(m, shorts));
    else if (!clash)
        custom_resource_definition_names_del_short_names(accepted);
}

bool crd_accept(struct jm *m, jmval *crd, jval *const *all, size_t n, int64_t now_ns)
{
    JSON_REF(was) = jm_freeze_val(crd);
    jval *self = json_root(was), *spec = custom_resource_definition_spec(self),
         *names = custom_resource_definition_spec_names(spec);
    struct taken t = {STRMAP_INIT(NULL), STRMAP_INIT(NULL)};
    struct conflict c = {0};
    for (size_t i = 0; i < n; i++)
        if (!str_eq(obj_name(all[i]), obj_name(self)) &&
            str_eq(custom_resource_definition_spec_group(custom_resource_definition_spec(all[i])),
                   custom_resource_definition_spec_group(spec)))
            take_names(&t, custom_resource_definition_status_accepted_names(custom_resource_definition_status(all[i])));
    jmval *accepted = custom_resource_definition_status_make_accepted_names(m, custom_resource_definition_make_status(m, crd));
    accept_name(m, accepted, names, "plural", &t.resources, "PluralConflict", &c);
    accept_name(m, accepted, names, "singular", &t.resources, "SingularConflict", &c);
    accept_short_names(m, accepted, names, &t.resources, &c);
    accept_name(m, accepted, names, "kind", &t.kinds, "KindConflict", &c);
    accept_name(m, accepted, names, "listKind", &t.kinds, "ListKindConflict", &c);
    jval *categories = custom_resource_definition_names_categories(names);
    if (jv_len(categories))
        custom_resource_definition_names_set_categories(m, accepted, jm_val(m, categories));
    else
        custom_resource_definition_names_del_categories(accepted);
    if (c.reason)
        obj_set_condition(m, crd, "NamesAccepted", "False", c.reason, buf_str(&c.message), now_ns);
    else
        obj_set_condition(m, crd, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now_ns);
    if (!c.reason)
        obj_set_condition(m, crd, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted", now_ns);
    else if (!crd_established(self))
        obj_set_condition(m, crd, "Established", "False", "NotAccepted", "not all names are accepted", now_ns);
    strmap_free(&t.resources);
    strmap_free(&t.kinds);
    buf_free(&c.message);
    return !jmv_equal(crd, self);
}

/* ---- compiling ---------------------------------------------------------------------------------------------------------------
 */

static char *copy_or_null(const char *s) { return str_empty(s) ? NULL : xstrdup(s); }

static int compile_version(struct crd_version *v, jval *def, const struct crd_info *c, struct err *err)
{
    v->name = xstrdup(jv_str_or(jv_get(def, "name"), ""));
    v->served = custom_resource_definition_version_served(def, false);
    v->storage = custom_resource_definition_version_storage(def, false);
    v->deprecated = custom_resource_definition_version_deprecated(def, false);
    const char *warning = custom_resource_definition_version_deprecation_warning(def);
    if (v->deprecated)
        v->deprecation_warning =
            str_empty(warning) ? xasprintf("%s/%s %s is deprecated", c->group, v->name, c->kind) : xstrdup(warning);
    jval *subs = custom_resource_definition_version_subresources(def), *scale = custom_resource_subresources_scale(subs);
    v->status_subresource = jv_is(custom_resource_subresources_status(subs), J_OBJECT);
    v->scale_subresource = jv_is(scale, J_OBJECT);
    v->scale_spec_path = copy_or_null(custom_resource_subresource_scale_spec_replicas_path(scale));
    v->scale_status_path = copy_or_null(custom_resource_subresource_scale_status_replicas_path(scale));
    v->scale_selector_path = copy_or_null(custom_resource_subresource_scale_label_selector_path(scale));
    v->columns = table_columns_new(custom_resource_definition_version_additional_printer_columns(def));
    v->field_labels = field_labels_new(custom_resource_definition_version_selectable_fields(def));
    v->schema = schema_compile(custom_resource_validation_open_apiv3_schema(custom_resource_definition_version_schema(def)), err);
    return v->schema ? 0 : err_wrap(err, "version %s", v->name);
}

static void add_all(struct strlist *l, jval *arr)
{
    struct jiter it = jv_iter(jv_is(arr, J_ARRAY) ? arr : NULL);
    jval *v;
    while (jv_next(&it, NULL, &v))
        strlist_add(l, jv_str_or(v, ""));
}

struct crd_info *crd_compile(jval *crd, struct err *err)
{
    struct crd_info *c = xcalloc(1, sizeof *c);
    jval *spec = custom_resource_definition_spec(crd), *names = custom_resource_definition_spec_names(spec);
    jval *versions = custom_resource_definition_spec_versions(spec);
    const char *list_kind = custom_resource_definition_names_list_kind(names),
               *singular = custom_resource_definition_names_singular(names);
    c->group = xstrdup(jv_str_or(jv_get(spec, "group"), ""));
    c->plural = xstrdup(jv_str_or(jv_get(names, "plural"), ""));
    c->kind = xstrdup(jv_str_or(jv_get(names, "kind"), ""));
    c->singular = xstrdup(singular ? singular : "");
    c->list_kind = list_kind ? xstrdup(list_kind) : xasprintf("%sList", c->kind);
    c->namespaced = str_eq(custom_resource_definition_spec_scope(spec), "Namespaced");
    add_all(&c->short_names, custom_resource_definition_names_short_names(names));
    add_all(&c->categories, custom_resource_definition_names_categories(names));
    size_t n = jv_is(versions, J_ARRAY) ? jv_len(versions) : 0;
    c->versions = xcalloc(n ? n : 1, sizeof *c->versions);
    for (size_t i = 0; i < n; i++) {
        c->n_versions++;
        if (compile_version(&c->versions[i], jv_at(versions, i), c, err) < 0) {
            crd_info_free(c);
            return NULL;
        }
    }
    return c;
}

void crd_info_free(struct crd_info *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_versions; i++) {
        struct crd_version *v = &c->versions[i];
        free(v->name);
        free(v->deprecation_warning);
        free(v->scale_spec_path);
        free(v->scale_status_path);
        free(v->scale_selector_path);
        schema_free(v->schema);
        table_columns_free(v->columns);
        field_labels_free(v->field_labels);
    }
    free(c->versions);
    free(c->group);
    free(c->plural);
    free(c->singular);
    free(c->kind);
    free(c->list_kind);
    strlist_free(&c->short_names);
    strlist_free(&c->categories);
    free(c);
}

const struct crd_version *crd_find_version(const struct crd_info *c, const char *version)
{
    for (size_t i = 0; i < c->n_versions; i++)
        if (str_eq(c->versions[i].name, version))
            return &c->versions[i];
    return NULL;
}
