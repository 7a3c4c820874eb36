/* client_answer.c - what came back: the same for the client of net/ and for the agent's small one. */
#include <stdlib.h>
#include <string.h>

#include "net/client.h"

void http_answer_free(struct http_answer *a)
{
    for (size_t i = 0; i < a->n_headers; i++) {
        free((char *)(uintptr_t)a->headers[i].name);
        free((char *)(uintptr_t)a->headers[i].value);
    }
    free(a->headers);
    buf_free(&a->body);
    *a = (struct http_answer){0};
}

const char *http_answer_header(const struct http_answer *a, const char *lower_name)
{
    for (size_t i = 0; i < a->n_headers; i++)
        if (strcmp(a->headers[i].name, lower_name) == 0)
            return a->headers[i].value;
    return NULL;
}
