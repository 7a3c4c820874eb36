/* internal.h - shared inside pipelines/store and with the engine. */
#ifndef TM_PIPELINES_STORE_INTERNAL_H
#define TM_PIPELINES_STORE_INTERNAL_H

#include "pipelines/store/store.h"

/* A state history with one more entry, or a copy when its last state is this one already. history may be NULL. Caller frees. */
char *history_add(const char *history, enum run_state state, int64_t now_ns, int code, const char *message);

#endif
