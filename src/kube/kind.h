/* kind.h - what is known about kinds: their types, fields, names, verbs and subresources.
 *
 * Built-in kinds come from the tables in kinds/ through tools/gen.py: they are constants, and complete (a type knows its fields'
 * JSON names, protobuf numbers, defaults, merge keys). A kind of a CustomResourceDefinition is a `struct kind` that is built at
 * run time, with no type (its schema is the definition's); whoever builds it owns it. The constants KUBE_PODS, KUBE_CONFIGMAPS
 * ... are in kube/kinds.h and the accessors of fields (pod_spec_node_name) in kube/fields.h.
 *
 * A type that is known is not yet served: `served` says what this program answers for; all else is as unknown as a misspelt name.
 */
#ifndef TM_KUBE_KIND_H
#define TM_KUBE_KIND_H

#include "base/base.h"
#include "kube/kube.h"

/* ---- types ----------------------------------------------------------------------------------------------------- */

/* Form of one value. */
enum kform {
    KFORM_STRING,
    KFORM_INT32,
    KFORM_INT64,
    KFORM_BOOL,
    KFORM_DOUBLE,
    KFORM_BYTES, /* base64 in JSON */
    KFORM_QUANTITY,
    KFORM_INTORSTRING,
    KFORM_TIME,
    KFORM_MICROTIME,
    KFORM_DURATION,
    KFORM_RAW,   /* any JSON */
    KFORM_EMPTY, /* {} */
    KFORM_STRUCT,
    KFORM_SCHEMAORBOOL,
    KFORM_SCHEMAORARRAY,
    KFORM_SCHEMAORSTRINGS, /* JSON Schema's own unions */
};
enum kshape { KSHAPE_ONE, KSHAPE_LIST, KSHAPE_MAP, KSHAPE_MAPLIST /* map of string lists */ };

enum kfield_flag {
    KFIELD_POINTER = 1,      /* absent and empty are two things: 0, false, "" are kept when given */
    KFIELD_KEEP = 2,         /* written even when empty */
    KFIELD_REQUIRED = 4,     /* as OpenAPI says it */
    KFIELD_MERGE = 8,        /* strategic merge: lists merge by merge_key, or as sets without one */
    KFIELD_RETAIN_KEYS = 16, /* strategic merge: $retainKeys has a meaning here */
    KFIELD_SET = 32,         /* list type set (map: map_keys is set; else atomic) */
    KFIELD_ATOMIC = 64,      /* a map that is replaced whole by apply */
    KFIELD_REPLACE = 256,    /* strategic merge: a struct that is replaced whole */
    KFIELD_INLINED = 128,    /* in protobuf it is in an embedded message (struct kembed), in JSON here */
};

struct ktype;
struct kfield {
    const char *name;            /* JSON */
    uint16_t number;             /* protobuf; 0: none in this message */
    uint8_t form, shape;         /* enum kform, enum kshape */
    uint16_t flags;              /* enum kfield_flag */
    const struct ktype *type;    /* KFORM_STRUCT, and JSON Schema's unions */
    const char *dflt;            /* JSON text of OpenAPI's default, beyond the zero value; NULL: none */
    const char *const *enums;    /* NULL-terminated; NULL: any */
    const char *format;          /* OpenAPI format that the form does not say; may be NULL */
    const char *merge_key;       /* may be NULL */
    const char *const *map_keys; /* NULL-terminated; NULL unless list type map */
};
struct kembed {
    uint16_t number;
    const struct ktype *type; /* its fields appear in the JSON of the enclosing type */
};
struct ktype {
    const char *name;            /* "PodSpec" */
    const char *schema;          /* "io.k8s.api.core.v1.PodSpec" */
    const struct kfield *fields; /* in the order in which Kubernetes writes them */
    size_t n_fields;
    const uint16_t *by_name; /* indexes into fields, sorted by JSON name */
    const struct kembed *embeds;
    size_t n_embeds;
    bool atomic;   /* apply replaces it whole */
    bool top;      /* has apiVersion and kind */
    bool embedded; /* only ever the inlined part of other types */
};
extern const struct ktype *const kube_types[];
extern const size_t kube_n_types;

/* NULL when there is none. By "io.k8s.api.core.v1.PodSpec", and by the number in protobuf. */
const struct ktype *ktype_find(const char *schema);
const struct kfield *ktype_field(const struct ktype *t, const char *json_name);
const struct kfield *ktype_fieldn(const struct ktype *t, const char *json_name, size_t len);
const struct kfield *ktype_field_number(const struct ktype *t, unsigned number);

/* ---- kinds ------------------------------------------------------------------------------------------------------- */

enum kverb {
    KVERB_CREATE = 1,
    KVERB_DELETE = 2,
    KVERB_DELETECOLLECTION = 4,
    KVERB_GET = 8,
    KVERB_LIST = 16,
    KVERB_PATCH = 32,
    KVERB_UPDATE = 64,
    KVERB_WATCH = 128,
};
/* Names of the set verbs, in Kubernetes' (alphabetic) order; returns how many, at most 8. */
size_t kverb_names(unsigned verbs, const char *out[8]);

enum kstore {
    KSTORE_NONE,    /* virtual: reviews, bindings */
    KSTORE_DURABLE, /* on disk before it is answered */
    KSTORE_SOFT,    /* may lag behind on disk: Event, Lease, EndpointSlice */
};
struct kube_sub {
    const char *name;                   /* "status" */
    const char *group, *version, *kind; /* what its body is; version "": the group and version of the kind itself */
    unsigned verbs;
    bool served;
};
struct kind {
    struct kube_res res; /* group, version, plural (""): only the body of a subresource), kind, namespaced */
    const char *list_kind, *singular;
    const char *const *short_names, *const *categories; /* NULL-terminated; NULL: none */
    unsigned verbs;                                     /* enum kverb */
    enum kstore store;
    /* Under which group and version it is stored: its own, but for a second face of the same objects (events.k8s.io/v1). */
    const char *store_group, *store_version;
    bool served;
    const struct kube_sub *subs;
    size_t n_subs;
    const struct ktype *type; /* NULL: a custom kind */
    const char *hash;         /* custom kinds: changes with the definition (for ETags); NULL for built-in ones */
};
extern const struct kind kube_builtin_kinds[];
extern const size_t kube_n_builtin_kinds;

/* Built-in kinds; NULL when there is none. Served or not: the caller asks. version NULL: the first that has the name. */
const struct kind *kind_by_plural(const char *group, const char *version, const char *plural);
const struct kind *kind_by_gvk(const char *group, const char *version, const char *kind);
const struct kind *kind_by_api_version(const char *api_version /* "apps/v1" */, const char *kind);
/* By plural, singular, short name or Kind (any case for the last). */
const struct kind *kind_by_short_name(const char *name);
const struct kube_sub *kind_sub(const struct kind *k, const char *name); /* NULL when there is none */
bool kind_has_verb(const struct kind *k, unsigned verb);
/* "v1", "apps/v1"; the caller frees. */
char *kind_api_version(const struct kind *k);
bool kube_res_equal(const struct kube_res *a, const struct kube_res *b); /* by content */

/* Order of preference of version names: GA before beta before alpha, higher numbers first, other names last and by the alphabet.
 */
int kind_version_cmp(const char *a, const char *b);

#define KINDS_EACH(k) (const struct kind *k = kube_builtin_kinds; k < kube_builtin_kinds + kube_n_builtin_kinds; k++)

/* ---- kinds of definitions ------------------------------------------------------------------------------------------------ */

struct kind_custom {
    const char *group, *version, *plural, *singular, *kind, *list_kind;
    const char *const *short_names, *const *categories; /* n_ of them; may be NULL */
    size_t n_short_names, n_categories;
    bool namespaced, status, scale; /* the last two: subresources */
    const char *hash;               /* see struct kind */
};
/* A served, durable kind with all verbs and no type. Everything is copied; the caller owns it and gives it back with kind_free.
 */
struct kind *kind_new(const struct kind_custom *c);
void kind_free(struct kind *k); /* NULL is fine; not for built-in kinds */

#endif
