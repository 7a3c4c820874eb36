/* log.h - one line per event on standard error: time, level, room, text, as `key=value` where there is something to
 * search for. Thread-safe; a line is written by one write(2). Secrets are never logged. */
#ifndef TM_BASE_LOG_H
#define TM_BASE_LOG_H

#include "base/base.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
extern enum log_level log_threshold; /* default LOG_INFO; set once at start */
void log_set_fd(int fd);             /* default 2 */
void log_write(enum log_level level, const char *room, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Each .c file defines LOG_ROOM before including this, as in #define LOG_ROOM "store". */
#ifndef LOG_ROOM
#define LOG_ROOM "tidemill"
#endif
#define log_debug(...) ((void)(log_threshold <= LOG_DEBUG && (log_write(LOG_DEBUG, LOG_ROOM, __VA_ARGS__), 0)))
#define log_info(...)  ((void)(log_threshold <= LOG_INFO && (log_write(LOG_INFO, LOG_ROOM, __VA_ARGS__), 0)))
#define log_warn(...)  log_write(LOG_WARN, LOG_ROOM, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, LOG_ROOM, __VA_ARGS__)

#endif
