#include "net/parse.h"

#include <stdlib.h>
#include <string.h>

#include <llhttp.h>

#include "base/buf.h"

#define METHOD_MAX 32

struct field {
    size_t name, value; /* offsets into text */
};

struct h1 {
    llhttp_t ll;
    struct h1_limits limits;
    const struct h1_ops *ops;
    void *self;
    struct buf text; /* target, names and values, each with its NUL */
    struct field *fields;
    size_t n_fields, cap_fields;
    size_t head_bytes; /* counted against limits.max_bytes */
    size_t target_len;
    enum { LINE, CR, LINE_END, BLANK_CR, HEAD_END } eol; /* where the head stands, see strict_lines */
    bool in_name, head_done, no_body, done, stopped;
    bool method_done;
    char method[METHOD_MAX + 1]; /* of a request, as sent */
    size_t method_len;
    bool keep_alive, has_body;
    int64_t content_length;
    int status;
    const char *reason;
};

static int refuse(struct h1 *h, int status, const char *reason)
{
    h->status = status;
    h->reason = reason;
    return HPE_USER;
}

static int count(struct h1 *h, size_t n)
{
    h->head_bytes += n;
    if (h->head_bytes > h->limits.max_bytes)
        return refuse(h, 431, "the header fields are too large");
    return 0;
}

static int on_url(llhttp_t *ll, const char *p, size_t n)
{
    struct h1 *h = ll->data;
    h->target_len += n;
    if (h->target_len > h->limits.max_url)
        return refuse(h, 414, "the request target is too long");
    if (count(h, n))
        return HPE_USER;
    buf_add(&h->text, p, n);
    return 0;
}

static int on_url_complete(llhttp_t *ll)
{
    struct h1 *h = ll->data;
    buf_addc(&h->text, '\0');
    return 0;
}

static int on_name(llhttp_t *ll, const char *p, size_t n)
{
    struct h1 *h = ll->data;
    if (count(h, n))
        return HPE_USER;
    if (h->head_done)
        return 0; /* trailers are counted and dropped */
    if (h->n_fields == h->cap_fields) {
        h->cap_fields = h->cap_fields ? h->cap_fields * 2 : 16;
        h->fields = xreallocarray(h->fields, h->cap_fields, sizeof *h->fields);
    }
    if (!h->in_name) {
        h->fields[h->n_fields].name = h->text.len;
        h->in_name = true;
    }
    size_t at = h->text.len;
    buf_add(&h->text, p, n);
    for (char *c = h->text.data + at; c < h->text.data + h->text.len; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c += 'a' - 'A';
    return 0;
}

static int on_name_complete(llhttp_t *ll)
{
    struct h1 *h = ll->data;
    if (h->head_done)
        return 0;
    if (h->n_fields >= h->limits.max_fields)
        return refuse(h, 431, "there are too many header fields");
    if (!h->in_name || h->fields[h->n_fields].name == h->text.len)
        return refuse(h, 400, "a header field has no name");
    buf_addc(&h->text, '\0');
    h->fields[h->n_fields].value = h->text.len;
    h->in_name = false;
    return count(h, 4);
}

static int on_value(llhttp_t *ll, const char *p, size_t n)
{
    struct h1 *h = ll->data;
    if (count(h, n))
        return HPE_USER;
    if (!h->head_done)
        buf_add(&h->text, p, n);
    return 0;
}

static int on_value_complete(llhttp_t *ll)
{
    struct h1 *h = ll->data;
    if (h->head_done)
        return 0;
    struct buf *t = &h->text;
    size_t start = h->fields[h->n_fields].value;
    while (t->len > start && (t->data[t->len - 1] == ' ' || t->data[t->len - 1] == '\t'))
        t->len--;
    buf_addc(t, '\0');
    h->n_fields++;
    return 0;
}

static int on_head_complete(llhttp_t *ll)
{
    struct h1 *h = ll->data;
    h->head_done = true;
    if (ll->http_major != 1 || ll->http_minor > 1)
        return refuse(h, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here"), -1;
    if (ll->flags & F_CONTENT_LENGTH && ll->content_length > INT64_MAX)
        return refuse(h, 400, "Content-Length is too large"), -1;
    h->content_length = ll->flags & F_CONTENT_LENGTH ? (int64_t)ll->content_length : -1;
    h->keep_alive = llhttp_should_keep_alive(ll);
    h->has_body = !h->no_body && (ll->flags & F_CHUNKED || (ll->flags & F_CONTENT_LENGTH && ll->content_length > 0) ||
                                  llhttp_message_needs_eof(ll));
    if (h->ops->on_head(h->self) < 0) {
        h->stopped = true;
        return -1;
    }
    return h->no_body ? 1 : 0;
}

static int on_body(llhttp_t *ll, const char *p, size_t n)
{
    struct h1 *h = ll->data;
    if (h->ops->on_body(h->self, p, n) < 0) {
        h->stopped = true;
        return HPE_USER;
    }
    return 0;
}

static int on_chunk_extension(llhttp_t *ll, const char *p, size_t n) { return count(ll->data, n); }

static int on_complete(llhttp_t *ll)
{
    struct h1 *h = ll->data;
    h->done = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_url_complete = on_url_complete,
    .on_header_field = on_name,
    .on_header_field_complete = on_name_complete,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_head_complete,
    .on_body = on_body,
    .on_chunk_extension_name = on_chunk_extension,
    .on_chunk_extension_value = on_chunk_extension,
    .on_message_complete = on_complete,
};

static struct h1 *h1_new(llhttp_type_t type, const struct h1_limits *limits, const struct h1_ops *ops, void *self)
{
    struct h1 *h = xcalloc(1, sizeof *h);
    h->limits = *limits;
    h->ops = ops;
    h->self = self;
    h->ll.type = type;
    h1_reset(h, false);
    return h;
}

struct h1 *h1_request_new(const struct h1_limits *limits, const struct h1_ops *ops, void *self)
{
    return h1_new(HTTP_REQUEST, limits, ops, self);
}

struct h1 *h1_response_new(const struct h1_limits *limits, const struct h1_ops *ops, void *self)
{
    return h1_new(HTTP_RESPONSE, limits, ops, self);
}

void h1_free(struct h1 *h)
{
    if (!h)
        return;
    buf_free(&h->text);
    free(h->fields);
    free(h);
}

/* Gives the memory back as well: an idle connection should hold as little as can be. */
void h1_reset(struct h1 *h, bool no_body)
{
    buf_free(&h->text);
    free(h->fields);
    h->fields = NULL;
    h->n_fields = h->cap_fields = h->head_bytes = h->target_len = 0;
    h->method_len = 0;
    h->method_done = h->ll.type == HTTP_RESPONSE;
    h->in_name = h->head_done = h->done = h->stopped = h->keep_alive = h->has_body = false;
    h->eol = LINE;
    h->no_body = no_body;
    h->content_length = -1;
    h->status = 0;
    h->reason = NULL;
    llhttp_init(&h->ll, h->ll.type, &settings);
    h->ll.data = h;
}

static const char *why(llhttp_errno_t e, const char *reason)
{
    switch (e) {
    case HPE_INVALID_METHOD:
        return "the request does not start with a known method";
    case HPE_INVALID_URL:
        return "the request target has characters that must be percent-encoded";
    case HPE_INVALID_VERSION:
    case HPE_INVALID_CONSTANT:
        return "the first line is not that of an HTTP/1.1 message";
    case HPE_INVALID_HEADER_TOKEN:
        return "a header field has characters that are not allowed";
    case HPE_INVALID_CONTENT_LENGTH:
        return "Content-Length is not one number";
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return "Content-Length and Transfer-Encoding may not be given together or twice";
    case HPE_INVALID_TRANSFER_ENCODING:
        return "Transfer-Encoding does not end with chunked";
    case HPE_INVALID_CHUNK_SIZE:
        return "the size of a chunk is not a hexadecimal number";
    case HPE_LF_EXPECTED:
    case HPE_CR_EXPECTED:
    case HPE_STRICT:
        return "lines must end with CR LF";
    default:
        return reason && *reason ? reason : "malformed HTTP";
    }
}

/* llhttp takes a lone CR or LF for the end of a line here and there, and joins lines that start with a blank (obs-fold). Another
 * server in front of us may read the same bytes differently: that is how requests are smuggled. So the lines of a request's head
 * are checked before it sees them. */
static bool strict_lines(struct h1 *h, const char *p, size_t n)
{
    for (size_t i = 0; i < n && h->eol != HEAD_END; i++) {
        char c = p[i];
        switch (h->eol) {
        case LINE_END:
            if (c == ' ' || c == '\t')
                return false;
            if (c == '\r') {
                h->eol = BLANK_CR;
                break;
            }
            __attribute__((fallthrough));
        case LINE:
            if (c == '\n')
                return false;
            h->eol = c == '\r' ? CR : LINE;
            break;
        case CR:
        case BLANK_CR:
            if (c != '\n')
                return false;
            h->eol = h->eol == CR ? LINE_END : HEAD_END;
            break;
        case HEAD_END:
            break;
        }
    }
    return true;
}

static enum h1_result feed(struct h1 *h, const char *p, size_t n, size_t *used)
{
    *used = n;
    llhttp_errno_t e = llhttp_execute(&h->ll, p, n);
    if (e == HPE_OK)
        return H1_MORE;
    if (h->done) { /* paused at the end of the message, or before another protocol */
        const char *pos = llhttp_get_error_pos(&h->ll);
        *used = pos ? (size_t)(pos - p) : n;
        ASSERT(*used <= n);
        return H1_DONE;
    }
    if (h->stopped)
        return H1_STOPPED;
    if (!h->status) {
        h->status = e == HPE_INVALID_VERSION && h->ll.http_major > 1 ? 505 : 400;
        h->reason = why(e, llhttp_get_error_reason(&h->ll));
    }
    return H1_ERROR;
}

/* llhttp knows a list of methods, and calls the others malformed. Whether a method can be used is for the API to say (405), so
 * one that we have no name for is read as if it were POST: what frames a request does not depend on it. */
static bool known(const char *method)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], method) == 0)
            return true;
    return false;
}

static bool is_token_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* Collects the method; the number of bytes that it took. */
static size_t take_method(struct h1 *h, const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && is_token_char(p[i]) && h->method_len < METHOD_MAX)
        h->method[h->method_len++] = p[i++];
    if (i == n)
        return n;
    h->method[h->method_len] = '\0';
    h->method_done = true;
    bool other = p[i] == ' ' && h->method_len && !known(h->method);
    const char *read_as = other ? "POST" : h->method;
    llhttp_execute(&h->ll, read_as, strlen(read_as));
    return i;
}

enum h1_result h1_feed(struct h1 *h, const char *p, size_t n, size_t *used)
{
    *used = n;
    if (n == 0)
        return H1_MORE;
    if (h->ll.type == HTTP_REQUEST && !strict_lines(h, p, n)) {
        refuse(h, 400, "lines must end with CR LF, and may not be folded");
        return H1_ERROR;
    }
    size_t method = h->method_done ? 0 : take_method(h, p, n);
    if (method == n)
        return H1_MORE;
    enum h1_result r = feed(h, p + method, n - method, used);
    *used += method;
    return r;
}

bool h1_finish(struct h1 *h)
{
    if (h->done)
        return true;
    llhttp_errno_t e = llhttp_finish(&h->ll);
    return h->head_done && (e == HPE_OK || h->done);
}

int h1_status(const struct h1 *h) { return h->status; }
const char *h1_reason(const struct h1 *h) { return h->reason ? h->reason : ""; }
const char *h1_method(const struct h1 *h) { return h->method; }
const char *h1_target(const struct h1 *h) { return h->target_len ? h->text.data : ""; }
int h1_code(const struct h1 *h) { return h->ll.status_code; }
int h1_minor(const struct h1 *h) { return h->ll.http_minor; }
bool h1_keep_alive(const struct h1 *h) { return h->keep_alive; }
bool h1_has_body(const struct h1 *h) { return h->has_body; }
int64_t h1_content_length(const struct h1 *h) { return h->content_length; }
size_t h1_fields(const struct h1 *h) { return h->n_fields; }

const char *h1_name(const struct h1 *h, size_t i)
{
    ASSERT(i < h->n_fields);
    return h->text.data + h->fields[i].name;
}

const char *h1_value(const struct h1 *h, size_t i)
{
    ASSERT(i < h->n_fields);
    return h->text.data + h->fields[i].value;
}
