#!/usr/bin/env bash
# Kills nodes: the long form of the crash scenarios.
#
#   tests/faults/run.sh --short                20 kills of the binary in OPENPROD, with a seed that is new each time
#   tests/faults/run.sh --loops 1000 --seed 7  so many kills, and every other crash and disk scenario, with failpoints
#   tests/faults/run.sh --together 100         so many rounds of kills among two nodes, and among three
#   tests/faults/run.sh --crowd 10000          so many strangers at a node's door, and hostile members
#
# A failure prints the seed; the same seed kills at the same moments as far as the machine allows.
set -euo pipefail
cd "$(dirname "$0")/../.."

loops=200 seed=$(date +%s) what=all
while [ $# -gt 0 ]; do
    case $1 in
        --short) what=short; loops=20; shift ;;
        --together) what=together; loops=$2; shift 2 ;;
        --crowd) what=crowd; crowd=$2; shift 2 ;;
        --loops) loops=$2; shift 2 ;;
        --seed) seed=$2; shift 2 ;;
        *) echo "usage: tests/faults/run.sh [--short | --loops N | --together N | --crowd N] [--seed S]" >&2; exit 2 ;;
    esac
done
export OPENPROD_KILL_LOOPS=$loops OPENPROD_KILL_SEED=$seed
test_it() {
    cargo test --quiet -p openprod-tests --test it -- --nocapture "$@" || { echo "FAILED with --seed $seed --loops $loops"; exit 1; }
}
case $what in
    short)
        echo "seed $seed, $loops kills"
        OPENPROD_UNDER_TEST=$(realpath "${OPENPROD:?names the binary}") test_it kill_9_at_random_moments
        OPENPROD_KILL_LOOPS=4 OPENPROD_UNDER_TEST=$(realpath "$OPENPROD") test_it nodes_that_are_killed
        ;;
    together)
        echo "seed $seed, $loops rounds of kills"
        test_it --test-threads 1 nodes_that_are_killed
        ;;
    crowd)
        echo "$crowd strangers"
        OPENPROD_STRANGERS=$crowd OPENPROD_ORPHANS=$((crowd / 2)) test_it --test-threads 1 strangers:: hostile::
        ;;
    all)
        echo "seed $seed, $loops kills"
        test_it --test-threads 2 crash disk:: mended:: copies:: rooms::
        ;;
esac
