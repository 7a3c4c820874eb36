/* validate_priv.h - what the files of the built-in kinds' rules share. */
#ifndef TM_KUBE_VALIDATE_PRIV_H
#define TM_KUBE_VALIDATE_PRIV_H

#include "kube/names.h"
#include "kube/rules/validate.h"

bool validate_is_builtin(const struct kube_res *res);
/* One "Invalid value" for each fault of a name. */
void validate_name(struct faults *f, const char *member, const char *value, struct name_faults bad);
void validate_annotations(struct faults *f, const char *member, jval *annotations);
/* Absent, null and equal are the same; anything else is "field is immutable". */
void validate_immutable(struct faults *f, const char *member, jval *old, jval *now);
/* Required when empty, Unsupported when not one of them (NULL-terminated). */
void validate_enum(struct faults *f, const char *member, const char *value, const char *const *allowed);
void validate_not_negative(struct faults *f, const char *member, jval *value);
/* Extends the path by member[i]. */
size_t validate_push_item(struct faults *f, const char *member, size_t i);

bool validate_is_ip(const char *s);
bool validate_is_cidr(const char *s);
/* Integer ports 1 to 65535, or the name of one. */
void validate_port(struct faults *f, const char *member, jval *port);

/* Parts of pods, at the path of their own. */
struct pod_parts {
    jval *spec;
    struct strmap volumes; /* name -> its volume; borrowed */
    struct strmap names;   /* of containers seen */
};
void validate_pod_spec(struct faults *f, jval *spec);
void validate_volumes(struct faults *f, jval *volumes, struct strmap *names);
void validate_containers(struct faults *f, const char *member, jval *list, struct pod_parts *p, bool init);
void validate_env(struct faults *f, jval *container);
void validate_field_ref(struct faults *f, jval *ref, bool volume);
void validate_resource_field_ref(struct faults *f, jval *ref, bool volume);
void validate_probes(struct faults *f, jval *container, jval *spec);
void validate_resources(struct faults *f, jval *resources, jval *claims);
/* Names of resources, at the path. */
void validate_resource_name(struct faults *f, const char *name);
void validate_container_resource_name(struct faults *f, const char *name);
void validate_pod_resources(struct faults *f, jval *spec);
void validate_affinity(struct faults *f, jval *affinity);
void validate_tolerations(struct faults *f, jval *tolerations);
void validate_spread(struct faults *f, jval *constraints);
void validate_pod_update(struct faults *f, jval *old, jval *now);
void validate_pod_status_update(struct faults *f, jval *old, jval *now);

void validate_claim_spec(struct faults *f, jval *spec);
void validate_claim(struct faults *f, jval *obj);
void validate_claim_update(struct faults *f, jval *old, jval *now);
void validate_volume(struct faults *f, jval *obj);
void validate_volume_update(struct faults *f, jval *old, jval *now);
void validate_storage_class(struct faults *f, jval *obj);
void validate_storage_class_update(struct faults *f, jval *old, jval *now);

void validate_quota(struct faults *f, jval *obj);
void validate_quota_update(struct faults *f, jval *old, jval *now);
void validate_limit_range(struct faults *f, jval *obj);

/* The pod's ephemeral containers, after its others. */
void validate_ephemeral(struct faults *f, struct pod_parts *p);
void validate_pod_ephemeral_update(struct faults *f, jval *old, jval *now);
void validate_service(struct faults *f, jval *obj);
void validate_service_update(struct faults *f, jval *old, jval *now);
void validate_endpoints(struct faults *f, jval *obj);
void validate_endpoint_slice(struct faults *f, jval *obj);
void validate_endpoint_slice_update(struct faults *f, jval *old, jval *now);

void validate_rbac(struct faults *f, jval *obj);
void validate_role_ref_update(struct faults *f, jval *old, jval *now);

#endif
