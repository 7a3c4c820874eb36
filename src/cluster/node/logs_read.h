/* logs_read.h - one log read back from the files that it is in (logs.h): the log itself, and what was rotated out of it. A reader
 * belongs to one thread at a time. Source: kube.md 9.2. */
#ifndef TM_NODE_LOGS_READ_H
#define TM_NODE_LOGS_READ_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* At the end of the name of what is nobody's to read yet: a new log until conmon renames it over the old one, and what a log is
 * being packed into. */
#define LOG_UNREADY ".tmp"

/* Set before it is opened: path, timestamps, since_ns, left; fd -1. */
struct log_reader {
    char *path;             /* owned */
    bool timestamps;        /* each line begins with its time */
    int64_t since_ns, left; /* lines before since_ns are left out; left: bytes that may come, -1: no limit */
    int fd;
    bool older;              /* the file that is open is older than the log was at first: the next ones are read too */
    bool in_line, skip_line; /* the last record was a part; and it was left out */
    struct buf in;           /* bytes of an unfinished record */
};
/* Opens the log where reading begins: at its last `tail` lines, -1: all. A log that was just rotated has few lines, or none: what
 * it lacks is read from the file before it, which is not packed yet. One that is not there yet is none to wait for: it comes with
 * the next file. */
int log_reader_open(struct log_reader *r, int64_t tail, struct err *err);
/* Appends at most about max bytes. 1: there may be more; 0: the end, for now; 2: all that may come has come. go_on: goes over to
 * files that were begun later than the one that is open. */
int log_reader_read(struct log_reader *r, bool go_on, size_t max, struct buf *out, struct err *err);
void log_reader_close(struct log_reader *r);

/* The paths of what was rotated out of a log and can be read, oldest first: their names end in the time. */
void log_rotated(const char *path, struct strlist *out);
/* Whether both names are one file, which is there. */
bool log_same_file(const char *a, const char *b);

#endif
