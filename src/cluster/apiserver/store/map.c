#include "cluster/apiserver/store/map.h"

#include <stdlib.h>
#include <string.h>

/* The last chunk whose first key is <= key (0 when there is none). */
static size_t chunk_for(const struct map *m, const char *key)
{
    size_t lo = 1, hi = m->n_chunks; /* the first chunk, which may be empty for a moment, is never looked into */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (strcmp(m->chunks[mid]->v[0]->key, key) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo - 1;
}

/* The first index in the chunk with a key >= key. */
static size_t index_in(const struct map_chunk *c, const char *key, bool *found)
{
    size_t lo = 0, hi = c->n;
    *found = false;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int d = strcmp(c->v[mid]->key, key);
        if (d == 0) {
            *found = true;
            return mid;
        }
        if (d < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct store_obj *map_get(const struct map *m, const char *key)
{
    if (!m->n_chunks)
        return NULL;
    const struct map_chunk *c = m->chunks[chunk_for(m, key)];
    bool found;
    size_t i = index_in(c, key, &found);
    return found ? c->v[i] : NULL;
}

static void insert_chunk(struct map *m, size_t at, struct map_chunk *c)
{
    if (m->n_chunks == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 4;
        m->chunks = xreallocarray(m->chunks, m->cap, sizeof(*m->chunks));
    }
    memmove(m->chunks + at + 1, m->chunks + at, (m->n_chunks - at) * sizeof(*m->chunks));
    m->chunks[at] = c;
    m->n_chunks++;
}

struct store_obj *map_put(struct map *m, struct store_obj *o)
{
    if (!m->n_chunks)
        insert_chunk(m, 0, xcalloc(1, sizeof(struct map_chunk)));
    size_t ci = chunk_for(m, o->key);
    struct map_chunk *c = m->chunks[ci];
    bool found;
    size_t i = index_in(c, o->key, &found);
    if (found) {
        struct store_obj *old = c->v[i];
        c->v[i] = o;
        return old;
    }
    if (c->n == MAP_CHUNK) {
        /* Keys often come in ascending order: then the full chunk stays full and the new one starts empty. */
        size_t keep = i == c->n && ci + 1 == m->n_chunks ? c->n : c->n / 2;
        struct map_chunk *next = xcalloc(1, sizeof(*next));
        next->n = c->n - keep;
        memcpy(next->v, c->v + keep, next->n * sizeof(*c->v));
        c->n = keep;
        insert_chunk(m, ci + 1, next);
        if (i >= keep) {
            c = next;
            i -= keep;
        }
    }
    memmove(c->v + i + 1, c->v + i, (c->n - i) * sizeof(*c->v));
    c->v[i] = o;
    c->n++;
    m->count++;
    return NULL;
}

static void remove_chunk(struct map *m, size_t at)
{
    free(m->chunks[at]);
    memmove(m->chunks + at, m->chunks + at + 1, (m->n_chunks - at - 1) * sizeof(*m->chunks));
    m->n_chunks--;
}

struct store_obj *map_del(struct map *m, const char *key)
{
    if (!m->n_chunks)
        return NULL;
    size_t ci = chunk_for(m, key);
    struct map_chunk *c = m->chunks[ci];
    bool found;
    size_t i = index_in(c, key, &found);
    if (!found)
        return NULL;
    struct store_obj *old = c->v[i];
    memmove(c->v + i, c->v + i + 1, (c->n - i - 1) * sizeof(*c->v));
    c->n--;
    m->count--;
    if (c->n == 0) {
        remove_chunk(m, ci);
    } else if (ci + 1 < m->n_chunks && c->n + m->chunks[ci + 1]->n <= MAP_CHUNK / 2) {
        struct map_chunk *next = m->chunks[ci + 1];
        memcpy(c->v + c->n, next->v, next->n * sizeof(*c->v));
        c->n += next->n;
        remove_chunk(m, ci + 1);
    }
    return old;
}

struct map_pos map_seek(const struct map *m, const char *key, bool after)
{
    struct map_pos p = {0, 0};
    if (!m->n_chunks || !key)
        return p;
    bool found;
    p.chunk = chunk_for(m, key);
    p.i = index_in(m->chunks[p.chunk], key, &found);
    if (found && after)
        p.i++;
    if (p.i >= m->chunks[p.chunk]->n) {
        p.chunk++;
        p.i = 0;
    }
    return p;
}

struct store_obj *map_at(const struct map *m, struct map_pos p)
{
    return p.chunk < m->n_chunks ? m->chunks[p.chunk]->v[p.i] : NULL;
}

void map_step(const struct map *m, struct map_pos *p)
{
    if (p->chunk < m->n_chunks && ++p->i >= m->chunks[p->chunk]->n) {
        p->chunk++;
        p->i = 0;
    }
}

size_t map_rank(const struct map *m, struct map_pos p)
{
    size_t n = p.i;
    for (size_t i = 0; i < p.chunk && i < m->n_chunks; i++)
        n += m->chunks[i]->n;
    return n;
}

void map_free(struct map *m)
{
    for (size_t ci = 0; ci < m->n_chunks; ci++) {
        for (size_t i = 0; i < m->chunks[ci]->n; i++)
            store_obj_unref(m->chunks[ci]->v[i]);
        free(m->chunks[ci]);
    }
    free(m->chunks);
    *m = (struct map){0};
}
