"""A client in Python, with stubs generated from the .proto files: workspace, table, records, query, watch, history,
overlay, text, conflict, undo."""

import sys
import uuid

import grpc
from openprod.v1 import (
    blob_service_pb2,
    blob_service_pb2_grpc,
    command_pb2,
    command_service_pb2,
    command_service_pb2_grpc,
    conflict_service_pb2,
    conflict_service_pb2_grpc,
    errors_pb2,
    event_service_pb2,
    event_service_pb2_grpc,
    history_service_pb2,
    history_service_pb2_grpc,
    overlay_service_pb2,
    overlay_service_pb2_grpc,
    peer_service_pb2,
    peer_service_pb2_grpc,
    schema_pb2,
    table_service_pb2,
    table_service_pb2_grpc,
    text_pb2,
    value_pb2,
    workspace_service_pb2,
    workspace_service_pb2_grpc,
)

DEADLINE = 30


def text(value):
    return value_pb2.Value(text=value)


def channel_to(address, certificate):
    """In clear on this machine; elsewhere by TLS, where the node's own certificate is the only one that is trusted."""
    if certificate is None:
        return grpc.insecure_channel(address)
    with open(certificate, "rb") as file:
        trusted = grpc.ssl_channel_credentials(file.read())
    return grpc.secure_channel(address, trusted, (("grpc.ssl_target_name_override", "openprod"),))


def is_turned_away(address):
    """A client that has not got the certificate does not get as far as a call."""
    stub = workspace_service_pb2_grpc.WorkspaceServiceStub(grpc.secure_channel(address, grpc.ssl_channel_credentials()))
    try:
        stub.ListWorkspaces(workspace_service_pb2.ListWorkspacesRequest(), timeout=DEADLINE)
        raise AssertionError("an unknown certificate was trusted")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE, error


def main(address, token_file, certificate=None):
    with open(token_file, encoding="utf-8") as file:
        metadata = (("authorization", f"Bearer {file.read().strip()}"),)
    channel = channel_to(address, certificate)
    calling = {"metadata": metadata, "timeout": DEADLINE}

    workspaces = workspace_service_pb2_grpc.WorkspaceServiceStub(channel)
    made = workspaces.CreateWorkspace(
        workspace_service_pb2.CreateWorkspaceRequest(command_id=str(uuid.uuid4()), name="Hamlet"), **calling
    )

    commands = command_service_pb2_grpc.CommandServiceStub(channel)

    def execute(*what, command_id=None, base=None):
        request = command_service_pb2.ExecuteRequest(
            command_id=command_id or str(uuid.uuid4()), workspace=made.workspace, commands=what, base=base
        )
        return commands.Execute(request, **calling)

    columns = [
        command_pb2.NewColumn(name="cue", type=schema_pb2.FieldType(type=schema_pb2.DATA_TYPE_TEXT), required=True),
        command_pb2.NewColumn(name="page", type=schema_pb2.FieldType(type=schema_pb2.DATA_TYPE_INTEGER)),
        command_pb2.NewColumn(name="notes", type=schema_pb2.FieldType(type=schema_pb2.DATA_TYPE_DOCUMENT)),
    ]
    execute(command_pb2.Command(create_table=command_pb2.CreateTable(name="cues", columns=columns)))

    events = event_service_pb2_grpc.EventServiceStub(channel)
    watch = events.Watch(
        event_service_pb2.WatchRequest(workspace=made.workspace, include_snapshot=True), **calling
    )
    for said in watch:
        if said.WhichOneof("event") == "snapshot_end":
            break

    def cue(name, page):
        values = [
            command_pb2.FieldValue(column="cue", value=text(name)),
            command_pb2.FieldValue(column="page", value=value_pb2.Value(integer=page)),
        ]
        return command_pb2.Command(create_record=command_pb2.CreateRecord(table="cues", values=values))

    same = str(uuid.uuid4())
    first = execute(cue("LX 1", 3), cue("LX 2", 12), command_id=same)
    again = execute(cue("LX 1", 3), cue("LX 2", 12), command_id=same)
    assert len(first.created) == 2 and not first.replayed, first
    assert again.replayed and again.bundle_digest == first.bundle_digest, again

    for said in watch:
        if said.WhichOneof("event") == "batch":
            assert [change.kind for change in said.batch.records] == [event_service_pb2.CHANGE_KIND_CREATED] * 2, said
            watch.cancel()
            break

    tables = table_service_pb2_grpc.TableServiceStub(channel)
    found = tables.Query(
        table_service_pb2.QueryRequest(
            workspace=made.workspace, table="cues", query="page > 10", min_revision=first.revision
        ),
        **calling,
    )
    assert [record.fields[0].value.text for record in found.records] == ["LX 2"], found

    history = history_service_pb2_grpc.HistoryServiceStub(channel)
    log = history.ListBundles(history_service_pb2.ListBundlesRequest(workspace=made.workspace), **calling)
    assert len(log.bundles) == 3 and log.bundles[0].bundle_digest == first.bundle_digest, log

    overlays = overlay_service_pb2_grpc.OverlayServiceStub(channel)
    overlay = overlays.CreateOverlay(
        overlay_service_pb2.CreateOverlayRequest(
            command_id=str(uuid.uuid4()), workspace=made.workspace, name="draft"
        ),
        **calling,
    ).overlay.overlay
    staging = command_service_pb2.ExecuteRequest(
        command_id=str(uuid.uuid4()), workspace=made.workspace, overlay=overlay, commands=[cue("LX 3", 20)]
    )
    assert commands.Execute(staging, **calling).staged.overlay == overlay
    preview = overlays.PreviewOverlay(
        overlay_service_pb2.PreviewOverlayRequest(workspace=made.workspace, overlay=overlay), **calling
    )
    assert preview.counts.new_records == 1 and preview.differences[0].record.name == "cues LX 3", preview
    committed = execute(command_pb2.Command(commit_overlay=command_pb2.CommitOverlay(overlay=overlay)))
    assert committed.revision == first.revision + 1, committed

    notes = {"record": first.created[0].record, "table": "cues", "column": "notes"}
    execute(command_pb2.Command(set_text=text_pb2.SetText(text="Go on the word", **notes)))

    def read_notes():
        return tables.GetDocument(table_service_pb2.GetDocumentRequest(workspace=made.workspace, **notes), **calling)

    seen = read_notes().revision
    for at, words in (0, "STANDBY. "), (14, " ghost"):
        insert = text_pb2.TextEdit(insert=text_pb2.TextEdit.Insert(at=at, text=words))
        execute(command_pb2.Command(edit_text=text_pb2.EditText(edits=[insert], **notes)), base=seen)
    assert read_notes().text == "STANDBY. Go on the word ghost", read_notes()

    conflicts = conflict_service_pb2_grpc.ConflictServiceStub(channel)
    for page in 7, 8:
        values = [command_pb2.FieldValue(column="page", value=value_pb2.Value(integer=page))]
        change = command_pb2.SetFields(record=notes["record"], table="cues", values=values)
        execute(command_pb2.Command(set_fields=change), base=seen)
    disputed = conflicts.ListConflicts(conflict_service_pb2.ListConflictsRequest(workspace=made.workspace), **calling)
    assert disputed.total_count == 1 and "page" in disputed.conflicts[0].sentence, disputed
    conflict = disputed.conflicts[0]
    choice = command_pb2.Resolve(cell=conflict.cell, candidate=conflict.candidates[0].writes[0].op)
    execute(command_pb2.Command(resolve=choice))
    decided = conflicts.ListConflicts(conflict_service_pb2.ListConflictsRequest(workspace=made.workspace), **calling)
    assert decided.total_count == 0, decided
    execute(command_pb2.Command(undo=command_pb2.Undo(scope=command_pb2.UNDO_SCOPE_MINE)))
    opened = conflicts.ListConflicts(conflict_service_pb2.ListConflictsRequest(workspace=made.workspace), **calling)
    assert [again.conflict for again in opened.conflicts] == [conflict.conflict], opened

    blobs = blob_service_pb2_grpc.BlobServiceStub(channel)
    plan = bytes(range(256)) * 2_000

    def pieces():
        yield blob_service_pb2.PutBlobRequest(workspace=made.workspace, chunk=plan[:300_000])
        yield blob_service_pb2.PutBlobRequest(chunk=plan[300_000:], last=True)

    kept = blobs.PutBlob(pieces(), **calling).blob
    wanted = blob_service_pb2.GetBlobRequest(workspace=made.workspace, hash=kept.hash, offset=299_990, length=20)
    assert kept.size == len(plan) and b"".join(part.chunk for part in blobs.GetBlob(wanted, **calling)) == plan[299_990:300_010]
    elsewhere = blob_service_pb2.FetchBlobRequest(workspace=made.workspace, hash="0" * 64)
    try:
        list(blobs.FetchBlob(elsewhere, **calling))
        raise AssertionError("a file that nobody has was fetched")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
    peers = peer_service_pb2_grpc.PeerServiceStub(channel)
    assert len(peers.ListPeers(peer_service_pb2.ListPeersRequest(), **calling).peers) == 0

    try:
        tables.Query(table_service_pb2.QueryRequest(workspace=made.workspace, table="nope"), **calling)
        raise AssertionError("an unknown table was found")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        reason = errors_pb2.Reason.Name(errors_pb2.REASON_UNKNOWN_TABLE).removeprefix("REASON_")
        assert reason.encode() in details, details

    try:
        workspaces.ListWorkspaces(workspace_service_pb2.ListWorkspacesRequest(), timeout=DEADLINE)
        raise AssertionError("no token was asked for")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
    if certificate is not None:
        is_turned_away(address)
    how = "in clear" if certificate is None else "by TLS"
    print(f"Python, {how}: workspace, table, records, query, watch, history, overlays, texts, conflicts, undo, files, peers and refusals are well")


main(*sys.argv[1:])
