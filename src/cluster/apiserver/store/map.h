/* map.h - an ordered map of objects by key: chunks of sorted pointers, a B-tree of two levels. Reads are two binary searches,
 * inserts move at most one chunk. Not thread-safe: the store's lock guards it. */
#ifndef TM_CLUSTER_APISERVER_STORE_MAP_H
#define TM_CLUSTER_APISERVER_STORE_MAP_H

#include "cluster/apiserver/store/store.h"

#define MAP_CHUNK 128
struct map_chunk {
    size_t n;
    struct store_obj *v[MAP_CHUNK];
};
struct map {
    struct map_chunk **chunks;
    size_t n_chunks, cap;
    size_t count;
};
struct map_pos {
    size_t chunk, i;
};
struct store_obj *map_get(const struct map *m, const char *key); /* borrowed */
/* Takes over the reference; returns the object that was there (now the caller's) or NULL. */
struct store_obj *map_put(struct map *m, struct store_obj *o);
struct store_obj *map_del(struct map *m, const char *key); /* the caller's reference, or NULL */
/* The first position with a key >= key (or > key when after is set); map_at gives NULL at the end. */
struct map_pos map_seek(const struct map *m, const char *key, bool after);
struct store_obj *map_at(const struct map *m, struct map_pos p);
void map_step(const struct map *m, struct map_pos *p);
size_t map_rank(const struct map *m, struct map_pos p); /* objects before the position */
void map_free(struct map *m);

#endif
