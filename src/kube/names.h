/* names.h - what may be a name: DNS labels and subdomains, label keys and values, port names, keys of ConfigMaps, ...
 *
 * Each rule gives all that is wrong with a text, in Kubernetes' words and order, to be put behind "Invalid value: ...: ". The
 * texts are static. Pure functions, any thread. Source: specs kube.md 3, recorded answers. */
#ifndef TM_KUBE_NAMES_H
#define TM_KUBE_NAMES_H

#include "base/base.h"

struct name_faults {
    const char *text[6];
    size_t n; /* 0: a good name */
};
struct name_faults name_dns1123_label(const char *s);
struct name_faults name_dns1123_subdomain(const char *s);
struct name_faults name_dns1035_label(const char *s);
struct name_faults name_path_segment(const char *s);
struct name_faults name_qualified(const char *s); /* keys of labels and annotations, finalizers */
struct name_faults name_label_value(const char *s);
struct name_faults name_port(const char *s);
struct name_faults name_env_var(const char *s);
struct name_faults name_config_key(const char *s);
struct name_faults name_http_header(const char *s);
struct name_faults name_dns_search(const char *s); /* a search domain of a resolver */

#endif
