/* fake_kube.h - a `struct kube` in memory, for tests of whatever knows the API only through that.
 *
 * It keeps objects of any kind, with revisions, uids, conflicts, selectors, finalizers, namespaces that terminate, the status and
 * finalize subresources, merge patches, and watches with their history. It knows no schemas, defaults, pods' grace or garbage
 * collection. Thread-safe. Calls can be made to fail and watches to end. */
#ifndef TM_TESTS_FAKE_KUBE_H
#define TM_TESTS_FAKE_KUBE_H

#include "kube/kube.h"

struct fake_kube;
struct fake_kube *fake_kube_new(void);
void fake_kube_free(struct fake_kube *f); /* all watches are closed by then */
struct kube *fake_kube_face(struct fake_kube *f);

/* Stores a JSON object as it is (metadata is completed); fails the test when it cannot. A reference. */
struct json *fake_put(struct fake_kube *f, const struct kube_res *res, const char *json_fmt, ...) PRINTF_LIKE(3, 4);
struct json *fake_get(struct fake_kube *f, const struct kube_res *res, const char *ns,
                      const char *name); /* a reference or NULL */
void fake_remove(struct fake_kube *f, const struct kube_res *res, const char *ns,
                 const char *name); /* whatever its finalizers are */
size_t fake_count(struct fake_kube *f, const struct kube_res *res, const char *ns);

/* The next `times` calls of a verb ("get", "list", "create", "update", "patch", "delete", "watch") on a plural fail with that
 * code. */
void fake_fail(struct fake_kube *f, const char *verb, const char *plural, int times, enum err_code code);
/* Ends all open watches of a plural: cleanly (ERR_OK) or with an error. */
void fake_end_watches(struct fake_kube *f, const char *plural, enum err_code code);
/* Forgets history: watches from older revisions get ERR_GONE when they are opened. */
void fake_compact(struct fake_kube *f);
/* From now on it says that it streams lists, and (unless not marked) tells where they end. Before it is used. */
void fake_stream_lists(struct fake_kube *f, bool marked);
/* How often a verb was called on a plural so far, failed calls too. */
size_t fake_calls(struct fake_kube *f, const char *verb, const char *plural);
/* Waits up to a minute for a condition: true in time. */
bool fake_eventually(bool (*cond)(void *arg), void *arg);

#endif
