/* log.c - see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/ctx.h"
#include "base/terminal.h"
#include "base/timefmt.h"

enum log_level log_threshold = LOG_INFO;
static atomic_int log_fd = 2;

void log_set_fd(int fd) { atomic_store(&log_fd, fd); }

void log_write(enum log_level level, const char *room, const char *fmt, ...)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    if (level < log_threshold)
        return;
    BUF(line);
    char when[TIME_TEXT_MAX];
    int64_t now = clock_system.wall_ns(&clock_system);
    buf_addf(&line, "%s %-5s %s: ", time_format(when, now / NS_PER_MS * NS_PER_MS, TIME_MILLIS_TRIMMED), names[level], room);
    size_t start = line.len;
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&line, fmt, ap);
    va_end(ap);
    /* One event, one line: what came from outside cannot forge another. */
    for (size_t i = start; i < line.len; i++)
        if ((unsigned char)line.data[i] < 0x20)
            line.data[i] = ' ';
    terminal_tame(line.data + start, line.len - start);
    buf_addc(&line, '\n');
    ssize_t unused = write(atomic_load(&log_fd), line.data, line.len);
    (void)unused;
}
