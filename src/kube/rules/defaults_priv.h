/* defaults_priv.h - what the files of the defaults share. */
#ifndef TM_KUBE_DEFAULTS_PRIV_H
#define TM_KUBE_DEFAULTS_PRIV_H

#include "value/json.h"

/* The defaults of one type. A hook sees its value before the hooks of what is inside it do. */
struct default_hook {
    const char *schema; /* of the type */
    void (*apply)(struct jm *m, jmval *v);
};
extern const struct default_hook defaults_of_pods[];
extern const struct default_hook defaults_of_objects[];
extern const struct default_hook defaults_of_services[]; /* and of storage */

/* Absent or null. */
#define DEFAULT_STRING(m, v, T, F, text)                                                                                         \
    do {                                                                                                                         \
        if (jmv_type(T##_mut_##F(v)) <= J_NULL)                                                                                  \
            T##_set_##F(m, v, text);                                                                                             \
    } while (0)
/* Absent or "", for fields that are no pointers. */
#define DEFAULT_TEXT(m, v, T, F, text)                                                                                           \
    do {                                                                                                                         \
        if (!jmv_len(T##_mut_##F(v)))                                                                                            \
            T##_set_##F(m, v, text);                                                                                             \
    } while (0)
#define DEFAULT_INT(m, v, T, F, n)                                                                                               \
    do {                                                                                                                         \
        if (jmv_type(T##_mut_##F(v)) <= J_NULL)                                                                                  \
            T##_set_##F(m, v, n);                                                                                                \
    } while (0)

#endif
