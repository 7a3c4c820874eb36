#include "data/blob_xml.h"

#include <expat.h>
#include <stdlib.h>

#include "data/blob_priv.h"

enum { DEPTH_MAX = 16, TEXT_MAX = 64 << 10, KEYS_MAX = 10000 };

struct reader {
    struct s3_answer *a;
    XML_Parser xml;
    char *path[DEPTH_MAX];
    int depth;
    struct buf text;
    char *key; /* of the <Contents> that is being read */
    int64_t size;
    const char *wrong;
};

/* Names may carry a namespace prefix. */
static const char *plain(const char *name)
{
    const char *colon = strrchr(name, ':');
    return colon ? colon + 1 : name;
}

static void stop(struct reader *r, const char *why)
{
    if (!r->wrong)
        r->wrong = why;
    XML_StopParser(r->xml, XML_FALSE);
}

static void XMLCALL on_start(void *self, const char *name, const char **attributes)
{
    struct reader *r = self;
    if (r->depth == DEPTH_MAX) {
        stop(r, "its elements are nested too deeply");
        return;
    }
    r->path[r->depth++] = xstrdup(plain(name));
    buf_reset(&r->text);
}

static void XMLCALL on_text(void *self, const char *p, int n)
{
    struct reader *r = self;
    if (r->text.len + (size_t)n > TEXT_MAX)
        stop(r, "one of its texts is too long");
    else
        buf_add(&r->text, p, (size_t)n);
}

static void take(struct reader *r, char **to)
{
    free(*to);
    *to = xstrdup(buf_str(&r->text));
}

static void end_of_contents(struct reader *r)
{
    if (r->a->page.n >= KEYS_MAX)
        stop(r, "it lists more keys than were asked for");
    else if (r->key)
        blob_page_add(&r->a->page, TAKE(r->key), r->size);
    free(TAKE(r->key));
    r->size = 0;
}

/* An element below the document's own, by its name and its parent's. */
static void member(struct reader *r, const char *in, const char *name)
{
    static const struct {
        const char *in, *name;
        size_t at;
    } texts[] = {
        {"Error", "Code", offsetof(struct s3_answer, code)},
        {"Error", "Message", offsetof(struct s3_answer, message)},
        {"Error", "Region", offsetof(struct s3_answer, region)},
        {"InitiateMultipartUploadResult", "UploadId", offsetof(struct s3_answer, upload_id)},
        {"CompleteMultipartUploadResult", "ETag", offsetof(struct s3_answer, etag)},
        {"Credentials", "AccessKeyId", offsetof(struct s3_answer, access_key)},
        {"Credentials", "SecretAccessKey", offsetof(struct s3_answer, secret_key)},
        {"Credentials", "SessionToken", offsetof(struct s3_answer, session_token)},
        {"Credentials", "Expiration", offsetof(struct s3_answer, expiration)},
    };
    for (size_t k = 0; k < ARRAY_LEN(texts); k++)
        if (str_eq(in, texts[k].in) && str_eq(name, texts[k].name))
            take(r, (char **)((char *)r->a + texts[k].at));
    if (str_eq(in, "ListBucketResult")) {
        if (str_eq(name, "IsTruncated"))
            r->a->truncated = str_eq(buf_str(&r->text), "true");
        else if (str_eq(name, "NextContinuationToken"))
            take(r, &r->a->page.next);
        else if (str_eq(name, "Contents"))
            end_of_contents(r);
    } else if (str_eq(in, "Contents")) {
        if (str_eq(name, "Key"))
            take(r, &r->key);
        else if (str_eq(name, "Size") && (!str_to_i64(buf_str(&r->text), &r->size) || r->size < 0))
            stop(r, "a size in it is no number");
    }
}

static void XMLCALL on_end(void *self, const char *name)
{
    struct reader *r = self;
    if (r->depth == 0)
        return;
    char *own = r->path[--r->depth];
    if (r->depth > 0)
        member(r, r->path[r->depth - 1], own);
    buf_reset(&r->text);
    free(own);
}

/* Documents with a DTD could define entities; no store sends one. */
static void XMLCALL on_doctype(void *self, const char *name, const char *system, const char *public_id, int internal)
{
    stop(self, "it has a document type");
}

int s3_answer_parse(const char *text, size_t n, struct s3_answer *out, struct err *err)
{
    *out = (struct s3_answer){0};
    struct reader r = {.a = out, .xml = XML_ParserCreate("UTF-8")};
    ASSERT(r.xml);
    XML_SetUserData(r.xml, &r);
    XML_SetElementHandler(r.xml, on_start, on_end);
    XML_SetCharacterDataHandler(r.xml, on_text);
    XML_SetStartDoctypeDeclHandler(r.xml, on_doctype);
    bool ok = n < INT32_MAX && XML_Parse(r.xml, text, (int)n, 1) == XML_STATUS_OK && !r.wrong;
    const char *why = r.wrong ? r.wrong : XML_ErrorString(XML_GetErrorCode(r.xml));
    if (!ok)
        err_set(err, ERR_IO, "the store's answer is not the XML that S3 speaks: %s", why ? why : "too long");
    XML_ParserFree(r.xml);
    while (r.depth > 0)
        free(r.path[--r.depth]);
    buf_free(&r.text);
    free(r.key);
    if (ok)
        return 0;
    s3_answer_clear(out);
    return -1;
}

void s3_answer_clear(struct s3_answer *a)
{
    free(a->code);
    free(a->message);
    free(a->region);
    free(a->upload_id);
    free(a->etag);
    blob_page_clear(&a->page);
    free(a->access_key);
    free(a->secret_key);
    free(a->session_token);
    free(a->expiration);
    *a = (struct s3_answer){0};
}
