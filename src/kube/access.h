/* access.h - the forms of the accessors that tools/gen.py writes into kube/fields.h.
 *
 * For type T (PodSpec -> pod_spec) and field F (nodeName -> node_name):
 *     readers        jval *T_F(t) for structs, lists, maps and free values; const char *T_F(t) for text (NULL when absent);
 *                    int64_t T_F(t, dflt), bool T_F(t, dflt), double T_F(t, dflt)
 *     mutable        jmval *T_mut_F(t), NULL when absent; jmval *T_make_F(m, t) makes an empty struct, map or list when absent
 *     writers        T_set_F(m, t, v), replacing; bool T_del_F(t), true when it was there
 * Readers take NULL for "absent", as those of value/json.h do. Kinds are types too: pod_spec(pod), pod_metadata(pod). */
#ifndef TM_KUBE_ACCESS_H
#define TM_KUBE_ACCESS_H

#include "value/json.h"

#define KUBE_FIELD_COMMON_(T, F, KEY)                                                                                            \
    static inline jmval *T##_mut_##F(jmval *t) { return t ? jmv_get(t, KEY) : NULL; }                                            \
    static inline bool T##_del_##F(jmval *t) { return t ? jm_del(t, KEY) : false; }
#define KUBE_FIELD_VALUE(T, F, KEY)                                                                                              \
    KUBE_FIELD_COMMON_(T, F, KEY)                                                                                                \
    static inline jval *T##_##F(jval *t) { return jv_get(t, KEY); }                                                              \
    static inline void T##_set_##F(struct jm *m, jmval *t, jmval *v) { jm_put(m, t, KEY, v); }
#define KUBE_FIELD_MAP(T, F, KEY)                                                                                                \
    KUBE_FIELD_VALUE(T, F, KEY)                                                                                                  \
    static inline jmval *T##_make_##F(struct jm *m, jmval *t) { return jm_obj_at(m, t, KEY); }
#define KUBE_FIELD_LIST(T, F, KEY)                                                                                               \
    KUBE_FIELD_VALUE(T, F, KEY)                                                                                                  \
    static inline jmval *T##_make_##F(struct jm *m, jmval *t) { return jm_arr_at(m, t, KEY); }
#define KUBE_FIELD_STRING(T, F, KEY)                                                                                             \
    KUBE_FIELD_COMMON_(T, F, KEY)                                                                                                \
    static inline const char *T##_##F(jval *t) { return jv_str(jv_get(t, KEY)); }                                                \
    static inline void T##_set_##F(struct jm *m, jmval *t, const char *v) { jm_put(m, t, KEY, jm_str(m, v)); }
#define KUBE_FIELD_INT(T, F, KEY)                                                                                                \
    KUBE_FIELD_COMMON_(T, F, KEY)                                                                                                \
    static inline int64_t T##_##F(jval *t, int64_t dflt) { return jv_i64_or(jv_get(t, KEY), dflt); }                             \
    static inline void T##_set_##F(struct jm *m, jmval *t, int64_t v) { jm_put(m, t, KEY, jm_i64(m, v)); }
#define KUBE_FIELD_BOOL(T, F, KEY)                                                                                               \
    KUBE_FIELD_COMMON_(T, F, KEY)                                                                                                \
    static inline bool T##_##F(jval *t, bool dflt) { return jv_bool(jv_get(t, KEY), dflt); }                                     \
    static inline void T##_set_##F(struct jm *m, jmval *t, bool v) { jm_put(m, t, KEY, jm_bool(m, v)); }
#define KUBE_FIELD_DOUBLE(T, F, KEY)                                                                                             \
    KUBE_FIELD_COMMON_(T, F, KEY)                                                                                                \
    static inline double T##_##F(jval *t, double dflt)                                                                           \
    {                                                                                                                            \
        double d;                                                                                                                \
        return jv_f64(jv_get(t, KEY), &d) ? d : dflt;                                                                            \
    }                                                                                                                            \
    static inline void T##_set_##F(struct jm *m, jmval *t, double v) { jm_put(m, t, KEY, jm_f64(m, v)); }

#endif
