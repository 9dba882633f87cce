#!/usr/bin/env bash
# Does what README.md says: the fenced blocks marked `sh run` are one script, run in an empty folder with the fresh
# binary, which OPENPROD names. Any command that fails, fails this.
set -euo pipefail
readme=$(cd "$(dirname "$0")/../.." && pwd)/README.md
binary=$(realpath "${OPENPROD:?names the binary}")
work=$(mktemp -d)
mkdir "$work/bin" "$work/home" "$work/folder"
ln -s "$binary" "$work/bin/openprod"
finish() {
    local code=$?
    # A script that failed half-way has left its node running.
    pkill -f "$work/bin/openprod" 2>/dev/null || true
    [ "$code" -eq 0 ] || { echo "---- the node said:"; cat "$work"/folder/*.log 2>/dev/null || true; }
    rm -rf "$work"
}
trap finish EXIT
awk '/^```sh run$/ { inside = 1; next } /^```/ { inside = 0 } inside' "$readme" >"$work/script"
[ -s "$work/script" ] || { echo "README.md has no block marked \`sh run\`"; exit 1; }
cd "$work/folder"
env -u XDG_DATA_HOME -u XDG_CONFIG_HOME -u STATE_DIRECTORY HOME="$work/home" PATH="$work/bin:$PATH" NO_COLOR=1 \
    timeout 120 bash -euxo pipefail "$work/script" </dev/null
echo "the commands of README.md work"
