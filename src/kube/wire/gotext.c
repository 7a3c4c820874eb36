#include "kube/wire/gotext.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static void print(jval *v, size_t max, struct buf *out);

static void print_map(jval *v, size_t max, struct buf *out)
{
    size_t n = jv_len(v), i = 0;
    AUTOFREE const char **keys = xcalloc(n + 1, sizeof *keys);
    struct jiter it = jv_iter(v);
    jval *x;
    while (jv_next(&it, &keys[i], &x))
        i++;
    qsort(keys, n, sizeof *keys, by_name);
    buf_adds(out, "map[");
    for (i = 0; i < n && out->len < max; i++) {
        buf_addf(out, "%s%s:", i ? " " : "", keys[i]);
        print(jv_get(v, keys[i]), max, out);
    }
    buf_addc(out, ']');
}

static void print_list(jval *v, size_t max, struct buf *out)
{
    struct jiter it = jv_iter(v);
    jval *x;
    bool first = true;
    buf_addc(out, '[');
    while (out->len < max && jv_next(&it, NULL, &x)) {
        buf_adds(out, first ? "" : " ");
        print(x, max, out);
        first = false;
    }
    buf_addc(out, ']');
}

/* Integers are what they are, all else is a float64 in its shortest form. */
static void print_number(jval *v, struct buf *out)
{
    const char *text = jv_num_text(v);
    double d;
    if (!strpbrk(text, ".eE") || !jv_f64(v, &d)) {
        buf_adds(out, text);
        return;
    }
    char s[40] = "";
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(s, sizeof s, "%.*g", precision, d);
        if (strtod(s, NULL) == d)
            break;
    }
    buf_adds(out, s);
}

static void print(jval *v, size_t max, struct buf *out)
{
    switch (jv_type(v)) {
    case J_OBJECT:
        print_map(v, max, out);
        return;
    case J_ARRAY:
        print_list(v, max, out);
        return;
    case J_STRING:
        buf_add(out, jv_str(v), jv_len(v));
        return;
    case J_NUMBER:
        print_number(v, out);
        return;
    case J_BOOL:
        buf_adds(out, jv_bool(v, false) ? "true" : "false");
        return;
    default:
        buf_adds(out, "<nil>");
    }
}

void gotext_print(jval *v, size_t max, struct buf *out)
{
    size_t start = out->len;
    print(v, start + max, out);
    if (out->len - start <= max)
        return;
    size_t cut = start + max;
    while (cut > start && ((unsigned char)out->data[cut] & 0xc0) == 0x80) /* not inside a character */
        cut--;
    out->len = cut;
    buf_adds(out, "...");
}
