#include "kube/documents/doc.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* Clients that look for a short name take the first group that has it. */
static const char *const group_order[] = {
    "",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
};

static size_t group_rank(const char *group)
{
    for (size_t i = 0; i < ARRAY_LEN(group_order); i++)
        if (!strcmp(group_order[i], group))
            return i;
    return ARRAY_LEN(group_order);
}

static int by_preference(const void *a, const void *b)
{
    const struct kind *x = *(const struct kind *const *)a, *y = *(const struct kind *const *)b;
    size_t rx = group_rank(x->res.group), ry = group_rank(y->res.group);
    int c = rx != ry ? (rx < ry ? -1 : 1) : strcmp(x->res.group, y->res.group);
    c = c ? c : kind_version_cmp(x->res.version, y->res.version);
    return c ? c : strcmp(x->res.plural, y->res.plural);
}

size_t kinds_sort_served(const struct kind **kinds, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kinds[i]->served && *kinds[i]->res.plural)
            kinds[kept++] = kinds[i];
    qsort(kinds, kept, sizeof *kinds, by_preference);
    return kept;
}

char *kube_doc_hash(const void *p, size_t n)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    ASSERT(EVP_Digest(p, n, md, &len, EVP_sha512(), NULL) == 1);
    char *out = xmalloc(2 * len + 1), *w = out;
    for (unsigned i = 0; i < len; i++) {
        *w++ = "0123456789ABCDEF"[md[i] >> 4];
        *w++ = "0123456789ABCDEF"[md[i] & 15];
    }
    *w = 0;
    return out;
}

void kube_doc_set(struct kube_doc *doc, jmval *root)
{
    BUF(b);
    jmv_write(root, JW_COMPACT, &b);
    doc->body = buf_steal(&b, &doc->len);
    doc->etag = kube_doc_hash(doc->body, doc->len);
}

void kube_doc_clear(struct kube_doc *doc)
{
    free(doc->body);
    free(doc->etag);
    *doc = (struct kube_doc){0};
}
