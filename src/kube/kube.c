#include "kube/kube.h"

#include <stdlib.h>

void kube_list_free(struct kube_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        json_unref(l->items[i]);
    free(l->items);
    free(l->resource_version);
    free(l->continue_token);
    *l = (struct kube_list){0};
}
