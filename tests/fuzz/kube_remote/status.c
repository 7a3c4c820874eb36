/* What a server answers when it says no, and what a credential plugin prints: no crash, always an error with a code and a text.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kube/remote/credential.h"
#include "kube/remote/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *text = xmalloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    ERR(e);
    int http = size ? 300 + data[0] * 2 : 500;
    ASSERT(status_error(http, text, size, &e) == -1);
    ASSERT(e.code != ERR_OK && *err_text(&e) && err_http_status(&e) >= 400 && err_http_status(&e) < 600);
    struct exec_credential c;
    ERR(refused);
    if (exec_credential_parse(text, size, "client.authentication.k8s.io/v1", &c, &refused) == 0)
        ASSERT(c.token || (c.cert_pem && c.key_pem));
    else
        ASSERT(refused.code == ERR_UNAUTHENTICATED && !c.token && !c.cert_pem);
    exec_credential_clear(&c);
    return 0;
}
