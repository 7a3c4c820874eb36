/* source.h - what runs and recurring runs are made from, as their bodies give it (spec 6.1, 6.6, 7.2). */
#ifndef TM_PIPELINES_API_SOURCE_H
#define TM_PIPELINES_API_SOURCE_H

#include "pipelines/api/internal.h"

struct source {
    struct package package;
    bool inline_spec;               /* pipeline_spec: the rest is NULL */
    bool latest;                    /* the reference names no version: version_id is the latest one now */
    char *pipeline_id, *version_id; /* concrete */
    char *spec_hash;
};
void source_clear(struct source *s);
#define SOURCE(name) CLEANUP(source_clear) struct source name = {0}
/* Of pipeline_spec, pipeline_version_reference or pipeline_version_id. ERR_INVALID without any, ERR_NOT_FOUND. */
int source_read(struct pipelines_api *api, jval *body, struct source *out, struct err *err);
/* plugins_input: number, sizes, depth, and the keys of those that are known. */
int rule_plugins(jval *plugins, struct err *err);

#endif
