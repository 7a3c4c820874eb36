/* decode_priv.h - what the files of decoding share. */
#ifndef TM_KUBE_DECODE_PRIV_H
#define TM_KUBE_DECODE_PRIV_H

#include "base/str.h"

/* The lines of a YAML body that repeat a key, in the words of Kubernetes; NULL: none does. The caller frees. */
char *decode_yaml_repeated(const char *body, size_t len);

#endif
