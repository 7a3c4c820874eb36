/* fault.c - see fault.h. The environment is read once, before main. */
#include "base/fault.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

atomic_int fault_armed;
static struct fault_spec {
    char *name;
    atomic_int left;
} kill_at, fail_at;
static char *list_file;
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER; /* guards list_seen and the file */
static struct strmap list_seen;

static void parse_spec(const char *text, struct fault_spec *s)
{
    if (str_empty(text))
        return;
    const char *colon = strrchr(text, ':');
    int64_t n = 1;
    if (colon && str_to_i64(colon + 1, &n) && n > 0 && n < 1000000000) {
        s->name = xstrndup(text, (size_t)(colon - text));
    } else {
        s->name = xstrdup(text);
        n = 1;
    }
    atomic_store(&s->left, (int)n);
    atomic_store(&fault_armed, 1);
}

__attribute__((constructor)) static void fault_init(void)
{
    parse_spec(getenv("TIDEMILL_FAULT"), &kill_at);
    parse_spec(getenv("TIDEMILL_FAULT_FAIL"), &fail_at);
    if ((list_file = xstrdup(getenv("TIDEMILL_FAULT_LIST"))))
        atomic_store(&fault_armed, 1);
}

static void note(const char *name)
{
    if (!list_file)
        return;
    pthread_mutex_lock(&list_lock);
    if (!strmap_has(&list_seen, name)) {
        strmap_put(&list_seen, name, NULL);
        int fd = open(list_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd >= 0) {
            char *line = xasprintf("%s\n", name);
            ssize_t unused = write(fd, line, strlen(line));
            (void)unused;
            free(line);
            close(fd);
        }
    }
    pthread_mutex_unlock(&list_lock);
}

void fault_visit(const char *name)
{
    note(name);
    if (kill_at.name && strcmp(kill_at.name, name) == 0 && atomic_fetch_sub(&kill_at.left, 1) == 1)
        kill(getpid(), SIGKILL);
}

bool fault_fails(const char *name)
{
    note(name);
    return fail_at.name && strcmp(fail_at.name, name) == 0 && atomic_fetch_sub(&fail_at.left, 1) == 1;
}
