/* page.c - see page.h. Everything that comes from outside goes through text(). */
#include "gateway/page.h"

#include <string.h>

static void text(struct buf *out, const char *s)
{
    for (; s && *s; s++) {
        switch (*s) {
        case '<':
            buf_adds(out, "&lt;");
            break;
        case '>':
            buf_adds(out, "&gt;");
            break;
        case '&':
            buf_adds(out, "&amp;");
            break;
        case '"':
            buf_adds(out, "&quot;");
            break;
        case '\'':
            buf_adds(out, "&#39;");
            break;
        default:
            buf_addc(out, *s);
        }
    }
}

static void value(struct buf *out, jval *v)
{
    if (jv_is(v, J_STRING))
        text(out, jv_str(v));
    else
        jv_write(v, JW_COMPACT, out);
}

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>tidemill</title>\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>\n"
    ":root{color-scheme:light dark;--line:#8884;--dim:#888;--good:#2a8;--bad:#c44;--run:#38c}\n"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2.5rem auto;padding:0 1.2rem}\n"
    "h1{font-size:1.7rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .4rem}p.dim,.dim{color:var(--dim)}\n"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.35rem .8rem .35rem 0;border-bottom:1px solid "
    "var(--line);vertical-align:top}\n"
    "th{font-weight:600;color:var(--dim);font-size:.85rem}code,pre{font:13px/1.5 ui-monospace,monospace}\n"
    "pre{background:#8881;padding:.7rem 1rem;border-radius:6px;overflow-x:auto}\n"
    ".SUCCEEDED,.ok{color:var(--good)}.FAILED,.CANCELED,.bad{color:var(--bad)}.RUNNING,.PENDING,.CANCELING{color:var(--run)}\n"
    "</style></head><body>\n";

/* Rows "name | state | detail" of the parts that run. */
static void parts(jval *list, struct buf *out)
{
    jval *p;
    buf_adds(out, "<h2>What is running</h2>\n<table><tr><th>part</th><th>state</th><th></th></tr>\n");
    for (struct jiter it = jv_iter(list); jv_next(&it, NULL, &p);) {
        bool ok = jv_bool(jv_get(p, "ok"), false);
        buf_adds(out, "<tr><td>");
        value(out, jv_get(p, "name"));
        buf_addf(out, "</td><td class=\"%s\">", ok ? "ok" : "bad");
        value(out, jv_get(p, "state"));
        buf_adds(out, "</td><td class=\"dim\">");
        value(out, jv_get(p, "detail"));
        buf_adds(out, "</td></tr>\n");
    }
    buf_adds(out, "</table>\n");
}

static void runs(jval *list, struct buf *out)
{
    jval *r;
    buf_adds(out, "<h2>Latest runs</h2>\n");
    if (!jv_len(list)) {
        buf_adds(out,
                 "<p class=\"dim\">None yet. <code>python3 examples/cancer_sweep.py</code> writes a pipeline, <code>tidemill run "
                 "cancer_sweep.yaml --watch</code> runs it; or submit one with the <code>kfp</code> SDK.</p>\n");
        return;
    }
    buf_adds(out, "<table><tr><th>run</th><th>state</th><th>started</th><th>took</th><th>id</th></tr>\n");
    for (struct jiter it = jv_iter(list); jv_next(&it, NULL, &r);) {
        buf_adds(out, "<tr><td>");
        value(out, jv_get(r, "name"));
        buf_adds(out, "</td><td class=\"");
        value(out, jv_get(r, "state"));
        buf_adds(out, "\">");
        value(out, jv_get(r, "state"));
        buf_adds(out, "</td><td>");
        value(out, jv_get(r, "created"));
        buf_adds(out, "</td><td>");
        value(out, jv_get(r, "took"));
        buf_adds(out, "</td><td class=\"dim\"><code>");
        value(out, jv_get(r, "id"));
        buf_adds(out, "</code></td></tr>\n");
    }
    buf_adds(out, "</table>\n");
}

void page_render(jval *status, struct buf *out)
{
    buf_adds(out, head);
    buf_adds(out, "<h1>tidemill</h1>\n<p class=\"dim\">version ");
    value(out, jv_get(status, "version"));
    buf_adds(out, ", up ");
    value(out, jv_get(status, "uptime"));
    buf_adds(out, ", process ");
    value(out, jv_get(status, "pid"));
    buf_adds(out, "</p>\n");
    parts(jv_get(status, "parts"), out);
    runs(jv_get(status, "runs"), out);
    buf_adds(out, "<h2>How to reach it</h2>\n<pre>");
    buf_adds(out, "kfp.Client(host=\"");
    value(out, jv_get(status, "url"));
    buf_adds(out, "\")\nkubectl --kubeconfig ");
    value(out, jv_get(status, "kubeconfig"));
    buf_adds(out, " get pods -A</pre>\n</body></html>\n");
}
