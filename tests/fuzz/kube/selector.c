/* Selectors as text and as objects, against an object: no crash, and what has been parsed says itself in words that parse again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "kube/selector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *text = xstrndup((const char *)data, size);
    struct json_opts opts = {.max_depth = 64};
    JSON_REF(doc) = json_parse(text, strlen(text), &opts, NULL);
    struct label_selector *s = doc ? label_selector_from(json_root(doc), NULL) : label_selector_parse(text, NULL);
    if (s) {
        label_selector_selects(s, json_root(doc));
        AUTOFREE char *again = label_selector_text(s);
        struct label_selector *t = doc ? NULL : label_selector_parse(again, NULL);
        ASSERT(t || doc);
        label_selector_free(t);
    }
    struct field_selector *f = field_selector_parse(text, field_labels_of("", "Pod"), NULL);
    field_selector_matches(f, json_root(doc));
    field_selector_free(f);
    label_selector_free(s);
    return 0;
}
