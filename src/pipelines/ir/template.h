/* template.h - strings with placeholders, split once. Source: pipelines-runtime spec 10.
 *
 * A template is a row of segments: text, or a placeholder that was recognised. Unknown placeholders stay text. Evaluation is one
 * left-to-right pass; what a placeholder yields is never looked at again. */
#ifndef TM_PIPELINES_IR_TEMPLATE_H
#define TM_PIPELINES_IR_TEMPLATE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "value/json.h"

enum tmpl_kind {
    TMPL_TEXT,
    TMPL_INPUT,    /* {{$}} : the executor input */
    TMPL_IN_PARAM, /* key */
    TMPL_IN_ARTIFACT_URI,
    TMPL_IN_ARTIFACT_PATH,
    TMPL_IN_ARTIFACT_NAME,
    TMPL_IN_ARTIFACT_METADATA,
    TMPL_IN_ARTIFACT,
    TMPL_OUT_PARAM_FILE,
    TMPL_OUT_ARTIFACT_URI,
    TMPL_OUT_ARTIFACT_PATH,
    TMPL_OUT_ARTIFACT_NAME,
    TMPL_OUT_ARTIFACT_METADATA,
    TMPL_OUT_ARTIFACT,
    TMPL_OUTPUT_FILE, /* {{$.outputs.output_file}} {{$.outputMetadataUri}} */
    TMPL_JOB_NAME,
    TMPL_JOB_RESOURCE_NAME,
    TMPL_JOB_UUID,
    TMPL_TASK_NAME,
    TMPL_TASK_UUID,
    TMPL_CREATE_TIME,
    TMPL_SCHEDULE_TIME,
    TMPL_PIPELINE_ROOT,
    TMPL_WORKSPACE_PATH,
};
struct tmpl_seg {
    enum tmpl_kind kind;
    const char *text; /* TMPL_TEXT: the text; else the placeholder as written */
    size_t len;
    const char *key; /* parameter or artifact name, else NULL */
    const char *sub; /* metadata key, else NULL */
};
struct tmpl {
    struct tmpl_seg *segs;
    int n;
};
/* An element of command or args: a string, or a structure. */
struct tmpl_arg {
    enum { TMPL_STRING, TMPL_CONCAT, TMPL_IF } kind;
    struct tmpl string;
    struct tmpl_arg *items; /* TMPL_CONCAT; TMPL_IF: the elements of Then */
    int n_items;
    struct tmpl_arg *otherwise; /* TMPL_IF: the elements of Else */
    int n_otherwise;
    const char *input; /* TMPL_IF: InputName */
};

/* What one evaluation may yield: a text of a few bytes that names a value of some megabytes ten thousand times is not followed to
 * its end. tmpl_too_long() is what is said then, also by those who join several. */
#define TMPL_TEXT_MAX (16u << 20)
int tmpl_too_long(struct err *err);

/* Splits n bytes; the segments point into memory of the arena. ERR_BAD_REQUEST for the {{$.json_escape[..]}} family, which is not
 * served. */
int tmpl_parse(struct arena *a, const char *s, size_t n, struct tmpl *out, struct err *err);
/* As above, for an element that may be a structure ({"IfPresent": ..} or {"Concat": [..]}); nesting at most 16. */
int tmpl_arg_parse(struct arena *a, const char *s, size_t n, struct tmpl_arg *out, struct err *err);
static inline bool tmpl_is_empty(const struct tmpl *t) { return t->n == 0; }

/* What gives placeholders their values. */
struct tmpl_scope {
    void *self;
    /* Appends the value. 1: done; 0: unknown here, the placeholder stays as written; -1: error. */
    int (*value)(void *self, const struct tmpl_seg *seg, struct buf *out, struct err *err);
    /* Is this input (parameter or artifact) bound and not null? */
    bool (*present)(void *self, const char *input);
};
/* Appends at most TMPL_TEXT_MAX bytes and one value; more is ERR_INVALID. */
int tmpl_eval(const struct tmpl *t, const struct tmpl_scope *sc, struct buf *out, struct err *err);
/* Appends zero or more strings, of TMPL_TEXT_MAX bytes together. */
struct strlist;
int tmpl_arg_eval(const struct tmpl_arg *arg, const struct tmpl_scope *sc, struct strlist *out, struct err *err);

#endif
