/* rules.c - limits on names and tags (spec 2.4), in upstream's words. */
#include <string.h>

#include "pipelines/api/internal.h"

enum { TAGS_MAX = 20, TAG_LETTERS_MAX = 63 };

size_t utf8_letters(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

int rule_display_name(const char *what, const char *name, struct err *err)
{
    size_t n = name ? utf8_letters(name) : 0;
    if (n > DISPLAY_NAME_LETTERS_MAX)
        return err_set(err, ERR_INVALID, "%s display_name has %zu letters, at most %d are allowed", what, n,
                       DISPLAY_NAME_LETTERS_MAX);
    return 0;
}

int rule_max_bytes(const char *field, const char *value, size_t max, struct err *err)
{
    if (value && strlen(value) > max)
        return err_set(err, ERR_INVALID, "%s length cannot exceed %zu", field, max);
    return 0;
}

static int check_tag(const char *key, const char *value, struct err *err)
{
    if (!*key)
        return err_set(err, ERR_INVALID, "tag key cannot be empty");
    if (utf8_letters(key) > TAG_LETTERS_MAX)
        return err_set(err, ERR_INVALID, "tag key \"%s\" exceeds maximum length of %d characters", key, TAG_LETTERS_MAX);
    if (strchr(key, '.'))
        return err_set(err, ERR_INVALID, "tag key \"%s\" must not contain '.' character", key);
    if (utf8_letters(value) > TAG_LETTERS_MAX)
        return err_set(err, ERR_INVALID, "tag value \"%s\" for key \"%s\" exceeds maximum length of %d characters", value, key,
                       TAG_LETTERS_MAX);
    return 0;
}

int rule_tags(jval *tags, char **text, struct err *err)
{
    *text = NULL;
    size_t n = jv_len(tags);
    if (n > TAGS_MAX)
        return err_set(err, ERR_INVALID, "number of tags (%zu) exceeds maximum of %d per entity", n, TAGS_MAX);
    struct jiter it = jv_iter(tags);
    const char *key;
    jval *value;
    while (jv_next(&it, &key, &value)) {
        if (check_tag(key, jv_str_or(value, ""), err) < 0)
            return -1;
    }
    if (n > 0)
        *text = jv_text(tags, JW_SORTED);
    return 0;
}
