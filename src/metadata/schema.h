/* schema.h - the tables of tidemill.db, numbered in one place.
 *
 * A component that needs tables appends a migration to the list in schema.c, with the next number, its SQL in a file of its own
 * beside it; a migration that was released is never changed. */
#ifndef TM_METADATA_SCHEMA_H
#define TM_METADATA_SCHEMA_H

#include "data/sql.h"

extern const struct migration tidemill_migrations[];
extern const size_t n_tidemill_migrations;

#endif
