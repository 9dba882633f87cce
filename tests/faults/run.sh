#!/usr/bin/env bash
# Kills nodes: the long form of the crash scenarios.
#
#   tests/faults/run.sh --short                20 kills of the binary in OPENPROD, with a seed that is new each time
#   tests/faults/run.sh --loops 1000 --seed 7  so many kills, and every other crash and disk scenario, with failpoints
#
# A failure prints the seed; the same seed kills at the same moments as far as the machine allows.
set -euo pipefail
cd "$(dirname "$0")/../.."

loops=200 seed=$(date +%s) short=
while [ $# -gt 0 ]; do
    case $1 in
        --short) short=1; loops=20; shift ;;
        --loops) loops=$2; shift 2 ;;
        --seed) seed=$2; shift 2 ;;
        *) echo "usage: tests/faults/run.sh [--short] [--loops N] [--seed S]" >&2; exit 2 ;;
    esac
done
export OPENPROD_KILL_LOOPS=$loops OPENPROD_KILL_SEED=$seed
echo "seed $seed, $loops kills"
test_it() {
    cargo test --quiet -p openprod-tests --test it -- --nocapture "$@" || { echo "FAILED with --seed $seed --loops $loops"; exit 1; }
}
if [ -n "$short" ]; then
    OPENPROD_UNDER_TEST=$(realpath "${OPENPROD:?names the binary}") test_it kill_9_at_random_moments
else
    test_it --test-threads 2 crash:: disk:: rooms::
fi
