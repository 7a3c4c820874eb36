/* Where a YAML body repeats a key. The reader of value/yaml.h reports members by path; Kubernetes' strict error names lines. */
#include <stdlib.h>
#include <yaml.h>

#include "kube/wire/decode_priv.h"

#define MAX_OPEN 1024 /* collections within each other; the body was read before, so it has fewer */

/* An open collection. */
struct open {
    bool mapping, at_key;
    struct strmap keys;
};

/* A node is over, or an alias: in a mapping, the next one is a value or a key. */
static void node_done(struct open *o)
{
    if (o)
        o->at_key = !o->at_key;
}

static void see_scalar(struct open *o, const yaml_event_t *ev, struct strlist *out)
{
    const char *text = (const char *)ev->data.scalar.value;
    if (o && o->mapping && o->at_key) {
        if (strmap_has(&o->keys, text))
            strlist_addf(out, "  line %zu: key \"%s\" already set in map", ev->start_mark.line + 1, text);
        else
            strmap_put(&o->keys, text, (void *)text);
    }
    node_done(o);
}

/* Follows one event; false when the stream is over. */
static bool follow(struct open *stack, size_t *n, const yaml_event_t *ev, struct strlist *out)
{
    struct open *top = *n ? &stack[*n - 1] : NULL;
    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        see_scalar(top, ev, out);
        return true;
    case YAML_ALIAS_EVENT:
        node_done(top);
        return true;
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        if (*n == MAX_OPEN)
            return false;
        stack[(*n)++] = (struct open){ev->type == YAML_MAPPING_START_EVENT, true, STRMAP_INIT(NULL)};
        return true;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        strmap_free(&top->keys);
        (*n)--;
        node_done(*n ? &stack[*n - 1] : NULL);
        return true;
    default:
        return ev->type != YAML_STREAM_END_EVENT;
    }
}

char *decode_yaml_repeated(const char *body, size_t len)
{
    STRLIST(found);
    yaml_parser_t p;
    yaml_event_t ev;
    AUTOFREE struct open *stack = xcalloc(MAX_OPEN, sizeof *stack);
    size_t n = 0;
    bool more = true;
    if (!yaml_parser_initialize(&p))
        return NULL;
    yaml_parser_set_input_string(&p, (const unsigned char *)body, len);
    while (more && yaml_parser_parse(&p, &ev)) {
        more = follow(stack, &n, &ev, &found);
        yaml_event_delete(&ev);
    }
    while (n)
        strmap_free(&stack[--n].keys);
    yaml_parser_delete(&p);
    if (!found.n)
        return NULL;
    AUTOFREE char *lines = strlist_join(&found, "\n");
    return xasprintf("yaml: unmarshal errors:\n%s", lines);
}
