/* helper_proto.h - packets between the node and its helper process.
 *
 * One SEQPACKET socket; a request is one packet, its answer is one packet with the same id. Answers may come in another order
 * than the requests, since those that wait for a child process are answered when it ends. A packet is a fixed header and n
 * NUL-terminated strings; file descriptors ride along with SCM_RIGHTS. Both ends are ours, yet a packet is checked as if it were
 * not. */
#ifndef TM_NODE_HELPER_PROTO_H
#define TM_NODE_HELPER_PROTO_H

#include "base/base.h"
#include "base/err.h"

enum helper_op {
    HELPER_INIT = 1,  /* node dir, instance id -> "MODE SWAP CONTROLLERS DETAIL" of struct cgroup_info */
    HELPER_NET_UP,    /* bridge, address, prefix length, MTU, nftables script, range that leads to it (or "") */
    HELPER_NET_DOWN,  /* bridge, nftables table, "1" to turn ip_forward off again */
    HELPER_NETNS_ADD, /* name, address, prefix length, gateway, bridge, MTU */
    HELPER_NETNS_DEL, /* name */
    HELPER_TMPFS,     /* path, mount options -> directory fd; fine when it is mounted already */
    HELPER_BIND_SUB,  /* base directory, name inside it, target: see mount_sub */
    HELPER_OVERLAY,   /* bundle, layers from the top: see mount_overlay */
    HELPER_IMAGE,     /* place, layers from the top: see mount_image */
    HELPER_UNMOUNT,   /* path: everything mounted at it or below */
    HELPER_SPAWN,     /* one environment string or "", a file for its stderr, argv; fds become 3, 4 ... of the child -> pid */
    HELPER_RUN,       /* argv; fds become 3, 4 ... -> exit code and what it wrote to stderr; answered when it ends */
    HELPER_REMOVE,    /* path: unmount below and remove the tree; answered when done */
    HELPER_KILL,      /* pid, start time, signal */
    HELPER_EXEC,      /* crun, its --root, its cgroup option, container id, a directory with process.json, which of the three
                       * streams are asked for ("i-e") or "tty"; the status socket and those descriptors: helper_minder.c */
    HELPER_DIAL,  /* path of a network namespace or "", port, "4" or "6" -> a socket on its way to that port of its loopback */
    HELPER_PIDNS, /* directory of a pod, "up" or "down": see helper_pidns.c */
    HELPER_CGROUP_RM,   /* path below the root of each hierarchy, removed with what is below it */
    HELPER_CGROUP_STIR, /* see cgroup_stir; answered before it is done */
    HELPER_SWEEP,       /* what HELPER_INIT made: the pinned mount namespace */
};

enum { HELPER_PACKET_MAX = 128 * 1024, HELPER_STRINGS_MAX = 512, HELPER_FDS_MAX = 4 };

struct helper_header {
    uint64_t id;
    uint32_t op;    /* 0 in answers */
    int32_t rc;     /* answers: 0, or -1, or an exit code */
    int32_t err_no; /* answers: errno behind a failure, else 0 */
    uint32_t n;     /* strings that follow */
};

struct helper_packet {
    struct helper_header h;
    const char *v[HELPER_STRINGS_MAX]; /* into bytes */
    int fds[HELPER_FDS_MAX];           /* the receiver's to close */
    unsigned n_fds;
    char bytes[HELPER_PACKET_MAX];
};

/* Checks len bytes at p->bytes and fills header and strings. -1 with ERR_BAD_REQUEST when they are no packet. */
int helper_packet_parse(struct helper_packet *p, size_t len, struct err *err);
/* Sends header and h->n strings. */
int helper_packet_send(int sock, const struct helper_header *h, const char *const *v, const int *fds, unsigned n_fds,
                       struct err *err);
/* 1: a packet; 0: the other side is gone; -1: error. */
int helper_packet_recv(int sock, struct helper_packet *p, struct err *err);

#endif
