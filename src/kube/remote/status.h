/* status.h - Kubernetes' Status objects to errors, with the codes that the embedded API server gives. Private to remote/. */
#ifndef TM_KUBE_REMOTE_STATUS_H
#define TM_KUBE_REMOTE_STATUS_H

#include "base/err.h"
#include "value/json.h"

/* Fills err from an answer that was not 2xx: a Status, or whatever text a proxy sent. Always -1. */
int status_error(int http_status, const char *body, size_t len, struct err *err);
/* As above for a Status that has been parsed (an ERROR event of a watch). */
int status_error_json(int http_status, jval *status, struct err *err);

#endif
