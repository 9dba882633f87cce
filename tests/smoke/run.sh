#!/usr/bin/env bash
# Clients that are not ours speak to a fresh node: Python's grpcio and buf curl. OPENPROD names the binary; python with
# grpcio-tools and buf are in PATH. Without buf, that part is left out, and said.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
protos=$here/../../proto/api/proto
work=$(mktemp -d)
nodes=()
finish() {
    local code=$?
    for node in "${nodes[@]}"; do kill "$node" 2>/dev/null && wait "$node" || true; done
    [ "$code" -eq 0 ] || { echo "---- the nodes said:"; cat "$work"/*.log; }
    rm -rf "$work"
}
trap finish EXIT

# Starts a node in the folder $1 that listens on $2, and sets address.
begin() {
    touch "$work/$1.log"
    "${OPENPROD:?names the binary}" up --data-dir "$work/$1" --listen "$2" --peer-listen off >"$work/$1.log" 2>&1 &
    nodes+=($!)
    until grep -q ": ready" "$work/$1.log"; do
        kill -0 "${nodes[-1]}" || exit 1
        sleep 0.05
    done
    address=$(grep -o 'address=[^ ]*' "$work/$1.log" | head -1 | cut -d= -f2)
}

begin node 127.0.0.1:0
token=$(ls "$work"/node/tokens/*.token | head -1)

mkdir "$work/stubs"
python3 -m grpc_tools.protoc -I "$protos" --python_out="$work/stubs" --grpc_python_out="$work/stubs" \
    "$protos"/openprod/v1/*.proto
PYTHONPATH=$work/stubs python3 "$here/smoke.py" "$address" "$token"

# As from another machine: by TLS, with a token that was given out, and the certificate taken along as a file.
plain=$address
begin house 0.0.0.0:0
as_house=("$OPENPROD" --data-dir "$work/house")
"${as_house[@]}" token create --name Python --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["secret"])' \
    >"$work/secret"
"${as_house[@]}" certificate --output "$work/house.pem" 2>/dev/null
PYTHONPATH=$work/stubs python3 "$here/smoke.py" "${address/0.0.0.0/127.0.0.1}" "$work/secret" "$work/house.pem"
address=$plain

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
