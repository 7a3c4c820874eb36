/* answer_json.c - apart from answer.c so that who sends no JSON needs no JSON library. */
#include "net/http.h"

void http_body_json(struct http_res *res, jval *v)
{
    BUF(text);
    jv_write(v, JW_COMPACT, &text);
    http_body_buf(res, "application/json", &text);
}
