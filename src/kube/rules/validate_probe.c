/* Probes and life-cycle hooks. */
#include "kube/fields.h"
#include "kube/rules/validate_priv.h"

void validate_port(struct faults *f, const char *member, jval *port)
{
    int64_t n = 0;
    if (jv_is(port, J_STRING)) {
        const char *name = jv_str(port);
        validate_name(f, member, name, name_port(name));
    } else if (!jv_i64(port, &n) || n < 1 || n > 65535)
        fault_invalid_i64(f, member, n, "must be between 1 and 65535, inclusive");
}

static void check_http_get(struct faults *f, jval *h)
{
    static const char *const schemes[] = {"HTTP", "HTTPS", NULL};
    const char *scheme = jv_str_or(jv_get(h, "scheme"), "");
    size_t at = fault_push(f, "httpGet");
    if (str_empty(http_get_action_path(h)))
        fault_required(f, "path", NULL);
    validate_port(f, "port", jv_get(h, "port"));
    if (!str_eq(scheme, "HTTP") && !str_eq(scheme, "HTTPS"))
        fault_unsupported(f, "scheme", scheme, schemes);
    jval *headers = http_get_action_http_headers(h);
    for (size_t i = 0; i < jv_len(headers); i++) {
        const char *name = jv_str_or(jv_get(jv_at(headers, i), "name"), "");
        validate_name(f, "httpHeaders", name, name_http_header(name));
    }
    fault_pop(f, at);
}

static void check_sleep(struct faults *f, jval *sleep, int64_t grace)
{
    int64_t seconds = sleep_action_seconds(sleep, 0);
    if (seconds < 0 || seconds > grace)
        fault_invalid_i64(f, "sleep", seconds, "must be non-negative and less than terminationGracePeriodSeconds (%lld)",
                          (long long)grace);
}

/* The one action of a probe or hook. */
static void check_handler(struct faults *f, jval *h, int64_t grace)
{
    static const char *const kinds[] = {"exec", "httpGet", "tcpSocket", "grpc", "sleep"};
    size_t found = 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        jval *a = jv_get(h, kinds[i]);
        if (!jv_is(a, J_OBJECT))
            continue;
        if (found++) {
            fault_forbidden(f, kinds[i], "may not specify more than 1 handler type");
            continue;
        }
        if (i == 0 && jv_len(exec_action_command(a)) == 0)
            fault_required(f, "exec.command", NULL);
        else if (i == 1)
            check_http_get(f, a);
        else if (i == 2 || i == 3)
            validate_port(f, i == 2 ? "tcpSocket.port" : "grpc.port", jv_get(a, "port"));
        else if (i == 4)
            check_sleep(f, a, grace);
    }
    if (!found)
        fault_required(f, NULL, "must specify a handler type");
}

static void check_probe(struct faults *f, jval *probe, bool readiness)
{
    static const char *const numbers[] = {"initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold",
                                          "failureThreshold"};
    int64_t n;
    check_handler(f, probe, 0);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        validate_not_negative(f, numbers[i], jv_get(probe, numbers[i]));
    if (jv_i64(jv_get(probe, "terminationGracePeriodSeconds"), &n) && n <= 0)
        fault_invalid_i64(f, "terminationGracePeriodSeconds", n, "must be greater than 0");
    if (!readiness && probe_success_threshold(probe, 1) != 1)
        fault_invalid_i64(f, "successThreshold", probe_success_threshold(probe, 1), "must be 1");
    if (readiness && jv_present(jv_get(probe, "terminationGracePeriodSeconds")))
        fault_invalid(f, "terminationGracePeriodSeconds", jv_get(probe, "terminationGracePeriodSeconds"),
                      "must not be set for readinessProbes");
}

void validate_probes(struct faults *f, jval *container, jval *spec)
{
    static const char *const hooks[] = {"postStart", "preStop"}, *const probes[] = {"livenessProbe", "readinessProbe",
                                                                                    "startupProbe"};
    jval *lifecycle = container_lifecycle(container);
    int64_t grace = pod_spec_termination_grace_period_seconds(spec, 30);
    for (size_t i = 0; i < ARRAY_LEN(hooks); i++) {
        if (!jv_is(jv_get(lifecycle, hooks[i]), J_OBJECT))
            continue;
        size_t at = fault_push(f, "lifecycle");
        fault_push(f, hooks[i]);
        check_handler(f, jv_get(lifecycle, hooks[i]), grace);
        fault_pop(f, at);
    }
    for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
        jval *probe = jv_get(container, probes[i]);
        if (!jv_is(probe, J_OBJECT))
            continue;
        size_t at = fault_push(f, probes[i]);
        check_probe(f, probe, i == 1);
        fault_pop(f, at);
    }
}
