#!/usr/bin/env bash
# Editors made with the real Yjs bind to a fresh node. OPENPROD names the binary; node 20 and npm are in PATH. Packages
# go to a folder of their own, NODE_PACKAGES if that is set.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
packages=${NODE_PACKAGES:-$work/packages}
node=
finish() {
    local code=$?
    [ -z "$node" ] || { kill "$node" 2>/dev/null && wait "$node" || true; }
    [ "$code" -eq 0 ] || { echo "---- the node said:"; cat "$work/node.log"; }
    rm -rf "$work"
}
trap finish EXIT

touch "$work/node.log"
mkdir -p "$packages"
cp "$here"/package.json "$here"/package-lock.json "$here"/*.js "$packages"
npm ci --prefix "$packages" --no-audit --no-fund --silent

"${OPENPROD:?names the binary}" up --data-dir "$work/node" --listen 127.0.0.1:0 --peer-listen off >"$work/node.log" 2>&1 &
node=$!
until grep -q ": ready" "$work/node.log"; do
    kill -0 "$node" || exit 1
    sleep 0.05
done
address=$(grep -o 'address=[^ ]*' "$work/node.log" | head -1 | cut -d= -f2)
token=$(ls "$work"/node/tokens/*.token | head -1)
node "$packages/yjs.js" "$here/../../proto/api/proto" "$address" "$token" "$OPENPROD" "$work/node"
