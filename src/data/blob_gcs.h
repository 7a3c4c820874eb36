/* blob_gcs.h - access tokens for Google Cloud Storage. Private to data/. */
#ifndef TM_DATA_BLOB_GCS_H
#define TM_DATA_BLOB_GCS_H

#include "data/blob_http.h"

/* From set->token (the JSON key of a service account or of a user), else with from_env from the file that
 * GOOGLE_APPLICATION_CREDENTIALS names, else from the machine's metadata server (GCE_METADATA_HOST). */
struct gcs_auth;
struct gcs_auth *gcs_auth_new(const struct blob_settings *set, struct err *err);
void gcs_auth_free(struct gcs_auth *a);
/* A token that is good for some minutes at least. Thread-safe. Caller frees. */
char *gcs_auth_token(struct gcs_auth *a, const struct blob_http *h, const struct ctx *ctx, struct err *err);
/* To sign with; NULL when these credentials have none. */
const char *gcs_auth_key(const struct gcs_auth *a);
const char *gcs_auth_email(const struct gcs_auth *a);

#endif
