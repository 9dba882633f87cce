#!/usr/bin/env bash
# Clients that are not ours speak to a fresh node: Python's grpcio and buf curl. OPENPROD names the binary; python with
# grpcio-tools and buf are in PATH. Without buf, that part is left out, and said.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
protos=$here/../../proto/api/proto
work=$(mktemp -d)
node=
finish() {
    local code=$?
    [ -z "$node" ] || { kill "$node" 2>/dev/null && wait "$node" || true; }
    [ "$code" -eq 0 ] || { echo "---- the node said:"; cat "$work/node.log"; }
    rm -rf "$work"
}
trap finish EXIT

touch "$work/node.log"
"${OPENPROD:?names the binary}" up --data-dir "$work/node" --listen 127.0.0.1:0 --peer-listen off >"$work/node.log" 2>&1 &
node=$!
until grep -q ": ready" "$work/node.log"; do
    kill -0 "$node" || exit 1
    sleep 0.05
done
address=$(grep -o 'address=[^ ]*' "$work/node.log" | head -1 | cut -d= -f2)
token=$(ls "$work"/node/tokens/*.token | head -1)

mkdir "$work/stubs"
python3 -m grpc_tools.protoc -I "$protos" --python_out="$work/stubs" --grpc_python_out="$work/stubs" \
    "$protos"/openprod/v1/*.proto
PYTHONPATH=$work/stubs python3 "$here/smoke.py" "$address" "$token"

if command -v buf >/dev/null; then
    bearer="authorization: Bearer $(cat "$token")"
    # Without --schema: what can be called is learned by reflection.
    answers() {
        local wanted=$1 answer
        shift
        answer=$(buf curl --http2-prior-knowledge --protocol grpc --header "$bearer" --reflect-header "$bearer" "$@")
        [[ $answer == *"$wanted"* ]] || { echo "buf curl $*: $answer"; return 1; }
    }
    answers openprod.v1.CommandService/Execute --list-methods "http://$address"
    answers openprod.v1 --data '{}' "http://$address/openprod.v1.NodeService/GetInfo"
    answers Hamlet --data '{}' "http://$address/openprod.v1.WorkspaceService/ListWorkspaces"
    echo "buf curl: reflection, info and workspaces are well"
else
    echo "NOT RUN: there is no buf in PATH"
fi
