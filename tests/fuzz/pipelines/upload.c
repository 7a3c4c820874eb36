/* Multipart bodies, and the archives in them. */
#include "base/buf.h"
#include "pipelines/api/internal.h"
#include "pipelines/api/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *name = NULL;
    const char *file;
    size_t n;
    BUF(out);
    BUF(plain);
    AUTOFREE char *body = xmalloc(size + 1);
    memcpy(body, data, size);
    body[size] = '\0';
    if (multipart_file("multipart/form-data; boundary=B", body, size, "uploadfile", &name, &file, &n, NULL) == 0)
        package_unpack(name, file, n, &out, NULL);
    package_unpack("x.bin", body, size, &plain, NULL);
    return 0;
}
