/* strategic_priv.h - what merging of objects (strategic.c) and of lists (strategic_list.c) share. */
#ifndef TM_KUBE_STRATEGIC_PRIV_H
#define TM_KUBE_STRATEGIC_PRIV_H

#include "base/str.h"
#include "kube/kind.h"
#include "value/json.h"

#define DIRECTIVE "$patch"

struct merge {
    struct jm *m; /* original and patch are both in it: values move from one to the other */
    struct err *err;
    unsigned depth;
};

/* An element of a list, with the text of what identifies it: its merge key's value, or itself. */
struct item {
    jmval *v;
    char *id; /* NULL: an object without its merge key */
};
struct items {
    struct item *v;
    size_t n, cap;
};
#define ITEMS(name) CLEANUP(items_free) struct items name = {0}
void items_free(struct items *l);
void items_add(struct items *l, jmval *v, const char *id);
/* Takes the elements out of arr (NULL is an empty list). key NULL: a list of plain values. */
void items_open(struct items *l, jmval *arr, const char *key);
/* A new array of them; they must be in no other. */
jmval *items_array(struct jm *m, const struct items *l);

/* Merges patch into original, both taken apart; the result is to be put where original was. t NULL: no type is known. */
int merge_objects(struct merge *mg, jmval *original, jmval *patch, const struct ktype *t, jmval **out);
int merge_lists(struct merge *mg, struct items *original, struct items *patch, const struct kfield *f, bool delete,
                struct items *out);
/* $setElementOrder: checks that the patch list is in that order, and puts merged into it. */
int check_order(struct merge *mg, const struct items *patch, const struct items *order, const char *key);
int apply_order(struct merge *mg, struct items *merged, const struct items *order, const struct items *original, const char *key,
                struct items *out);
/* Drops what are directives inside a value that is taken as it is. False: the value itself is one. */
bool drop_directives(struct jm *m, jmval *v);

int merge_fail(struct merge *mg, const char *fmt, ...) PRINTF_LIKE(2, 3);
int no_merge_key(struct merge *mg, jmval *v, const char *key);
int bad_directive(struct merge *mg, const char *directive, jmval *v);

#endif
