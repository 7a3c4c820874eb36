/* Values against a schema, in the order and words of Kubernetes' validator. */
#include "kube/schema/schema_priv.h"

#include <math.h>
#include <stdlib.h>

/* A list of faults of its own at the same path, for alternatives that may fail. */
static void faults_at_same_path(struct faults *sub, const struct faults *f)
{
    buf_add(&sub->path, f->path.data ? f->path.data : "", f->path.len);
}

static void faults_append(struct faults *f, const struct faults *sub)
{
    for (size_t i = 0; i < sub->err.n_causes; i++) {
        const struct err_cause *c = &sub->err.causes[i];
        err_cause(&f->err, c->reason, c->field, "%s", c->message);
        strlist_add(&f->texts, sub->texts.v[i]);
    }
}

static const char *path_text(const struct faults *f)
{
    const char *path = f->path.len ? f->path.data : "";
    return f->text_root && str_starts(path, f->text_root) ? path + strlen(f->text_root) : path;
}

static bool is_integer(jval *v)
{
    double d;
    int64_t n;
    return jv_is(v, J_NUMBER) && (jv_i64(v, &n) || (jv_f64(v, &d) && d == floor(d)));
}

static const char *value_type(jval *v)
{
    switch (jv_type(v)) {
    case J_BOOL:
        return "boolean";
    case J_NUMBER:
        return is_integer(v) ? "integer" : "number";
    case J_STRING:
        return "string";
    case J_ARRAY:
        return "array";
    case J_OBJECT:
        return "object";
    default:
        return "null";
    }
}

static bool type_fits(const struct schema_node *n, jval *v)
{
    if (n->int_or_string)
        return jv_is(v, J_STRING) || is_integer(v);
    switch (n->type) {
    case ST_OBJECT:
        return jv_is(v, J_OBJECT);
    case ST_ARRAY:
        return jv_is(v, J_ARRAY);
    case ST_STRING:
        return jv_is(v, J_STRING);
    case ST_INTEGER:
        return is_integer(v);
    case ST_NUMBER:
        return jv_is(v, J_NUMBER);
    case ST_BOOLEAN:
        return jv_is(v, J_BOOL);
    case ST_ANY:
        break;
    }
    return true;
}

/* "Invalid value: "<given>": <path> in body must be of type <wanted>: "<given>"". */
static void wrong_type(struct faults *f, const char *wanted, const char *given)
{
    BUF(quoted);
    json_quote(&quoted, given, strlen(given));
    AUTOFREE char *detail = xasprintf("%s in body must be of type %s: %s", path_text(f), wanted, buf_str(&quoted));
    fault_type(f, NULL, buf_str(&quoted), detail);
}

static size_t count_chars(const char *s, size_t n)
{
    size_t chars = 0;
    for (size_t i = 0; i < n; i++)
        chars += ((unsigned char)s[i] & 0xC0) != 0x80;
    return chars;
}

/* For all patterns on one object: what takes longer is somebody's attempt to keep us busy. */
#define PATTERNS_NS 1000000000LL
static _Thread_local int64_t patterns_until; /* in the thread's time of matching */

static void check_pattern(struct faults *f, const struct schema_node *n, jval *v)
{
    ERR(e);
    int m = regex_spent_ns() < patterns_until ? regex_match(n->regex, jv_str(v), jv_len(v), &e)
                                              : err_set(&e, ERR_INVALID, "the patterns of this object take too long");
    if (m < 0)
        fault_invalid(f, NULL, v, "%s in body could not be matched against '%s': %s", path_text(f), n->pattern, err_text(&e));
    else if (m == 0)
        fault_invalid(f, NULL, v, "%s in body should match '%s'", path_text(f), n->pattern);
}

static void check_string(struct faults *f, const struct schema_node *n, jval *v)
{
    const char *s = jv_str(v);
    size_t bytes = jv_len(v), chars = count_chars(s, bytes);
    if (n->max_length >= 0 && chars > (size_t)n->max_length)
        fault_too_long(f, NULL, (size_t)n->max_length);
    if (n->min_length >= 0 && chars < (size_t)n->min_length)
        fault_invalid(f, NULL, v, "%s in body should be at least %lld chars long", path_text(f), (long long)n->min_length);
    if (n->regex)
        check_pattern(f, n, v);
    if (n->format && !n->int_or_string && (strlen(s) != bytes || !schema_format_ok(n->format, s)))
        wrong_type(f, n->format, s);
}

static bool multiple_of(double v, double of)
{
    double q = v / of;
    return of == 0 || fabs(q - nearbyint(q)) < 1e-9 * (fabs(q) > 1 ? fabs(q) : 1);
}

static void check_number(struct faults *f, const struct schema_node *n, jval *v)
{
    double x = 0, bound;
    int64_t i;
    jv_f64(v, &x);
    if (str_eq(n->format, "int32") && jv_i64(v, &i) && (i < INT32_MIN || i > INT32_MAX))
        fault_invalid(f, NULL, v, "%s in body must be of type int32: \"%s\"", path_text(f), jv_num_text(v));
    if (n->multiple_of && jv_f64(n->multiple_of, &bound) && !multiple_of(x, bound))
        fault_invalid(f, NULL, v, "%s in body should be a multiple of %s", path_text(f), jv_num_text(n->multiple_of));
    if (n->maximum && jv_f64(n->maximum, &bound) && (n->exclusive_max ? x >= bound : x > bound))
        fault_invalid(f, NULL, v, "%s in body should be less than %s%s", path_text(f), n->exclusive_max ? "" : "or equal to ",
                      jv_num_text(n->maximum));
    if (n->minimum && jv_f64(n->minimum, &bound) && (n->exclusive_min ? x <= bound : x < bound))
        fault_invalid(f, NULL, v, "%s in body should be greater than %s%s", path_text(f), n->exclusive_min ? "" : "or equal to ",
                      jv_num_text(n->minimum));
}

/* Text of an enum's value as it stands in a message. */
static void add_enum_text(struct strlist *l, jval *v)
{
    if (jv_str(v))
        strlist_add(l, jv_str(v));
    else
        strlist_take(l, jv_text(v, JW_COMPACT));
}

static void check_enum(struct faults *f, const struct schema_node *n, jval *v)
{
    struct jiter it = jv_iter(n->enums);
    jval *x;
    while (jv_next(&it, NULL, &x))
        if (jv_equal(x, v))
            return;
    STRLIST(texts);
    add_enum_text(&texts, v);
    it = jv_iter(n->enums);
    while (jv_next(&it, NULL, &x))
        add_enum_text(&texts, x);
    strlist_add(&texts, ""); /* room for the end mark */
    char *last = TAKE(texts.v[texts.n - 1]);
    fault_unsupported(f, NULL, texts.v[0], (const char *const *)texts.v + 1);
    texts.v[texts.n - 1] = last;
}

static void check_value(struct faults *f, const struct schema_node *n, jval *v, jval *old);

/* The map keys of an item as a text: equal ones have equal texts. False: it is no object. */
static bool key_text(const struct schema_node *list, jval *item, struct buf *out)
{
    for (size_t i = 0; i < list->n_map_keys; i++) {
        jval *v = jv_get(item, list->map_keys[i]);
        int64_t n;
        if (jv_i64(v, &n)) /* 1.0 is 1 */
            buf_addf(out, "%lld", (long long)n);
        else if (v)
            jv_write(v, JW_COMPACT | JW_SORTED, out);
        buf_addc(out, '\n');
    }
    return jv_is(item, J_OBJECT);
}

struct schema_olds schema_olds_open(const struct schema_node *list, jval *old_list)
{
    struct schema_olds o = {.list = list};
    if (list->list_type != LIST_MAP || !jv_is(old_list, J_ARRAY))
        return o;
    struct jiter it = jv_iter(old_list);
    jval *old;
    while (jv_next(&it, NULL, &old)) {
        BUF(key);
        key_text(list, old, &key);
        if (!strmap_has(&o.by_key, buf_str(&key))) /* the first of several */
            strmap_put(&o.by_key, buf_str(&key), (void *)(uintptr_t)old);
    }
    return o;
}

void schema_olds_close(struct schema_olds *o) { strmap_free(&o->by_key); }

jval *schema_olds_find(struct schema_olds *o, jval *item)
{
    BUF(key);
    if (!strmap_count(&o->by_key) || !key_text(o->list, item, &key))
        return NULL;
    return strmap_get(&o->by_key, buf_str(&key));
}

static void check_array(struct faults *f, const struct schema_node *n, jval *v, jval *old)
{
    size_t len = jv_len(v);
    SCHEMA_OLDS(olds, n, old);
    struct jiter it = jv_iter(v);
    jval *x;
    for (size_t i = 0; n->items && jv_next(&it, NULL, &x); i++) {
        size_t at = fault_push_index(f, i);
        check_value(f, n->items, x, schema_olds_find(&olds, x));
        fault_pop(f, at);
    }
    if (n->min_items >= 0 && len < (size_t)n->min_items)
        fault_invalid_i64(f, NULL, (int64_t)len, "%s in body should have at least %lld items", path_text(f),
                          (long long)n->min_items);
    if (n->max_items >= 0 && len > (size_t)n->max_items)
        fault_too_many(f, NULL, len, (size_t)n->max_items);
}

static void check_object(struct faults *f, const struct schema_node *n, jval *v, jval *old)
{
    size_t len = jv_len(v);
    if (n->min_props >= 0 && len < (size_t)n->min_props)
        fault_invalid_i64(f, NULL, (int64_t)len, "%s in body should have at least %lld properties", path_text(f),
                          (long long)n->min_props);
    if (n->max_props >= 0 && len > (size_t)n->max_props)
        fault_too_many(f, NULL, len, (size_t)n->max_props);
    JFINDER(there, v);
    JFINDER(before, old);
    for (size_t i = 0; i < n->n_required; i++)
        if (!jfind(&there, n->required[i]))
            fault_required(f, n->required[i], NULL);
    struct jiter it = jv_iter(v);
    const char *k;
    jval *x;
    while (jv_next(&it, &k, &x)) {
        const struct schema_node *child = schema_child(n, k);
        if (!child)
            continue;
        size_t at = fault_push(f, k);
        check_value(f, child, x, jfind(&before, k));
        fault_pop(f, at);
    }
}

static bool valid(struct faults *f, const struct schema_node *n, jval *v)
{
    FAULTS(sub);
    faults_at_same_path(&sub, f);
    check_value(&sub, n, v, NULL);
    return !faults_any(&sub);
}

/* The faults of the first alternative say most about what was meant. */
static void say_why(struct faults *f, const struct schema_node *n, jval *v)
{
    FAULTS(sub);
    faults_at_same_path(&sub, f);
    check_value(&sub, n, v, NULL);
    faults_append(f, &sub);
}

static void check_combinations(struct faults *f, const struct schema_node *n, jval *v)
{
    size_t good = 0;
    for (size_t i = 0; i < n->n_any_of && !good; i++)
        good += valid(f, n->any_of[i], v);
    if (n->n_any_of && !good) {
        fault_invalid_str(f, NULL, "", "\"%s\" must validate at least one schema (anyOf)", path_text(f));
        say_why(f, n->any_of[0], v);
    }
    good = 0;
    for (size_t i = 0; i < n->n_one_of; i++)
        good += valid(f, n->one_of[i], v);
    if (n->n_one_of && good != 1) {
        if (good == 0)
            fault_invalid_str(f, NULL, "", "\"%s\" must validate one and only one schema (oneOf). Found none valid",
                              path_text(f));
        else
            fault_invalid_str(f, NULL, "", "\"%s\" must validate one and only one schema (oneOf). Found %zu valid alternatives",
                              path_text(f), good);
        if (good == 0)
            say_why(f, n->one_of[0], v);
    }
    for (size_t i = 0; i < n->n_all_of; i++)
        check_value(f, n->all_of[i], v, NULL);
    if (n->not_ && valid(f, n->not_, v))
        fault_invalid_str(f, NULL, "", "\"%s\" must not validate the schema (not)", path_text(f));
}

static void check_value(struct faults *f, const struct schema_node *n, jval *v, jval *old)
{
    if (old && jv_equal(v, old))
        return; /* what did not change is not refused again */
    if (jv_is(v, J_NULL) && (n->nullable || (n->type == ST_ANY && !n->int_or_string)))
        return;
    if (!type_fits(n, v))
        wrong_type(f, n->int_or_string ? "integer,string" : schema_type_text(n), value_type(v));
    check_combinations(f, n, v);
    switch (jv_type(v)) {
    case J_STRING:
        check_string(f, n, v);
        break;
    case J_NUMBER:
        check_number(f, n, v);
        break;
    case J_ARRAY:
        check_array(f, n, v, old);
        break;
    case J_OBJECT:
        if (n->enums)
            check_enum(f, n, v);
        check_object(f, n, v, old);
        return;
    default:
        break;
    }
    if (n->enums)
        check_enum(f, n, v);
}

/* ---- objects within objects, and lists that are sets or maps
 * ------------------------------------------------------------------- */

static void check_embedded(struct faults *f, jval *v)
{
    if (str_empty(jv_str(jv_get(v, "apiVersion"))))
        fault_required(f, "apiVersion", NULL);
    if (str_empty(jv_str(jv_get(v, "kind"))))
        fault_required(f, "kind", NULL);
}

static jval *map_key_of(struct jm *m, const struct schema_node *n, jval *item, struct json **doc)
{
    jmval *key = jm_obj(m);
    for (size_t i = 0; i < n->n_map_keys; i++)
        if (jv_get(item, n->map_keys[i]))
            jm_put(m, key, n->map_keys[i], jm_val(m, jv_get(item, n->map_keys[i])));
    *doc = jm_freeze_val(key);
    return json_root(*doc);
}

static void check_unique(struct faults *f, const struct schema_node *n, jval *v)
{
    struct strmap seen = STRMAP_INIT(NULL); /* canonical text -> times */
    for (size_t i = 0, len = jv_len(v); i < len; i++) {
        JM_NEW(m);
        JSON_REF(doc) = NULL;
        jval *item = jv_at(v, i), *key = n->list_type == LIST_MAP ? map_key_of(m, n, item, &doc) : item;
        AUTOFREE char *text = jv_text(key, JW_COMPACT | JW_SORTED);
        size_t times = (size_t)strmap_get(&seen, text);
        if (times == 1) {
            size_t at = fault_push_index(f, i);
            fault_duplicate(f, NULL, key);
            fault_pop(f, at);
        }
        strmap_put(&seen, text, (char *)NULL + times + 1);
    }
    strmap_free(&seen);
}

/* Walks values that have a schema; root is not itself an embedded resource. */
static void check_structure(struct faults *f, const struct schema_node *n, jval *v, jval *old, bool root)
{
    if (old && jv_equal(v, old))
        return;
    if (n->embedded && !root && jv_is(v, J_OBJECT))
        check_embedded(f, v);
    jval *x;
    if (jv_is(v, J_OBJECT)) {
        JFINDER(before, old);
        struct jiter it = jv_iter(v);
        const char *k;
        while (jv_next(&it, &k, &x)) {
            const struct schema_node *child = schema_child(n, k);
            if (!child)
                continue;
            size_t at = schema_push(f, n, k);
            check_structure(f, child, x, jfind(&before, k), false);
            fault_pop(f, at);
        }
    } else if (jv_is(v, J_ARRAY)) {
        if (n->list_type != LIST_ATOMIC)
            check_unique(f, n, v);
        SCHEMA_OLDS(olds, n, old);
        struct jiter it = jv_iter(v);
        for (size_t i = 0; n->items && jv_next(&it, NULL, &x); i++) {
            size_t at = fault_push_index(f, i);
            check_structure(f, n->items, x, schema_olds_find(&olds, x), false);
            fault_pop(f, at);
        }
    }
}

/* Rules are not run on an object whose shape they cannot rely on. */
static bool blocks_rules(const struct faults *f)
{
    static const char *const blocking[] = {"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong",
                                           "FieldValueTooMany", "FieldValueTypeInvalid"};
    for (size_t i = 0; i < f->err.n_causes; i++)
        for (size_t b = 0; b < ARRAY_LEN(blocking); b++)
            if (str_eq(f->err.causes[i].reason, blocking[b]))
                return true;
    return false;
}

void schema_validate(const struct schema *s, struct faults *f, jval *obj, jval *old)
{
    patterns_until = regex_spent_ns() + PATTERNS_NS;
    check_value(f, s->root, obj, old);
    check_structure(f, s->root, obj, old, true);
    if (!s->has_rules)
        return;
    if (blocks_rules(f)) {
        size_t len = f->path.len;
        f->path.len = 0;
        fault_invalid(f, NULL, NULL,
                      "some validation rules were not checked because the object was invalid; correct the existing errors to "
                      "complete validation");
        f->path.len = len;
        return;
    }
    schema_rules_run(s, f, obj, old);
}
