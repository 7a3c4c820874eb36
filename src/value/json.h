/* json.h - JSON documents, the data model of the house.
 *
 * A `struct json` is an immutable document in one allocation with an atomic reference count: caches, lists, watches and
 * workers share it without locks. A `jval` is a value inside a document and lives as long as the document does.
 * Numbers keep their text (1.10 stays 1.10, 2^60 stays exact). A change makes a new document: open an `struct jm`
 * (mutable) copy, edit, freeze.
 *
 *     struct json *d = json_parse(text, len, NULL, err);
 *     const char *name = jv_str(jv_get(json_root(d), "name"));      // NULL when absent or no string
 *     JM(m, json_root(d));                                            // a mutable copy
 *     jm_put(m, jm_root(m), "name", jm_str(m, "other"));
 *     struct json *d2 = jm_freeze(m);
 *     json_unref(d); json_unref(d2);
 *
 * All readers accept NULL for the value and answer as for "absent", so chains need no checks. */
#ifndef TM_VALUE_JSON_H
#define TM_VALUE_JSON_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct json;
typedef const struct jval_opaque jval; /* immutable value */
typedef struct jmval_opaque jmval;     /* mutable value, belongs to one struct jm */
struct jm;

/* ---- documents ------------------------------------------------------------------------------------------------ */

/* Called for each member whose name its object already has, with the path of the member ("spec.containers[0].name").
 * The later value is the one that jv_get() finds (as Go's decoder does). */
typedef void json_dup_fn(void *self, const char *path);

struct json_opts {
    unsigned max_depth;        /* 0: 512. Deeper is ERR_BAD_REQUEST. */
    json_dup_fn *on_duplicate; /* may be NULL */
    void *self;
    bool allow_nan;   /* accept NaN, Infinity, -Infinity (what Python's json writes); they become strings */
    bool short_bools; /* YAML only: plain y, Y, n and N are booleans, as for Kubernetes' API server */
};
/* Parses len bytes (copied). Trailing data, bad UTF-8, bare control characters are refused, with line and column in
 * the message. Returns a reference, or NULL. Duplicate members: the last one wins and the earlier ones are removed. */
struct json *json_parse(const char *text, size_t len, const struct json_opts *opts, struct err *err);
struct json *json_parse_str(const char *text, struct err *err);
struct json *json_ref(struct json *d); /* NULL gives NULL */
void json_unref(struct json *d);       /* NULL is fine */
static inline void json_unrefp(struct json **d) { json_unref(*d); }
#define JSON_REF(name) CLEANUP(json_unrefp) struct json *name
jval *json_root(const struct json *d);
size_t json_mem(const struct json *d); /* approximate bytes held */
/* A new document that holds a copy of one value. */
struct json *json_from(jval *v);

/* ---- reading -------------------------------------------------------------------------------------------------- */

enum jtype { J_NONE, J_NULL, J_BOOL, J_NUMBER, J_STRING, J_ARRAY, J_OBJECT };
enum jtype jv_type(jval *v);              /* J_NONE for NULL */
const char *jtype_name(enum jtype t);     /* "string", "object", ... */
jval *jv_get(jval *obj, const char *key); /* NULL when absent or not an object */
jval *jv_getn(jval *obj, const char *key, size_t len);
/* Walks members and indexes: jv_path(v, "spec", "containers", "0", NULL). Code reads fields of built-in kinds
 * through generated accessors instead; this is for formats that are ours or have no schema. */
jval *jv_path(jval *v, ...) __attribute__((sentinel));
jval *jv_at(jval *arr, size_t i);
size_t jv_len(jval *v);      /* members or elements; bytes of a string; else 0 */
const char *jv_str(jval *v); /* NUL-terminated UTF-8 (may hold NUL inside: see jv_len), else NULL */
const char *jv_str_or(jval *v, const char *dflt);
const char *jv_num_text(jval *v);   /* text of a number, else NULL */
bool jv_i64(jval *v, int64_t *out); /* true for a number that is an integer in range; 1.0 and 1e3 count */
int64_t jv_i64_or(jval *v, int64_t dflt);
bool jv_f64(jval *v, double *out);
bool jv_bool(jval *v, bool dflt); /* dflt when absent or no boolean */
static inline bool jv_is(jval *v, enum jtype t) { return jv_type(v) == t; }
static inline bool jv_present(jval *v) { return v && jv_type(v) != J_NULL; }
/* Deep equality: objects without order, numbers by value (1 == 1.0). */
bool jv_equal(jval *a, jval *b);

/* Iteration. For arrays key is NULL.
 *     struct jiter it = jv_iter(v); jval *x; const char *k;
 *     while (jv_next(&it, &k, &x)) ... */
struct jiter {
    jval *cur;
    size_t left;
    bool obj;
};
struct jiter jv_iter(jval *v);
bool jv_next(struct jiter *it, const char **key, jval **val);

/* Many members of one object, each looked up by its key: as jv_get, but n of them take about n steps and not n times the size of
 * the object. Best when they are asked for in the object's own order. What is no object has no members.
 *     JFINDER(there, obj);
 *     jval *x = jfind(&there, key); */
struct jfinder {
    jval *obj;
    struct jiter next;
    struct strmap index; /* of a large object that was asked for something out of order */
    bool indexed;
};
struct jfinder jfinder_open(jval *obj);
void jfinder_close(struct jfinder *f);
jval *jfind(struct jfinder *f, const char *key);
#define JFINDER(name, obj) CLEANUP(jfinder_close) struct jfinder name = jfinder_open(obj)

/* ---- writing -------------------------------------------------------------------------------------------------- */

enum jwrite { JW_COMPACT = 0, JW_PRETTY = 1, JW_SORTED = 2 /* keys in byte order */ };
void jv_write(jval *v, int flags, struct buf *out); /* appends */
char *jv_text(jval *v, int flags);                  /* caller frees */
/* Appends a JSON string literal with quotes; n bytes of UTF-8. */
void json_quote(struct buf *out, const char *s, size_t n);

/* ---- mutable -------------------------------------------------------------------------------------------------- */

/* A mutable document; used by one thread. jm_new starts with no root, jm_copy with a deep copy of v as root. */
struct jm *jm_new(void);
struct jm *jm_copy(jval *v);
void jm_free(struct jm *m);
static inline void jm_freep(struct jm **m) { jm_free(*m); }
#define JM(name, v)  CLEANUP(jm_freep) struct jm *name = jm_copy(v)
#define JM_NEW(name) CLEANUP(jm_freep) struct jm *name = jm_new()
jmval *jm_root(struct jm *m);
void jm_set_root(struct jm *m, jmval *v);
/* An immutable document with the content of the mutable one, which stays as it is. */
struct json *jm_freeze(struct jm *m);
struct json *jm_freeze_val(jmval *v);
/* Writes without freezing. */
void jmv_write(jmval *v, int flags, struct buf *out);

jmval *jm_obj(struct jm *m);
jmval *jm_arr(struct jm *m);
jmval *jm_str(struct jm *m, const char *s); /* copied; NULL gives null */
jmval *jm_strn(struct jm *m, const char *s, size_t n);
jmval *jm_strf(struct jm *m, const char *fmt, ...) PRINTF_LIKE(2, 3);
jmval *jm_i64(struct jm *m, int64_t n);
jmval *jm_f64(struct jm *m, double d);         /* shortest text that reads back; inf and nan give null */
jmval *jm_num(struct jm *m, const char *text); /* a JSON number's text; asserts that it is one */
jmval *jm_bool(struct jm *m, bool b);
jmval *jm_null(struct jm *m);
jmval *jm_val(struct jm *m, jval *v);  /* deep copy of an immutable value */
jmval *jm_dup(struct jm *m, jmval *v); /* deep copy of a mutable value of the same or another document */

/* Puts a value at obj[key], replacing in place what was there, else appending. key is copied. A value belongs to one place:
 * putting the same jmval twice is an error of the caller (use jm_dup). */
void jm_put(struct jm *m, jmval *obj, const char *key, jmval *v);
/* As jm_put, for a key that the caller knows is not there yet: does not look, so that n additions take n steps. */
void jm_add(struct jm *m, jmval *obj, const char *key, jmval *v);
bool jm_del(jmval *obj, const char *key);
/* An object taken apart, so that many of its members can be found, put and removed, each in one step (jm_put and jm_del look
 * through the object each time): its members by name, in order, and the object is empty until they are put back. */
struct strmap jm_take_members(jmval *obj);
void jm_put_members(struct jm *m, jmval *obj, struct strmap *members); /* frees the map */
void jm_clear(jmval *container);
void jm_push(jmval *arr, jmval *v);
void jm_insert(jmval *arr, size_t i, jmval *v); /* i == length appends */
bool jm_remove(jmval *arr, size_t i);
void jm_replace(jmval *arr, size_t i, jmval *v);
/* Gets obj[key], making it an empty object (array) first when it is absent or of another type. */
jmval *jm_obj_at(struct jm *m, jmval *obj, const char *key);
jmval *jm_arr_at(struct jm *m, jmval *obj, const char *key);

/* Readers on mutable values, as above. */
enum jtype jmv_type(jmval *v);
jmval *jmv_get(jmval *obj, const char *key);
jmval *jmv_path(jmval *v, ...) __attribute__((sentinel));
jmval *jmv_at(jmval *arr, size_t i);
size_t jmv_len(jmval *v);
const char *jmv_str(jmval *v);
const char *jmv_num_text(jmval *v);
bool jmv_i64(jmval *v, int64_t *out);
bool jmv_bool(jmval *v, bool dflt);
bool jmv_equal(jmval *a, jval *b);
/* Iteration over a mutable container; the container must not be changed meanwhile (changing the values is fine). */
struct jmiter {
    jmval *cur, *container;
    size_t left;
    bool obj;
};
struct jmiter jmv_iter(jmval *v);
bool jmv_next(struct jmiter *it, const char **key, jmval **val);

#endif
