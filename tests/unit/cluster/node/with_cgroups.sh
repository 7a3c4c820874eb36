#!/bin/sh
# with_cgroups.sh v2|none PROGRAM [ARGUMENT...]: runs it where /sys/fs/cgroup is cgroup2 alone, or nothing. Controllers that a v1 hierarchy of this machine
# holds are missing in v2 then, as they are where somebody switched them off.
set -eu
if [ "$(id -u)" != 0 ] || ! unshare -m true 2>/dev/null; then
    [ "${TIDEMILL_REQUIRE_NODE:-}" != 1 ] || { echo "TIDEMILL_REQUIRE_NODE=1, but no mount namespace can be made here"; exit 1; }
    echo "ok 1 - control_groups # SKIP needs root and mount namespaces"
    exit 0
fi
export TIDEMILL_TEST_CGROUPS="$1"
shift
exec unshare -m sh -eu -c '
    [ ! -d /sys/fs/cgroup ] || umount -R /sys/fs/cgroup 2>/dev/null || true
    [ "$TIDEMILL_TEST_CGROUPS" = none ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
    exec "$@"' sh "$@"
