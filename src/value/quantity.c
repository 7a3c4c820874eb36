#include "value/quantity.h"

#include <stdio.h>
#include <string.h>

#define NANO       ((__int128)1000000000)
#define INT128_MAX ((__int128)(~(unsigned __int128)0 >> 1))
#define FORMAT     "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"

static const struct suffix {
    const char *text;
    enum quantity_form form;
    int exponent; /* of 10, or of 2 */
} suffixes[] = {
    {"n", Q_DECIMAL_SI, -9}, {"u", Q_DECIMAL_SI, -6}, {"m", Q_DECIMAL_SI, -3}, {"", Q_DECIMAL_SI, 0},
    {"k", Q_DECIMAL_SI, 3},  {"M", Q_DECIMAL_SI, 6},  {"G", Q_DECIMAL_SI, 9},  {"T", Q_DECIMAL_SI, 12},
    {"P", Q_DECIMAL_SI, 15}, {"E", Q_DECIMAL_SI, 18}, {"Ki", Q_BINARY_SI, 10}, {"Mi", Q_BINARY_SI, 20},
    {"Gi", Q_BINARY_SI, 30}, {"Ti", Q_BINARY_SI, 40}, {"Pi", Q_BINARY_SI, 50}, {"Ei", Q_BINARY_SI, 60},
};

/* The suffix "e3", "E-2": at least one digit. */
static bool parse_exponent(const char *s, int *out)
{
    if (*s != 'e' && *s != 'E')
        return false;
    s++;
    bool neg = *s == '-';
    if (*s == '-' || *s == '+')
        s++;
    if (!*s)
        return false;
    int v = 0;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        if (v < 100000)
            v = v * 10 + (*s - '0');
    }
    *out = neg ? -v : v;
    return true;
}

static bool parse_suffix(const char *s, enum quantity_form *form, int *exponent)
{
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        if (strcmp(s, suffixes[i].text) != 0)
            continue;
        *form = suffixes[i].form;
        *exponent = suffixes[i].exponent;
        return true;
    }
    *form = Q_DECIMAL_EXP;
    return parse_exponent(s, exponent);
}

/* Digits as an integer times 10^-scale. Digits beyond what fits are dropped but for their being there (sticky), which
 * only matters to rounding up. */
struct digits {
    unsigned __int128 mant;
    int scale;
    bool sticky, any, big;
};

static void take_digits(struct digits *d, const char *s, size_t n, bool fraction)
{
    const unsigned __int128 room = (unsigned __int128)1 << 120;
    for (size_t i = 0; i < n; i++) {
        d->any = true;
        if (d->mant >= room / 10) {
            d->sticky |= fraction && s[i] != '0';
            d->big |= !fraction;
            continue;
        }
        d->mant = d->mant * 10 + (unsigned)(s[i] - '0');
        d->scale += fraction;
    }
}

/* mant * 10^power as an integer, rounded up. False when above the range. */
static bool scale_ten(struct digits *d, int power, __int128 *out)
{
    unsigned __int128 v = d->mant;
    for (; power > 0 && v; power--)
        if (__builtin_mul_overflow(v, (unsigned __int128)10, &v))
            return false;
    bool rest = d->sticky;
    for (; power < 0 && v; power++) {
        rest |= v % 10 != 0;
        v /= 10;
    }
    v += rest;
    if (v > (unsigned __int128)INT128_MAX)
        return false;
    *out = (__int128)v;
    return true;
}

/* mant * 10^-scale * 2^exponent in nano units. Capped at 2^63 - 1 units, as Go's reader caps binary ones. */
static void scale_binary(struct digits *d, int exponent, __int128 *out)
{
    const __int128 cap = (__int128)INT64_MAX * NANO;
    /* Whole and fraction apart, so that the product fits: whole < 2^63 or capped; the fraction is below one. */
    unsigned __int128 ten = 1;
    for (int i = 0; i < d->scale; i++)
        ten *= 10;
    unsigned __int128 whole = d->mant / ten, frac = d->mant % ten;
    if (d->big || whole >> (63 - exponent)) {
        *out = cap;
        return;
    }
    unsigned __int128 v = (whole << exponent) * (unsigned __int128)NANO;
    bool rest = d->sticky;
    /* frac / ten * 2^exponent * 10^9, digit by digit of base 2 and 10 so as not to overflow: ten < 2^120 / 10. */
    unsigned __int128 num = frac, acc = 0;
    for (int i = 0; i < exponent; i++) {
        num *= 2;
        acc = acc * 2 + num / ten;
        num %= ten;
    }
    for (int i = 0; i < 9; i++) {
        num *= 10;
        acc = acc * 10 + num / ten;
        num %= ten;
    }
    rest |= num != 0;
    v += acc + rest;
    *out = v > (unsigned __int128)cap ? cap : (__int128)v;
}

int quantity_parse(const char *s, struct quantity *q, struct err *err)
{
    if (!s || !*s)
        return err_set(err, ERR_INVALID, "quantity \"\": " FORMAT);
    const char *p = s;
    bool neg = *p == '-';
    if (*p == '-' || *p == '+')
        p++;
    struct digits d = {0};
    size_t n = strspn(p, "0123456789");
    take_digits(&d, p, n, false);
    p += n;
    if (*p == '.') {
        n = strspn(++p, "0123456789");
        take_digits(&d, p, n, true);
        p += n;
    }
    int exponent;
    enum quantity_form form;
    if (!d.any || !parse_suffix(p, &form, &exponent))
        return err_set(err, ERR_INVALID, "quantity \"%.64s\": " FORMAT, s);
    __int128 nano;
    if (form == Q_BINARY_SI)
        scale_binary(&d, exponent, &nano);
    else if (d.big || !scale_ten(&d, exponent - d.scale + 9, &nano))
        return err_set(err, ERR_INVALID, "quantity \"%.64s\" is out of range", s);
    if (form == Q_BINARY_SI && nano > 0 && nano < NANO)
        form = Q_DECIMAL_SI;
    q->nano = neg ? -nano : nano;
    q->form = form;
    return 0;
}

bool quantity_text_kept(const char *s)
{
    if (strcmp(s, "0") == 0)
        return true;
    s += *s == '+' || *s == '-';
    s += strspn(s, "0");
    size_t whole = strspn(s, "0123456789"), dot = s[whole] == '.', fraction = dot ? strspn(s + whole + 1, "0123456789") : 0;
    char digits[20];
    if (whole + fraction == 0 || whole + fraction > 18)
        return false;
    memcpy(digits, s, whole);
    memcpy(digits + whole, s + whole + dot, fraction);
    size_t n = whole + fraction;
    digits[n] = '\0';
    enum quantity_form form;
    int exponent;
    if (!parse_suffix(s + n + dot, &form, &exponent))
        return false;
    if (form == Q_BINARY_SI) /* as long as it is exact; a multiple of 8 may be one of 1024 */
        return !fraction && 14 - (int)n - exponent * 3 / 10 >= 0 &&
               (digits[n - 1] - '0' + 10 * (n > 1 ? digits[n - 2] - '0' : 0) + 100 * (n > 2 ? digits[n - 3] - '0' : 0)) % 8 != 0;
    int scale = exponent - (int)fraction;
    return scale >= -9 && scale % 3 == 0 && digits[0] != '0' && !(n >= 3 && strcmp(digits + n - 3, "000") == 0);
}

/* ---- canonical text ------------------------------------------------------------------------------------------- */

static void print_u128(unsigned __int128 v, char out[48])
{
    char tmp[48];
    size_t i = sizeof tmp;
    tmp[--i] = 0;
    do {
        tmp[--i] = (char)('0' + (int)(v % 10));
        v /= 10;
    } while (v);
    memcpy(out, tmp + i, sizeof tmp - i);
}

/* The largest unit in which the value is whole: a power of 1000 down to nano. */
static const char *decimal_unit(unsigned __int128 *v, bool exp, char text[16])
{
    int exponent = -9;
    while (exponent < (exp ? 27 : 18) && *v % 1000 == 0) {
        *v /= 1000;
        exponent += 3;
    }
    if (exp) {
        text[0] = 0;
        if (exponent)
            snprintf(text, 16, "e%d", exponent);
        return text;
    }
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (suffixes[i].form == Q_DECIMAL_SI && suffixes[i].exponent == exponent)
            return suffixes[i].text;
    return "";
}

static const char *binary_unit(unsigned __int128 *v)
{
    int exponent = 0;
    *v /= (unsigned __int128)NANO;
    while (exponent < 60 && *v % 1024 == 0) {
        *v /= 1024;
        exponent += 10;
    }
    for (size_t i = 0; i < ARRAY_LEN(suffixes) && exponent; i++)
        if (suffixes[i].form == Q_BINARY_SI && suffixes[i].exponent == exponent)
            return suffixes[i].text;
    return "";
}

char *quantity_format(const struct quantity *q, char out[QUANTITY_TEXT_MAX])
{
    if (q->nano == 0)
        return strcpy(out, "0");
    unsigned __int128 v = q->nano < 0 ? -(unsigned __int128)q->nano : (unsigned __int128)q->nano;
    char digits[48], exp[16];
    /* Binary units only for whole numbers from 1024 on: nothing is rounded for the sake of a form. */
    bool binary = q->form == Q_BINARY_SI && v >= 1024 * (unsigned __int128)NANO && v % (unsigned __int128)NANO == 0;
    const char *unit = binary ? binary_unit(&v) : decimal_unit(&v, q->form == Q_DECIMAL_EXP, exp);
    print_u128(v, digits);
    snprintf(out, QUANTITY_TEXT_MAX, "%s%s%s", q->nano < 0 ? "-" : "", digits, unit);
    return out;
}

/* ---- arithmetic ----------------------------------------------------------------------------------------------- */

int quantity_cmp(const struct quantity *a, const struct quantity *b) { return (a->nano > b->nano) - (a->nano < b->nano); }

void quantity_add(struct quantity *a, const struct quantity *b)
{
    __int128 sum;
    if (__builtin_add_overflow(a->nano, b->nano, &sum))
        sum = a->nano < 0 ? -INT128_MAX : INT128_MAX;
    if (a->nano == 0)
        a->form = b->form;
    a->nano = sum;
}

/* Away from zero, as Go's ScaledValue. */
static int64_t rounded(__int128 nano, __int128 unit)
{
    __int128 v = nano / unit;
    if (nano % unit)
        v += nano > 0 ? 1 : -1;
    return v > INT64_MAX ? INT64_MAX : v < INT64_MIN ? INT64_MIN : (int64_t)v;
}

int64_t quantity_value(const struct quantity *q) { return rounded(q->nano, NANO); }
int64_t quantity_milli(const struct quantity *q) { return rounded(q->nano, 1000000); }
