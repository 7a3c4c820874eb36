/* fault.h - named points at which crash tests make the process die or a call fail.
 *
 * FAULT("store.commit.after") costs one relaxed load when no fault is armed. Faults are armed by the environment
 * variable TIDEMILL_FAULT="name[:n]" : the n-th visit (default first) of that point ends the process with SIGKILL, as a
 * power cut would. FAULT_FAILS("name") is true at the visit that TIDEMILL_FAULT_FAIL="name[:n]" asks for: the caller then
 * behaves as if the operation had failed. TIDEMILL_FAULT_LIST=FILE appends the name of each point at its first visit, so that a
 * test can find them all. */
#ifndef TM_BASE_FAULT_H
#define TM_BASE_FAULT_H

#include <stdatomic.h>

#include "base/base.h"

extern atomic_int fault_armed;
void fault_visit(const char *name);
bool fault_fails(const char *name);
#define FAULT(name)                                                                                                              \
    ((void)(__builtin_expect(atomic_load_explicit(&fault_armed, memory_order_relaxed), 0) && (fault_visit(name), 0)))
#define FAULT_FAILS(name) (__builtin_expect(atomic_load_explicit(&fault_armed, memory_order_relaxed), 0) && fault_fails(name))

#endif
