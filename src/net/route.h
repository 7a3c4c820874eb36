/* route.h - a table of routes compiled to a trie of path segments. Private to net/.
 *
 * Matching walks the segments of a path; in each, a literal wins over "{id}:verb", that over "{id}", and that over "{rest...}";
 * where the better choice leads nowhere, the next is tried. The depth of the search is bounded by the depth of the table, which
 * is ours. */
#ifndef TM_NET_ROUTE_H
#define TM_NET_ROUTE_H

#include "net/http.h"

#define ROUTE_MAX_PARAMS 16

struct route_table;
/* The routes must outlive the table. A malformed pattern, or two routes that cannot be told apart, is an assert: tables are ours.
 */
struct route_table *route_table_new(const struct route *routes, size_t n);
void route_table_free(struct route_table *t);

enum route_result { ROUTE_FOUND, ROUTE_NONE /* 404 */, ROUTE_METHOD /* 405 */ };
struct route_match {
    const struct route *route;
    unsigned allowed; /* with ROUTE_METHOD: the methods that the path has */
    size_t n;
    struct {
        const char *name; /* NUL-terminated, of the table */
        const char *p;    /* a part of the path, still percent-encoded */
        size_t len;
    } params[ROUTE_MAX_PARAMS];
};
/* path starts with '/' and has no query. HEAD finds the GET route where there is none of its own. */
enum route_result route_match(const struct route_table *t, enum http_method method, const char *path, struct route_match *m);

#endif
