#include "pipelines/api/multipart.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

enum { BOUNDARY_MAX = 70, PARTS_MAX = 100, PART_HEADER_MAX = 16384 };

/* The value of a parameter of a header such as `form-data; name="x"; filename="y"`. NULL when absent. Caller frees. */
static char *header_param(const char *header, const char *name)
{
    size_t len = strlen(name);
    const char *p = strchr(header, ';');
    while (p) {
        p++;
        p += strspn(p, " \t");
        bool ours = strncasecmp(p, name, len) == 0 && p[len] == '=';
        const char *v = strchr(p, '=');
        if (!v)
            return NULL;
        v++;
        BUF(value);
        if (*v == '"') {
            for (v++; *v && *v != '"'; v++) {
                if (*v == '\\' && v[1])
                    v++;
                buf_addc(&value, *v);
            }
        } else {
            size_t n = strcspn(v, "; \t");
            buf_add(&value, v, n);
            v += n;
        }
        if (ours)
            return buf_steal(&value, NULL);
        p = strchr(v, ';');
    }
    return NULL;
}

/* filename, or filename* in RFC 5987 form (UTF-8''%41). Caller frees; NULL: none. */
static char *part_file_name(const char *disposition)
{
    AUTOFREE char *extended = header_param(disposition, "filename*");
    char *plain = NULL;
    if (extended && strncasecmp(extended, "utf-8'", 6) == 0) {
        const char *quote = strchr(extended + 6, '\'');
        if (quote && url_decode(quote + 1, strlen(quote + 1), false, &plain) == 0)
            return plain;
    }
    return header_param(disposition, "filename");
}

static char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return xstrdup(slash ? slash + 1 : path);
}

/* The Content-Disposition of a part's header block. Caller frees; NULL: none. */
static char *disposition_of(const char *header, size_t n)
{
    static const char name[] = "content-disposition:";
    const char *end = header + n;
    while (header < end) {
        const char *eol = memchr(header, '\n', (size_t)(end - header));
        size_t line = (size_t)((eol ? eol : end) - header);
        if (line >= sizeof name - 1 && strncasecmp(header, name, sizeof name - 1) == 0) {
            const char *v = header + sizeof name - 1;
            size_t len = line - (sizeof name - 1);
            while (len > 0 && isspace((unsigned char)v[len - 1]))
                len--;
            return memchr(v, '\0', len) ? NULL : xstrndup(v, len);
        }
        header += line + 1;
    }
    return NULL;
}

struct reader {
    const char *p, *end;
    char mark[BOUNDARY_MAX + 8]; /* "\r\n--boundary" */
    size_t mark_len;
};

/* Moves behind the next delimiter line; *part_end is where the part before it ended. False at the closing one, or when there is
 * none. */
static bool next_part(struct reader *r, const char **part_end)
{
    const char *hit = memmem(r->p, (size_t)(r->end - r->p), r->mark, r->mark_len);
    *part_end = hit;
    if (!hit)
        return false;
    r->p = hit + r->mark_len;
    if (r->end - r->p >= 2 && memcmp(r->p, "--", 2) == 0)
        return false;
    const char *eol = memchr(r->p, '\n', (size_t)(r->end - r->p));
    r->p = eol ? eol + 1 : r->end;
    return eol != NULL;
}

static int bad(struct err *err, const char *why)
{
    return err_set(err, ERR_INVALID, "Failed to read pipeline from file: %s", why);
}

static int start_reading(const char *content_type, const char *body, size_t n, struct reader *r, struct err *err)
{
    if (!content_type || strncasecmp(content_type, "multipart/form-data", 19) != 0)
        return bad(err, "the request is not multipart/form-data");
    AUTOFREE char *boundary = header_param(content_type, "boundary");
    size_t len = boundary ? strlen(boundary) : 0;
    if (len == 0 || len > BOUNDARY_MAX)
        return bad(err, "Content-Type has no boundary, or one of more than 70 characters");
    *r = (struct reader){.p = body, .end = body + n, .mark_len = len + 4};
    memcpy(r->mark, "\r\n--", 4);
    memcpy(r->mark + 4, boundary, len);
    /* The first delimiter may stand at the very start, without a line end before it. */
    if (n >= len + 2 && memcmp(body, r->mark + 2, len + 2) == 0) {
        const char *eol = memchr(body, '\n', n);
        r->p = eol ? eol + 1 : r->end;
        return 0;
    }
    const char *ignored;
    return next_part(r, &ignored) ? 0 : bad(err, "the body has no part");
}

int multipart_file(const char *content_type, const char *body, size_t n, const char *field, char **file_name, const char **data,
                   size_t *data_len, struct err *err)
{
    struct reader r;
    *file_name = NULL;
    if (start_reading(content_type, body, n, &r, err) < 0)
        return -1;
    for (int i = 0; i < PARTS_MAX; i++) {
        const char *header = r.p, *blank = memmem(r.p, (size_t)(r.end - r.p), "\r\n\r\n", 4);
        if (!blank || blank - header > PART_HEADER_MAX)
            return bad(err, "a part of the body has no header");
        r.p = blank + 2; /* so that an empty part's delimiter, which starts with the blank line's end, is found */
        const char *content = blank + 4, *end;
        bool more = next_part(&r, &end);
        if (!end)
            return bad(err, "the body ends in the middle of a part");
        AUTOFREE char *disposition = disposition_of(header, (size_t)(blank - header));
        AUTOFREE char *name = disposition ? header_param(disposition, "name") : NULL;
        AUTOFREE char *file = disposition ? part_file_name(disposition) : NULL;
        if (str_eq(name, field) && file) {
            *file_name = base_name(file);
            *data = content;
            *data_len = end > content ? (size_t)(end - content) : 0;
            return 0;
        }
        if (!more)
            return err_set(err, ERR_INVALID, "Failed to read pipeline from file: there is no file part named \"%s\"", field);
    }
    return bad(err, "the body has more than 100 parts");
}
