#!/usr/bin/env bash
# Does what README.md says: each fenced block marked `run` is run in one empty folder, in order, with the fresh binary.
#
#   ```sh run          every line is a command
#   ```console run     lines that begin with "$ " are commands, the others are what they show, and are not compared
#
# A command must succeed; a line that ends in " &" starts something in the background, and `openprod up` is waited for
# until it serves. OPENPROD names the binary.
set -euo pipefail
readme=$(cd "$(dirname "$0")/../.." && pwd)/README.md
binary=$(realpath "${OPENPROD:?names the binary}")
work=$(mktemp -d)
mkdir "$work/bin" "$work/home" "$work/folder"
ln -s "$binary" "$work/bin/openprod"
export PATH=$work/bin:$PATH HOME=$work/home OPENPROD_LISTEN=off NO_COLOR=1
unset XDG_DATA_HOME XDG_CONFIG_HOME STATE_DIRECTORY
background=()
finish() {
    local code=$?
    for pid in "${background[@]}"; do
        kill "$pid" 2>/dev/null && wait "$pid" || true
    done
    [ "$code" -eq 0 ] || { echo "---- what runs in the background said:"; cat "$work"/*.log 2>/dev/null || true; }
    rm -rf "$work"
}
trap finish EXIT
cd "$work/folder"

commands() {
    awk '/^```(sh|bash|console) run *$/ { kind = $1; inside = 1; next }
         /^```/ { inside = 0 }
         inside && kind ~ /console/ { if (sub(/^\$ /, "")) print; next }
         inside && !/^ *(#|$)/ { print }' "$readme"
}

in_background() {
    local log=$work/${#background[@]}.log command=${1%&}
    bash -c "exec ${command}" >"$log" 2>&1 &
    background+=($!)
    case $command in
        *"openprod up"*)
            tail --pid=$! -n +1 -f "$log" | grep -q -m1 "ready" || { echo "the node never was ready"; return 1; } ;;
    esac
}

count=0
while IFS= read -r command <&3; do
    count=$((count + 1))
    echo "\$ $command"
    case $command in
        *"&") in_background "$command" ;;
        "openprod up"*) in_background "$command &" ;;
        "cd "*) eval "$command" ;;
        *) bash -c "$command" </dev/null || { echo "FAILED ($?): $command"; exit 1; } ;;
    esac
done 3< <(commands)
[ "$count" -gt 0 ] || { echo "README.md has no block marked run"; exit 1; }
echo "all $count commands of README.md work"
