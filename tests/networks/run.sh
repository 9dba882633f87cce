#!/usr/bin/env bash
# Whole nodes on real networks: machines, switches, cables and bad lines made of the kernel's network namespaces.
#
#   tests/networks/run.sh --short             what every change must pass
#   tests/networks/run.sh --long [SCENARIO]   bigger; SCENARIO is a part of a test's name
#
# All of it happens in namespaces of its own, which need root or the right to make user namespaces, and vanish with it.
# Where none can be made this says so and ends well; where they can, whatever goes wrong is a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."

form= scenario=
while [ $# -gt 0 ]; do
    case $1 in
        --short | --long) form=${1#--}; shift ;;
        -*) form=; break ;;
        *) scenario=$1; shift ;;
    esac
done
[ -n "$form" ] || { echo "usage: tests/networks/run.sh --short | --long [SCENARIO]" >&2; exit 2; }

sandbox=(unshare --net --mount --pid --fork --kill-child --mount-proc)
[ "$(id -u)" -eq 0 ] || sandbox+=(--map-root-user)
# ip keeps the names of namespaces in /run/netns.
inside='set -e; mount -t tmpfs none /run; mkdir /run/netns; ip link set lo up; exec "$@"'
probe='ip netns add probe && ip link add probe0 type bridge && ip link add probe1 type veth peer name probe2 netns probe'

if ! why=$("${sandbox[@]}" bash -c "$inside" sandbox bash -c "$probe" 2>&1); then
    echo "NETWORKS NOT RUN: this machine makes no network namespaces (root, iproute2 and a Linux kernel can): $why"
    exit 0
fi

cargo test --quiet -p openprod-tests --test it --no-run
OPENPROD_NETWORKS=$form "${sandbox[@]}" bash -c "$inside" sandbox \
    cargo test --quiet --offline -p openprod-tests --test it -- --nocapture --test-threads 4 "networks::$scenario"
