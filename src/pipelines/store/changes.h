/* changes.h - who wants to know that a run changed.
 *
 * After a transaction that changed a run or its tasks, whoever wrote it tells the run's id; listeners then look at the rows.
 * Nothing is carried and nothing is kept: a listener that comes late reads what is. Listeners are called on the teller's thread,
 * one after the other: they only put the id somewhere. Thread-safe. */
#ifndef TM_PIPELINES_STORE_CHANGES_H
#define TM_PIPELINES_STORE_CHANGES_H

#include "base/base.h"

struct changes;
struct changes *changes_new(void);
void changes_free(struct changes *c); /* after all listeners were taken off */
typedef void changes_fn(void *self, const char *run_id);
/* self tells listeners apart. */
void changes_listen(struct changes *c, changes_fn *fn, void *self);
/* When it returns the listener is in no call and gets none. */
void changes_unlisten(struct changes *c, void *self);
void changes_tell(struct changes *c, const char *run_id); /* c may be NULL */

#endif
