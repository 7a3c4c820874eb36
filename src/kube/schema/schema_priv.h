/* schema_priv.h - the compiled form of a structural schema, shared by the files that make and run it. */
#ifndef TM_KUBE_SCHEMA_PRIV_H
#define TM_KUBE_SCHEMA_PRIV_H

#include "kube/rules/validate.h"
#include "kube/schema/schema.h"
#include "value/cel.h"
#include "value/regex.h"

enum schema_type { ST_ANY, ST_OBJECT, ST_ARRAY, ST_STRING, ST_INTEGER, ST_NUMBER, ST_BOOLEAN };
enum list_type { LIST_ATOMIC, LIST_SET, LIST_MAP };

/* One CEL rule. A rule with optionalOldSelf has two programs, one for each case, because an optional value is not JSON. */
struct schema_rule {
    const char *rule, *message, *reason, *field_path; /* in the schema's document; reason is static; others may be NULL */
    struct cel_program *program, *without_old, *message_program;
    bool uses_old, optional_old;
};

struct schema_node {
    enum schema_type type;
    bool int_or_string, preserve, embedded, nullable;
    struct strmap props; /* name -> struct schema_node, in the schema's order */
    struct schema_node *additional, *items;
    enum list_type list_type;
    const char **map_keys;
    size_t n_map_keys;
    jval *dflt, *enums; /* NULL: none */
    const char **required;
    size_t n_required;
    jval *minimum, *maximum, *multiple_of;
    bool exclusive_min, exclusive_max;
    int64_t min_length, max_length, min_items, max_items, min_props, max_props; /* -1: none */
    const char *pattern, *format;
    struct regex *regex;
    struct schema_node **all_of, **any_of, **one_of, *not_;
    size_t n_all_of, n_any_of, n_one_of;
    struct schema_rule *rules;
    size_t n_rules;
};

/* What a member of an object has to be; NULL: the schema says nothing of it. */
static inline const struct schema_node *schema_child(const struct schema_node *n, const char *key)
{
    const struct schema_node *child = strmap_get(&n->props, key);
    return child ? child : n->additional;
}
/* To the path of a member: a property by its name, any other as a key of a map. */
static inline size_t schema_push(struct faults *f, const struct schema_node *n, const char *key)
{
    return strmap_has(&n->props, key) ? fault_push(f, key) : fault_push_key(f, key);
}

struct schema {
    struct json *doc;
    struct schema_node *root;
    bool has_rules;
};

/* True when there is no such format, or the text is of it. */
bool schema_format_ok(const char *format, const char *text);
/* What format.named() of rules finds; ends with an entry without a name. */
extern const struct cel_format schema_named_formats[];

/* Is the token `oldSelf` in a rule, outside of string literals? */
bool schema_rule_uses_old(const char *rule);
int schema_rules_compile(struct schema_node *n, jval *rules, struct err *err);
void schema_rules_free(struct schema_node *n);
void schema_rules_run(const struct schema *s, struct faults *f, jval *obj, jval *old);

/* The items of an old list, found by the map keys of the new items that continue them. Of a list that is no map there are none.
 */
struct schema_olds {
    const struct schema_node *list;
    struct strmap by_key;
};
struct schema_olds schema_olds_open(const struct schema_node *list, jval *old_list);
void schema_olds_close(struct schema_olds *o);
jval *schema_olds_find(struct schema_olds *o, jval *item); /* NULL: it is new */
#define SCHEMA_OLDS(name, list, old) CLEANUP(schema_olds_close) struct schema_olds name = schema_olds_open(list, old)
/* "object", "integer", ... ; "" for values without one. */
const char *schema_type_text(const struct schema_node *n);

#endif
