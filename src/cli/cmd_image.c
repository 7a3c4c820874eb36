/* cmd_image.c - tidemill image: the images of this machine. Works beside a running tidemill and without one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/ctx.h"
#include "base/fs.h"
#include "base/thread.h"
#include "base/timefmt.h"
#include "cli/cli.h"
#include "cli/place.h"
#include "cluster/node/images/images.h"
#include "cluster/node/images/load.h"
#include "cluster/node/images/pull.h"

/* What all four open. */
struct place {
    char *data, *dir;
    struct image_store *store;
};

static void place_close(struct place *p)
{
    image_store_close(p->store);
    free(p->data);
    free(p->dir);
}

/* Without --data the data directory of the tidemill that runs, if one does. */
static int place_open(struct place *p, const char *data, struct err *err)
{
    JSON_REF(run) = data ? NULL : place_run_file(NULL, NULL);
    const char *of_run = jv_str(jv_get(json_root(run), "data"));
    p->data = of_run ? xstrdup(of_run) : place_data_dir(data, err);
    if (!p->data)
        return -1;
    if (geteuid() != 0)
        return err_set(err, ERR_PRECONDITION, "images belong to root, as the containers made of them do: use sudo");
    p->dir = fs_join(p->data, "images");
    AUTOFREE char *pods = fs_join(p->data, "node/pods");
    if (fs_mkdir_p(p->data, 0700, err) < 0)
        return -1;
    p->store = image_store_open(p->dir, pods, err);
    return p->store ? 0 : -1;
}

static char *size_text(int64_t n)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double v = (double)n;
    size_t u = 0;
    while (v >= 1000 && u + 1 < ARRAY_LEN(units)) {
        v /= 1000;
        u++;
    }
    return xasprintf(u && v < 100 ? "%.1f %s" : "%.0f %s", v, units[u]);
}

/* ---- ls ----------------------------------------------------------------------------------------------------------------------
 */

static void list_image(const struct image_record *r, bool quiet)
{
    AUTOFREE char *size = size_text(r->size);
    char since[TIME_TEXT_MAX];
    const char *hex = r->id + strlen("sha256:");
    if (quiet) {
        printf("%s\n", r->id);
        return;
    }
    for (size_t i = 0; i < (r->names.n ? r->names.n : 1); i++) {
        IMAGE_REF(ref);
        const char *name = r->names.n ? r->names.v[i] : r->digests.n ? r->digests.v[0] : "<none>";
        AUTOFREE char *shown = image_ref_parse(name, &ref, NULL) == 0 ? image_ref_short(&ref) : xstrdup(name);
        printf("%-52s %-14.12s %10s  %s\n", shown, hex, size, time_format(since, r->since_ns, TIME_SECONDS));
    }
}

static int by_name(const void *a, const void *b)
{
    const struct image_record *x = a, *y = b;
    return strcmp(x->names.n ? x->names.v[0] : "~", y->names.n ? y->names.v[0] : "~");
}

static int ls_main(const struct command *self, int argc, char **argv)
{
    const char *data = NULL;
    bool quiet = false;
    const struct opt opts[] = {{"quiet", 'q', OPT_FLAG, &quiet, NULL, "ids only"},
                               {"data", 0, OPT_TEXT, &data, "DIR", "data directory [that of the running tidemill]"}};
    STRLIST(rest);
    int code;
    if (cli_options(self, argc, argv, opts, ARRAY_LEN(opts), &rest, 0, 0, &code) < 0)
        return code;
    ERR(e);
    CLEANUP(place_close) struct place p = {0};
    CLEANUP(image_list_free) struct image_list list = {0};
    if (place_open(&p, data, &e) < 0 || image_store_list(p.store, &list, &e) < 0)
        return cli_fail(self, &e);
    if (!list.n && !quiet) {
        printf("No images yet. Try: tidemill image pull busybox, or tidemill image load FILE\n");
        return EXIT_OK;
    }
    if (list.n)
        qsort(list.v, list.n, sizeof *list.v, by_name);
    if (!quiet)
        printf("%-52s %-14s %10s  %s\n", "IMAGE", "ID", "SIZE", "SINCE");
    for (size_t i = 0; i < list.n; i++)
        list_image(&list.v[i], quiet);
    return EXIT_OK;
}

/* ---- progress
 * ------------------------------------------------------------------------------------------------------------------- */

/* One line that is written over on a terminal; nothing else elsewhere. */
static void show_progress(const char *what, int64_t done, int64_t total)
{
    if (!isatty(STDERR_FILENO))
        return;
    AUTOFREE char *a = size_text(done), *b = size_text(total);
    if (total > 0)
        fprintf(stderr, "\r\033[K%s: %s of %s, %d%%", what, a, b, (int)(done * 100 / total));
    else
        fprintf(stderr, "\r\033[K%s ...", what);
    fflush(stderr);
}

static void end_progress(void)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
}

struct watcher {
    struct pull_progress *progress;
    const char *name;
    pthread_mutex_t lock; /* over */
    pthread_cond_t changed;
    bool over;
};

static void *watch_main(void *arg)
{
    struct watcher *w = arg;
    LOCK_GUARD(&w->lock);
    while (!w->over) {
        show_progress(w->name, atomic_load(&w->progress->done), atomic_load(&w->progress->total));
        thread_cond_wait_until(&w->changed, &w->lock, clock_system.mono_ns(&clock_system) + 100 * NS_PER_MS);
    }
    return NULL;
}

/* ---- pull
 * ------------------------------------------------------------------------------------------------------------------------ */

static int pull_one(const struct command *self, struct puller *puller, const struct keyring *keys, const char *name)
{
    IMAGE_REF(ref);
    IMAGE_RECORD(r);
    ERR(e);
    struct pull_progress progress = {0};
    struct ctx ctx = ctx_background();
    if (image_ref_parse(name, &ref, &e) < 0)
        return cli_fail(self, &e);
    struct watcher w = {.progress = &progress, .name = name};
    pthread_mutex_init(&w.lock, NULL);
    thread_cond_init(&w.changed);
    pthread_t t = thread_start("progress", watch_main, &w);
    int64_t began = ctx_mono_ns(&ctx);
    int rc = image_pull(puller, &ctx, &ref, keys, &progress, &r, &e);
    {
        LOCK_GUARD(&w.lock);
        w.over = true;
        pthread_cond_broadcast(&w.changed);
    }
    pthread_join(t, NULL);
    end_progress();
    pthread_cond_destroy(&w.changed);
    pthread_mutex_destroy(&w.lock);
    if (rc < 0)
        return cli_fail(self, &e);
    AUTOFREE char *size = size_text(r.size), *full = image_ref_full(&ref);
    printf("%s  %.12s  %s  %.1f s\n", full, r.id + strlen("sha256:"), size, (double)(ctx_mono_ns(&ctx) - began) / 1e9);
    return EXIT_OK;
}

static int pull_main(const struct command *self, int argc, char **argv)
{
    const char *data = NULL, *docker_config = NULL, *file = NULL;
    STRLIST(mirrors);
    STRLIST(insecure);
    const struct opt opts[] = {
        {"image-mirror", 0, OPT_LIST, &mirrors, "DOMAIN=URL", "ask there first, e.g. docker.io=https://mirror.example.com"},
        {"insecure-registry", 0, OPT_LIST, &insecure, "HOST:PORT",
         "plain HTTP or a certificate that nobody vouches for is fine there"},
        {"registries", 0, OPT_TEXT, &file, "FILE", "mirrors, insecure registries and certificates [DIR/registries]"},
        {"docker-config", 0, OPT_TEXT, &docker_config, "FILE", "credentials, e.g. ~/.docker/config.json"},
        {"data", 0, OPT_TEXT, &data, "DIR", "data directory [that of the running tidemill]"}};
    STRLIST(names);
    int code;
    if (cli_options(self, argc, argv, opts, ARRAY_LEN(opts), &names, 1, 1000, &code) < 0)
        return code;
    ERR(e);
    KEYRING(keys);
    CLEANUP(place_close) struct place p = {0};
    strlist_take(&mirrors, NULL);
    strlist_take(&insecure, NULL);
    if (place_open(&p, data, &e) < 0 || (docker_config && images_credentials(docker_config, &keys, &e) < 0))
        return cli_fail(self, &e);
    struct registries *r = images_registries(p.data, file, (const char *const *)mirrors.v, (const char *const *)insecure.v, &e);
    if (!r)
        return cli_fail(self, &e);
    struct puller *puller = puller_new(p.store, r, unpack_spawn, NULL);
    code = EXIT_OK;
    for (size_t i = 0; i < names.n; i++)
        if (pull_one(self, puller, &keys, names.v[i]) != EXIT_OK)
            code = EXIT_FAILED;
    puller_free(puller);
    registries_free(r);
    return code;
}

/* ---- load, rm
 * ---------------------------------------------------------------------------------------------------------------------- */

static void load_progress(void *self, const char *what, int64_t done, int64_t total) { show_progress(what, done, total); }

static int load_main(const struct command *self, int argc, char **argv)
{
    const char *data = NULL, *name = NULL;
    const struct opt opts[] = {
        {"name", 0, OPT_TEXT, &name, "NAME", "what the image is to be called, instead of what the archive says"},
        {"data", 0, OPT_TEXT, &data, "DIR", "data directory [that of the running tidemill]"}};
    STRLIST(files);
    STRLIST(loaded);
    int code;
    if (cli_options(self, argc, argv, opts, ARRAY_LEN(opts), &files, 1, 100, &code) < 0)
        return code;
    ERR(e);
    CLEANUP(place_close) struct place p = {0};
    if (place_open(&p, data, &e) < 0)
        return cli_fail(self, &e);
    struct image_load l = {.store = p.store,
                           .unpack = unpack_spawn,
                           .name = name,
                           .now_ns = clock_system.wall_ns(&clock_system),
                           .progress = load_progress};
    code = EXIT_OK;
    for (size_t i = 0; i < files.n && code == EXIT_OK; i++)
        if (image_load(&l, files.v[i], &loaded, &e) < 0) {
            end_progress();
            code = cli_fail(self, &e);
        }
    end_progress();
    for (size_t i = 0; i < loaded.n; i++)
        printf("Loaded image: %s\n", loaded.v[i]);
    return code;
}

static int rm_one(struct image_store *store, const char *what, struct err *err)
{
    IMAGE_REF(ref);
    IMAGE_RECORD(r);
    bool is_name = image_ref_parse(what, &ref, NULL) == 0 && image_store_find(store, &ref, &r, NULL) == 0;
    if (!is_name && image_store_find_id(store, what, &r, err) < 0)
        return -1;
    AUTOFREE char *repo = is_name ? image_ref_repo(&ref) : NULL;
    AUTOFREE char *name = is_name && ref.tag && !ref.digest ? xasprintf("%s:%s", repo, ref.tag) : NULL;
    if (image_store_remove(store, r.id, name, err) < 0)
        return -1;
    printf("Removed %s\n", what);
    return 0;
}

static int rm_main(const struct command *self, int argc, char **argv)
{
    const char *data = NULL;
    const struct opt opts[] = {{"data", 0, OPT_TEXT, &data, "DIR", "data directory [that of the running tidemill]"}};
    STRLIST(names);
    int code;
    if (cli_options(self, argc, argv, opts, ARRAY_LEN(opts), &names, 1, 1000, &code) < 0)
        return code;
    ERR(e);
    CLEANUP(place_close) struct place p = {0};
    if (place_open(&p, data, &e) < 0)
        return cli_fail(self, &e);
    code = EXIT_OK;
    for (size_t i = 0; i < names.n; i++) {
        err_clear(&e);
        if (rm_one(p.store, names.v[i], &e) < 0)
            code = cli_fail(self, &e);
    }
    return code;
}

/* ---- the command
 * -------------------------------------------------------------------------------------------------------------------- */

static const struct command parts[] = {
    {.name = "image ls", .summary = "List the images of this machine", .usage = "image ls [-q] [--data DIR]", .main = ls_main},
    {.name = "image pull",
     .summary = "Fetch images from their registries",
     .usage = "image pull NAME... [OPTIONS]",
     .help = "NAME is written as everywhere: busybox, python:3.11, ghcr.io/user/app@sha256:...\n"
             "localhost and 127.0.0.0/8 may speak plain HTTP.",
     .main = pull_main},
    {.name = "image load",
     .summary = "Take images out of archives: docker save, podman save, OCI layouts (also directories), compressed or not",
     .usage = "image load FILE... [--name NAME] [--data DIR]",
     .help = "'-' reads standard input: docker save app:1 | sudo tidemill image load -\n"
             "Pods use a loaded image when its imagePullPolicy is IfNotPresent or Never; for :latest the default is Always.",
     .main = load_main},
    {.name = "image rm", .summary = "Remove images by name or id", .usage = "image rm NAME... [--data DIR]", .main = rm_main},
};

static void image_usage(FILE *f, const struct command *self)
{
    fprintf(f, "usage: tidemill %s\n\n%s.\n\n", self->usage, self->summary);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        fprintf(f, "  %-12s %s\n", parts[i].name + strlen("image "), parts[i].summary);
    fprintf(f, "\n'tidemill image PART --help' tells more. Images of a running tidemill may be changed at any time.\n");
}

static int image_main(const struct command *self, int argc, char **argv)
{
    if (argc >= 2 && (str_eq(argv[1], "--help") || str_eq(argv[1], "-h"))) {
        image_usage(stdout, self);
        return EXIT_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(parts) && argc >= 2; i++)
        if (str_eq(parts[i].name + strlen("image "), argv[1]) || (str_eq(argv[1], "list") && i == 0))
            return parts[i].main(&parts[i], argc - 1, argv + 1);
    if (argc >= 2)
        fprintf(stderr, "tidemill image: there is no '%s'\n\n", argv[1]);
    image_usage(stderr, self);
    return EXIT_USAGE;
}

const struct command cmd_image = {.name = "image",
                                  .summary = "List, pull, load and remove images of containers",
                                  .usage = "image ls|pull|load|rm",
                                  .main = image_main};

static int unpack_main(const struct command *self, int argc, char **argv) { return image_unpack_main(argc, argv); }

const struct command cmd_image_unpack = {.name = "image-unpack",
                                         .summary = "Unpack a layer; started by tidemill itself",
                                         .usage = "image-unpack DIR",
                                         .main = unpack_main,
                                         .hidden = true};
