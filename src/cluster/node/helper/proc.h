/* proc.h - processes told apart for good: a pid and its start time. */
#ifndef TM_NODE_PROC_H
#define TM_NODE_PROC_H

#include <sys/types.h>

#include "base/err.h"

/* Start time in clock ticks since boot (/proc/<pid>/stat field 22), 0 when there is no such process or it is a zombie. */
int64_t proc_start_time(pid_t pid);
static inline bool proc_alive(pid_t pid, int64_t start) { return pid > 1 && start > 0 && proc_start_time(pid) == start; }
/* Signals the process that had this start time, never one that has its pid now. A process that is gone is fine. */
int proc_kill(pid_t pid, int64_t start, int sig, struct err *err);
/* The id of this boot; the caller frees. "" when unknown. */
char *proc_boot_id(void);
/* The machine's own address: the one that the kernel would use towards the outside ("127.0.0.1" without a route). The caller
 * frees. */
char *proc_machine_ip(void);
/* Writes a short text to a file of /proc or /sys. */
int proc_write(const char *path, const char *text, struct err *err);

#endif
