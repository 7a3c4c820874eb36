/* page.h - the start page: what is running here, in plain HTML without scripts. */
#ifndef TM_GATEWAY_PAGE_H
#define TM_GATEWAY_PAGE_H

#include "base/buf.h"
#include "value/json.h"

/* Appends a whole HTML document made of the object that gateway_config.describe fills (docs/architecture.md, "status"). */
void page_render(jval *status, struct buf *out);

#endif
