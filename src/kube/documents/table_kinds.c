/* Columns and rows of the built-in kinds. */
#include <ctype.h>
#include <stdlib.h>

#include "base/str.h"
#include "kube/documents/table_priv.h"
#include "kube/fields.h"
#include "kube/object.h"

#define NAME                                                                                                                     \
    {                                                                                                                            \
        "Name", "string", "name", "Name must be unique within a namespace.", 0                                                   \
    }
#define TEXT(title, d)                                                                                                           \
    {                                                                                                                            \
        title, "string", "", d, 0                                                                                                \
    }
#define WIDE(title, d)                                                                                                           \
    {                                                                                                                            \
        title, "string", "", d, 1                                                                                                \
    }
#define AGE TEXT("Age", "Time since the object was created.")

static size_t members(jval *v) { return jv_is(v, J_OBJECT) || jv_is(v, J_ARRAY) ? jv_len(v) : 0; }

static const struct column pod_columns[] = {
    NAME,
    TEXT("Ready", "Containers that are ready, of how many."),
    TEXT("Status", "Phase, or why it is not further."),
    TEXT("Restarts", "How often containers were restarted, and when last."),
    AGE,
    WIDE("IP", "Address of the pod."),
    WIDE("Node", "Node that runs it."),
    WIDE("Nominated Node", "Node that is being made room on for it."),
    WIDE("Readiness Gates", "Gates that are met, of how many."),
};

static const struct column namespace_columns[] = {NAME, TEXT("Status", "Active or Terminating."), AGE};

static void namespace_row(struct row *r, jval *o)
{
    cell_str(r, obj_name(o));
    cell_str(r, namespace_status_phase(namespace_status(o)));
    cell_since_creation(r, o);
}

static const struct column config_map_columns[] = {NAME, TEXT("Data", "Number of entries."), AGE};

static void config_map_row(struct row *r, jval *o)
{
    cell_str(r, obj_name(o));
    cell_i64(r, (int64_t)(members(config_map_data(o)) + members(config_map_binary_data(o))));
    cell_since_creation(r, o);
}

static const struct column secret_columns[] = {NAME, TEXT("Type", "What kind of secret it is."),
                                               TEXT("Data", "Number of entries."), AGE};

static void secret_row(struct row *r, jval *o)
{
    cell_str(r, obj_name(o));
    cell_str(r, secret_type(o));
    cell_i64(r, (int64_t)members(secret_data(o)));
    cell_since_creation(r, o);
}

static const struct column service_account_columns[] = {NAME, TEXT("Secrets", "Number of secrets it may use."), AGE};

static void service_account_row(struct row *r, jval *o)
{
    cell_str(r, obj_name(o));
    cell_i64(r, (int64_t)members(service_account_secrets(o)));
    cell_since_creation(r, o);
}

/* ---- nodes -------------------------------------------------------------------------------------------------------------------
 */

static const struct column node_columns[] = {
    NAME,
    TEXT("Status", "Ready or not, and whether pods may be scheduled."),
    TEXT("Roles", "Roles of the node."),
    AGE,
    TEXT("Version", "Version of its kubelet."),
    WIDE("Internal-IP", "Address inside the cluster."),
    WIDE("External-IP", "Address outside."),
    WIDE("OS-Image", "Operating system."),
    WIDE("Kernel-Version", "Kernel."),
    WIDE("Container-Runtime", "What runs containers."),
};

static void cell_roles(struct row *r, jval *node)
{
    static const char prefix[] = "node-role.kubernetes.io/";
    STRLIST(roles);
    struct jiter it = jv_iter(obj_labels(node));
    const char *k;
    jval *v;
    while (jv_next(&it, &k, &v)) {
        const char *role = str_starts(k, prefix) ? k + sizeof prefix - 1 : str_eq(k, "kubernetes.io/role") ? jv_str(v) : NULL;
        if (!str_empty(role) && !strlist_has(&roles, role))
            strlist_add(&roles, role);
    }
    strlist_sort(&roles);
    AUTOFREE char *all = strlist_join(&roles, ",");
    cell_or_none(r, all);
}

static const char *address_of(jval *status, const char *type)
{
    struct jiter it = jv_iter(node_status_addresses(status));
    jval *a;
    while (jv_next(&it, NULL, &a))
        if (str_eq(node_address_type(a), type))
            return node_address_address(a);
    return NULL;
}

static void cell_or_unknown(struct row *r, const char *s) { cell_str(r, str_empty(s) ? "<unknown>" : s); }

static void node_row(struct row *r, jval *o)
{
    jval *status = node_status(o), *info = node_status_node_info(status);
    const char *ready = node_condition_status(obj_condition(o, "Ready"));
    cell_str(r, obj_name(o));
    cell_fmt(r, "%s%s",
             !ready                  ? "Unknown"
             : str_eq(ready, "True") ? "Ready"
                                     : "NotReady",
             node_spec_unschedulable(node_spec(o), false) ? ",SchedulingDisabled" : "");
    cell_roles(r, o);
    cell_since_creation(r, o);
    cell_str(r, node_system_info_kubelet_version(info));
    cell_or_none(r, address_of(status, "InternalIP"));
    cell_or_none(r, address_of(status, "ExternalIP"));
    cell_or_unknown(r, node_system_info_os_image(info));
    cell_or_unknown(r, node_system_info_kernel_version(info));
    cell_or_unknown(r, node_system_info_container_runtime_version(info));
}

/* ---- events -------------------------------------------------------------------------------------------------------------------
 */

static const struct column event_columns[] = {
    TEXT("Last Seen", "When it happened last."), TEXT("Type", "Normal or Warning."),
    TEXT("Reason", "Why, in one word."),         TEXT("Object", "What it is about."),
    WIDE("Subobject", "Part of the object."),    WIDE("Source", "Who says so."),
    TEXT("Message", "What happened."),           WIDE("First Seen", "When it happened first."),
    WIDE("Count", "How often it happened."),     {"Name", "string", "name", "Name of the event.", 1},
};

static void cell_target(struct row *r, jval *ref)
{
    AUTOFREE char *kind = xstrdup(object_reference_kind(ref));
    const char *name = object_reference_name(ref);
    for (char *p = kind; p && *p; p++)
        *p = (char)tolower((unsigned char)*p);
    if (str_empty(name))
        cell_str(r, kind);
    else
        cell_fmt(r, "%s/%s", kind ? kind : "", name);
}

static const char *first_of(const char *a, const char *b) { return str_empty(a) ? b : a; }

static void event_cells(struct row *r, jval *o, jval *ref, jval *source, const char *message, const char *first, const char *last,
                        int64_t count, const char *reporter)
{
    jval *series = event_series(o);
    const char *component = first_of(event_source_component(source), reporter);
    const char *host = first_of(event_source_host(source), event_reporting_instance(o));
    first = first_of(first, event_event_time(o));
    last = first_of(last, first);
    if (jv_present(series)) {
        last = event_series_last_observed_time(series);
        count = event_series_count(series, count);
    }
    cell_age(r, last);
    cell_str(r, event_type(o));
    cell_str(r, event_reason(o));
    cell_target(r, ref);
    cell_str(r, object_reference_field_path(ref));
    cell_fmt(r, "%s%s%s", component ? component : "", str_empty(host) ? "" : ", ", host ? host : "");
    message = message ? message : "";
    while (isspace((unsigned char)*message))
        message++;
    size_t n = strlen(message);
    while (n > 0 && isspace((unsigned char)message[n - 1]))
        n--;
    AUTOFREE char *trimmed = xstrndup(message, n);
    cell_str(r, trimmed);
    cell_age(r, first);
    cell_i64(r, count ? count : 1);
    cell_str(r, obj_name(o));
}

static void event_row(struct row *r, jval *o)
{
    event_cells(r, o, event_involved_object(o), event_source(o), event_message(o), event_first_timestamp(o),
                event_last_timestamp(o), event_count(o, 0), event_reporting_component(o));
}

static void events_event_row(struct row *r, jval *o)
{
    event_cells(r, o, events_event_regarding(o), events_event_deprecated_source(o), events_event_note(o),
                events_event_deprecated_first_timestamp(o), events_event_deprecated_last_timestamp(o),
                events_event_deprecated_count(o, 0), events_event_reporting_controller(o));
}

/* ---- leases, roles
 * -------------------------------------------------------------------------------------------------------------- */

static const struct column lease_columns[] = {NAME, TEXT("Holder", "Who holds it."), AGE};

static void lease_row(struct row *r, jval *o)
{
    cell_str(r, obj_name(o));
    cell_str(r, lease_spec_holder_identity(lease_spec(o)));
    cell_since_creation(r, o);
}

static const struct column binding_columns[] = {
    NAME,
    TEXT("Role", "Role that is given."),
    AGE,
    WIDE("Users", "Users who have it."),
    WIDE("Groups", "Groups that have it."),
    WIDE("ServiceAccounts", "Service accounts that have it."),
};

static void cell_subjects(struct row *r, jval *subjects, const char *kind)
{
    STRLIST(names);
    struct jiter it = jv_iter(subjects);
    jval *s;
    while (jv_next(&it, NULL, &s)) {
        const char *ns = subject_namespace(s), *name = subject_name(s);
        if (!str_eq(subject_kind(s), kind))
            continue;
        if (str_eq(kind, "ServiceAccount") && !str_empty(ns))
            strlist_addf(&names, "%s/%s", ns, name);
        else
            strlist_add(&names, name ? name : "");
    }
    AUTOFREE char *all = strlist_join(&names, ", ");
    cell_str(r, all);
}

static void binding_row(struct row *r, jval *o)
{
    jval *ref = role_binding_role_ref(o), *subjects = role_binding_subjects(o);
    cell_str(r, obj_name(o));
    cell_fmt(r, "%s/%s", role_ref_kind(ref), role_ref_name(ref));
    cell_since_creation(r, o);
    cell_subjects(r, subjects, "User");
    cell_subjects(r, subjects, "Group");
    cell_subjects(r, subjects, "ServiceAccount");
}

/* ---- services and storage (rows in table_services.c) -------------------------------------------------------------------- */

static const struct column service_columns[] = {
    NAME,
    TEXT("Type", "How it is reached."),
    TEXT("Cluster-IP", "Address inside the cluster."),
    TEXT("External-IP", "Addresses outside."),
    TEXT("Port(s)", "Its ports."),
    AGE,
    WIDE("Selector", "Labels of the pods behind it."),
};
static const struct column endpoints_columns[] = {NAME, TEXT("Endpoints", "Addresses and ports behind the service."), AGE};
static const struct column endpoint_slice_columns[] = {NAME, TEXT("AddressType", "Kind of the addresses."),
                                                       TEXT("Ports", "Ports of the endpoints."),
                                                       TEXT("Endpoints", "Addresses of the endpoints."), AGE};
static const struct column claim_columns[] = {
    NAME,
    TEXT("Status", "Pending, Bound, Lost or Terminating."),
    TEXT("Volume", "The volume that it is bound to."),
    TEXT("Capacity", "Size of that volume."),
    TEXT("Access Modes", "How that volume may be mounted."),
    TEXT("StorageClass", "Class that it asks for."),
    TEXT("VolumeAttributesClass", "Class of attributes."),
    AGE,
    WIDE("VolumeMode", "File system or block device."),
};
static const struct column volume_columns[] = {
    NAME,
    TEXT("Capacity", "Its size."),
    TEXT("Access Modes", "How it may be mounted."),
    TEXT("Reclaim Policy", "What happens once its claim is gone."),
    TEXT("Status", "Available, Bound, Released, Failed or Terminating."),
    TEXT("Claim", "The claim that it is bound to."),
    TEXT("StorageClass", "Class that it belongs to."),
    TEXT("VolumeAttributesClass", "Class of attributes."),
    TEXT("Reason", "Why it is not further."),
    AGE,
    WIDE("VolumeMode", "File system or block device."),
};
static const struct column storage_class_columns[] = {
    NAME,
    TEXT("Provisioner", "Who makes its volumes."),
    TEXT("ReclaimPolicy", "What happens to a volume once its claim is gone."),
    TEXT("VolumeBindingMode", "When claims are bound."),
    TEXT("AllowVolumeExpansion", "Whether claims may grow."),
    AGE,
};

static const struct column priority_class_columns[] = {
    NAME,
    {"Value", "integer", "", "Priority of pods of this class.", 0},
    {"Global-Default", "boolean", "", "Whether pods without a class get this one.", 0},
    AGE,
    TEXT("PreemptionPolicy", "Whether its pods push others away."),
};

static void priority_class_row(struct row *r, jval *o)
{
    cell_str(r, obj_name(o));
    cell_i64(r, priority_class_value(o, 0));
    cell_bool(r, priority_class_global_default(o, false));
    cell_since_creation(r, o);
    cell_str(r, priority_class_preemption_policy(o));
}

static const struct column quota_columns[] = {
    NAME,
    TEXT("Request", "What is used of what may be asked for."),
    TEXT("Limit", "What is used of what limits may sum up to."),
    AGE,
};

/* "pods: 1/3, requests.cpu: 500m/2" */
static void quota_cell(struct row *r, jval *status, bool limits)
{
    BUF(text);
    STRLIST(names);
    const char *name;
    jval *v, *hard = resource_quota_status_hard(status);
    for (struct jiter it = jv_iter(hard); jv_next(&it, &name, &v);)
        if (str_starts(name, "limits") == limits)
            strlist_add(&names, name);
    strlist_sort(&names);
    for (size_t i = 0; i < names.n; i++)
        buf_addf(&text, "%s%s: %s/%s", i ? ", " : "", names.v[i],
                 jv_str_or(jv_get(resource_quota_status_used(status), names.v[i]), "0"),
                 jv_str_or(jv_get(hard, names.v[i]), "0"));
    cell_str(r, buf_str(&text));
}

static void quota_row(struct row *r, jval *o)
{
    cell_str(r, obj_name(o));
    quota_cell(r, resource_quota_status(o), false);
    quota_cell(r, resource_quota_status(o), true);
    cell_since_creation(r, o);
}

#define KIND(group, kind, columns, row)                                                                                          \
    {                                                                                                                            \
        group, kind, { columns, ARRAY_LEN(columns), row, NULL, NULL, NULL }                                                      \
    }
const struct table_kind table_kinds[] = {
    KIND("", "Pod", pod_columns, table_pod_row),
    KIND("", "ResourceQuota", quota_columns, quota_row),
    KIND("", "Namespace", namespace_columns, namespace_row),
    KIND("", "ConfigMap", config_map_columns, config_map_row),
    KIND("", "Secret", secret_columns, secret_row),
    KIND("", "ServiceAccount", service_account_columns, service_account_row),
    KIND("", "Node", node_columns, node_row),
    KIND("", "Event", event_columns, event_row),
    KIND("events.k8s.io", "Event", event_columns, events_event_row),
    KIND("", "Service", service_columns, table_service_row),
    KIND("", "Endpoints", endpoints_columns, table_endpoints_row),
    KIND("discovery.k8s.io", "EndpointSlice", endpoint_slice_columns, table_endpoint_slice_row),
    KIND("", "PersistentVolumeClaim", claim_columns, table_claim_row),
    KIND("", "PersistentVolume", volume_columns, table_volume_row),
    KIND("storage.k8s.io", "StorageClass", storage_class_columns, table_storage_class_row),
    KIND("coordination.k8s.io", "Lease", lease_columns, lease_row),
    KIND("scheduling.k8s.io", "PriorityClass", priority_class_columns, priority_class_row),
    KIND("rbac.authorization.k8s.io", "RoleBinding", binding_columns, binding_row),
    KIND("rbac.authorization.k8s.io", "ClusterRoleBinding", binding_columns, binding_row),
};
const size_t table_n_kinds = ARRAY_LEN(table_kinds);
