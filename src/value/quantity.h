/* quantity.h - Kubernetes resource quantities ("500m", "1Gi", "1e3"), exact to 1e-9 within +-2^63 units.
 * Source: k8s.io/apimachinery pkg/api/resource (format described in the API reference). */
#ifndef TM_VALUE_QUANTITY_H
#define TM_VALUE_QUANTITY_H

#include "base/err.h"

struct quantity {
    __int128 nano; /* value * 10^9, rounded up (away from zero) below a nano */
    enum quantity_form { Q_DECIMAL_SI, Q_BINARY_SI, Q_DECIMAL_EXP } form;
};
int quantity_parse(const char *s, struct quantity *q, struct err *err);
#define QUANTITY_TEXT_MAX 64
/* Whether Kubernetes keeps this (valid) text as it was written: it does where the digits need no other unit, be there a sign,
 * zeroes in front or a dot behind. Else what is stored is the canonical text. */
bool quantity_text_kept(const char *s);
char *quantity_format(const struct quantity *q, char out[QUANTITY_TEXT_MAX]); /* canonical text */
int quantity_cmp(const struct quantity *a, const struct quantity *b);
void quantity_add(struct quantity *a, const struct quantity *b);
/* Rounded up to whole units, and to thousandths; saturating. */
int64_t quantity_value(const struct quantity *q);
int64_t quantity_milli(const struct quantity *q);

#endif
