/* str.c - see str.h. */
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/id.h"

/* Keys come from outside, too: who knows the hash can choose many of one bucket. So it has a secret key (SipHash-1-3). */
static uint64_t hash_key[2];
__attribute__((constructor)) static void make_hash_key(void) { random_bytes(hash_key, sizeof hash_key); }

static inline uint64_t turn(uint64_t x, int by) { return x << by | x >> (64 - by); }

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1], v[1] = turn(v[1], 13) ^ v[0], v[0] = turn(v[0], 32);
    v[2] += v[3], v[3] = turn(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = turn(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = turn(v[1], 17) ^ v[2], v[2] = turn(v[2], 32);
}

static uint32_t keyed_hash(const char *p, size_t n)
{
    uint64_t v[4] = {hash_key[0] ^ 0x736f6d6570736575, hash_key[1] ^ 0x646f72616e646f6d, hash_key[0] ^ 0x6c7967656e657261,
                     hash_key[1] ^ 0x7465646279746573};
    uint64_t word, last = (uint64_t)n << 56;
    size_t whole = n & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        memcpy(&word, p + i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    for (size_t i = whole; i < n; i++)
        last |= (uint64_t)(unsigned char)p[i] << 8 * (i - whole);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    word = v[0] ^ v[1] ^ v[2] ^ v[3];
    return (uint32_t)(word ^ word >> 32);
}

#undef HASH_FUNCTION
#define HASH_FUNCTION(key, len, out) ((out) = keyed_hash((const char *)(key), (size_t)(len)))
#include <uthash.h>

bool str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

bool str_to_i64(const char *s, int64_t *out)
{
    if (str_empty(s) || !(isdigit((unsigned char)*s) || ((*s == '-' || *s == '+') && isdigit((unsigned char)s[1]))))
        return false;
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno || *end)
        return false;
    *out = v;
    return true;
}

bool str_to_f64(const char *s, double *out)
{
    if (str_empty(s))
        return false;
    /* Only what a decimal number may hold: strtod alone would take spaces, hex, inf and nan. */
    if (s[strspn(s, "0123456789+-.eE")] != '\0')
        return false;
    char *end;
    static locale_t c_locale;
    if (!c_locale)
        c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    double d = strtod_l(s, &end, c_locale);
    if (*end || end == s)
        return false;
    *out = d;
    return true;
}

bool str_glob(const char *pattern, const char *s)
{
    const char *star = NULL, *back = NULL;
    while (*s) {
        if (*pattern == '*') {
            star = pattern++;
            back = s;
        } else if (*pattern == '?' || *pattern == *s) {
            pattern++;
            s++;
        } else if (star) {
            pattern = star + 1;
            s = ++back;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

bool str_utf8_valid(const char *str, size_t n)
{
    const unsigned char *s = (const unsigned char *)str, *end = s + n;
    while (s < end) {
        if (*s < 0x80) {
            s++;
            continue;
        }
        int more = *s >= 0xf0 ? 3 : *s >= 0xe0 ? 2 : 1;
        uint32_t cp = *s & (0x3f >> more);
        if (*s < 0xc2 || *s > 0xf4 || end - s <= more)
            return false;
        for (int i = 1; i <= more; i++) {
            if ((s[i] & 0xc0) != 0x80)
                return false;
            cp = cp << 6 | (s[i] & 0x3f);
        }
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (cp < least[more] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
            return false;
        s += more + 1;
    }
    return true;
}

/* ---- lists ---- */

void strlist_take(struct strlist *l, char *s)
{
    if (l->n + 1 >= l->cap) {
        l->cap = l->cap ? l->cap * 2 : 8;
        l->v = xreallocarray(l->v, l->cap, sizeof *l->v);
    }
    l->v[l->n++] = s;
    l->v[l->n] = NULL;
}

void strlist_add(struct strlist *l, const char *s) { strlist_take(l, xstrdup(s)); }

void strlist_addf(struct strlist *l, const char *fmt, ...)
{
    BUF(b);
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&b, fmt, ap);
    va_end(ap);
    strlist_take(l, buf_steal(&b, NULL));
}

bool strlist_has(const struct strlist *l, const char *s)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->v[i], s) == 0)
            return true;
    return false;
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void strlist_sort(struct strlist *l)
{
    if (l->n > 1)
        qsort(l->v, l->n, sizeof *l->v, by_bytes);
}

void strlist_free(struct strlist *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i]);
    free(l->v);
    *l = (struct strlist){0};
}

void str_split(const char *s, char sep, struct strlist *out)
{
    for (;;) {
        const char *end = strchr(s, sep);
        if (!end) {
            strlist_add(out, s);
            return;
        }
        strlist_take(out, xstrndup(s, (size_t)(end - s)));
        s = end + 1;
    }
}

char *strlist_join(const struct strlist *l, const char *sep)
{
    BUF(b);
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            buf_adds(&b, sep);
        buf_adds(&b, l->v[i]);
    }
    return buf_steal(&b, NULL);
}

/* ---- maps ---- */

struct strmap_node {
    struct strmap_entry entry; /* first: an entry is its node */
    UT_hash_handle hh;
};

static struct strmap_node *find(const struct strmap *m, const char *key)
{
    struct strmap_node *n = NULL;
    HASH_FIND_STR(m->head, key, n);
    return n;
}

void *strmap_get(const struct strmap *m, const char *key)
{
    struct strmap_node *n = find(m, key);
    return n ? n->entry.value : NULL;
}

bool strmap_has(const struct strmap *m, const char *key) { return find(m, key) != NULL; }

void strmap_put(struct strmap *m, const char *key, void *value)
{
    struct strmap_node *n = find(m, key);
    if (n) {
        void *old = n->entry.value;
        n->entry.value = value;
        if (m->free_value && old != value)
            m->free_value(old);
        return;
    }
    n = xcalloc(1, sizeof *n);
    n->entry.key = xstrdup(key);
    n->entry.value = value;
    HASH_ADD_KEYPTR(hh, m->head, n->entry.key, strlen(n->entry.key), n);
}

static void drop(struct strmap *m, struct strmap_node *n)
{
    HASH_DEL(m->head, n);
    free((char *)n->entry.key);
    free(n);
}

void *strmap_take(struct strmap *m, const char *key)
{
    struct strmap_node *n = find(m, key);
    if (!n)
        return NULL;
    void *value = n->entry.value;
    drop(m, n);
    return value;
}

bool strmap_del(struct strmap *m, const char *key)
{
    struct strmap_node *n = find(m, key);
    if (!n)
        return false;
    void *value = n->entry.value;
    drop(m, n);
    if (m->free_value)
        m->free_value(value);
    return true;
}

size_t strmap_count(const struct strmap *m) { return HASH_COUNT(m->head); }
struct strmap_entry *strmap_first(const struct strmap *m) { return m->head ? &m->head->entry : NULL; }

struct strmap_entry *strmap_next(struct strmap_entry *e)
{
    struct strmap_node *n = ((struct strmap_node *)e)->hh.next;
    return n ? &n->entry : NULL;
}

void strmap_free(struct strmap *m)
{
    struct strmap_node *n, *tmp;
    HASH_ITER(hh, m->head, n, tmp)
    {
        void *value = n->entry.value;
        drop(m, n);
        if (m->free_value)
            m->free_value(value);
    }
}
