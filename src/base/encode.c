/* encode.c - base64, hex and percent-encoding; see str.h. */
#include <ctype.h>
#include <stdlib.h>

#include "base/str.h"

static const char std_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static char *encode64(const unsigned char *p, size_t n, const char *alphabet, bool pad)
{
    char *out = xmalloc((n + 2) / 3 * 4 + 1), *o = out;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
        *o++ = alphabet[v >> 18];
        *o++ = alphabet[v >> 12 & 63];
        if (left > 1)
            *o++ = alphabet[v >> 6 & 63];
        else if (pad)
            *o++ = '=';
        if (left > 2)
            *o++ = alphabet[v & 63];
        else if (pad)
            *o++ = '=';
    }
    *o = '\0';
    return out;
}

static int decode64(const char *s, size_t n, const char *alphabet, bool need_pad, unsigned char **out, size_t *out_len)
{
    signed char value[256];
    memset(value, -1, sizeof value);
    for (int i = 0; i < 64; i++)
        value[(unsigned char)alphabet[i]] = (signed char)i;
    *out = NULL;
    if (need_pad && n % 4)
        return -1;
    size_t data = n;
    while (data && n - data < 2 && s[data - 1] == '=')
        data--;
    if (data % 4 == 1 || (n != data && n % 4))
        return -1;
    unsigned char *p = xmalloc(data / 4 * 3 + 3);
    size_t len = 0;
    uint32_t acc = 0;
    int bits = 0;
    for (size_t i = 0; i < data; i++) {
        int v = value[(unsigned char)s[i]];
        if (v < 0) {
            free(p);
            return -1;
        }
        acc = acc << 6 | (uint32_t)v;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            p[len++] = (unsigned char)(acc >> bits);
        }
    }
    *out = p;
    *out_len = len;
    return 0;
}

char *base64_encode(const void *p, size_t n) { return encode64(p, n, std_alphabet, true); }
char *base64url_encode(const void *p, size_t n) { return encode64(p, n, url_alphabet, false); }

int base64_decode(const char *s, size_t n, unsigned char **out, size_t *out_len)
{
    return decode64(s, n, std_alphabet, true, out, out_len);
}

int base64url_decode(const char *s, size_t n, unsigned char **out, size_t *out_len)
{
    return decode64(s, n, url_alphabet, false, out, out_len);
}

char *hex_encode(const void *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *b = p;
    char *out = xmalloc(2 * n + 1);
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[b[i] >> 4];
        out[2 * i + 1] = digits[b[i] & 15];
    }
    out[2 * n] = '\0';
    return out;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int url_decode(const char *s, size_t n, bool plus, char **out)
{
    char *p = xmalloc(n + 1);
    size_t len = 0;
    *out = NULL;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (c == '%') {
            int hi = i + 2 < n ? hex_value(s[i + 1]) : -1;
            int lo = i + 2 < n ? hex_value(s[i + 2]) : -1;
            if (hi < 0 || lo < 0) {
                free(p);
                return -1;
            }
            c = (char)(hi << 4 | lo);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (!c) {
            free(p);
            return -1;
        }
        p[len++] = c;
    }
    p[len] = '\0';
    *out = p;
    return 0;
}

char *url_encode(const char *s)
{
    BUF(b);
    for (; *s; s++) {
        if (isalnum((unsigned char)*s) || strchr("-._~", *s))
            buf_addc(&b, *s);
        else
            buf_addf(&b, "%%%02X", (unsigned char)*s);
    }
    return buf_steal(&b, NULL);
}
