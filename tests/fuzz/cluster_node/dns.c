/* DNS messages: questions of pods, and answers of resolvers. */
#include <stdint.h>
#include <string.h>

#include "cluster/node/network/dns_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static uint8_t out[DNS_MAX];
    struct dns_question q;
    struct dns_writer w;
    int rcode = dns_parse(data, n, &q);
    if (rcode < 0) {
        dns_keep_for(data, n, 30);
        return 0;
    }
    dns_begin(&w, out, q.end + DNS_UDP_PLAIN, data, &q, (enum dns_rcode)rcode, true);
    dns_a(&w, NULL, 5, (struct in_addr){.s_addr = 1});
    dns_copy_answers(&w, data, n);
    dns_soa(&w, "cluster.local", 5);
    size_t len = dns_end(&w, &q);
    if (len > q.end + DNS_UDP_PLAIN)
        __builtin_trap();
    /* What was written can be read. */
    out[2] &= 0x7f;
    struct dns_question again;
    if (rcode == DNS_NOERROR && (dns_parse(out, len, &again) != DNS_FORMERR) && strcmp(again.name, q.name) != 0)
        __builtin_trap();
    return 0;
}
