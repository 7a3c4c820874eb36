/* internal.h - what the two files' readers and writers share. */
#ifndef TM_LAUNCH_INTERNAL_H
#define TM_LAUNCH_INTERNAL_H

#include "launch/task.h"

/* dir/name, read whole and parsed into *doc. */
struct json *launch_read_doc(const char *dir, const char *name, struct err *err);

#endif
