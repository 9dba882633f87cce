//! Nothing that people can do goes without a scenario: every call, every command, every word of the command line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::world::typed;

/// What can be done, and the verb by which a person of these tests does it.
const VERBS: &[(&str, &str)] = &[
    ("rpc NodeService.GetInfo", "asks_what_it_is"),
    ("rpc NodeService.GetStatus", "asks_how_it_is"),
    ("rpc NodeService.RunDiagnostics", "has_it_checked"),
    ("rpc NodeService.ListIdentities", "lists_identities"),
    ("rpc NodeService.CreateIdentity", "makes_identity"),
    ("rpc NodeService.ExportIdentity", "packs_identity"),
    ("rpc NodeService.ImportIdentity", "unpacks_identity"),
    ("rpc NodeService.SetDefaultIdentity", "lets_act_by_default"),
    ("rpc WorkspaceService.CreateWorkspace", "founds"),
    ("rpc WorkspaceService.ListWorkspaces", "lists_workspaces"),
    ("rpc WorkspaceService.GetWorkspace", "describes"),
    ("rpc WorkspaceService.ImportWorkspace", "brings_in"),
    ("rpc CommandService.Execute", "does"),
    ("rpc CommandService.ListUndo", "foresees"),
    ("rpc TableService.ListTables", "knows_tables"),
    ("rpc TableService.GetTable", "knows_table"),
    ("rpc TableService.GetRecord", "sees"),
    ("rpc TableService.ListRecords", "lists"),
    ("rpc TableService.Query", "asks"),
    ("rpc TableService.ExplainCell", "explains"),
    ("rpc TableService.ListMappings", "knows_mappings"),
    ("rpc TableService.ListMerges", "knows_merges"),
    ("rpc TableService.ListMergeExceptions", "knows_exceptions"),
    ("rpc ConflictService.ListConflicts", "disputes"),
    ("rpc ConflictService.GetConflict", "looks_into"),
    ("rpc TableService.GetDocument", "reads_whole"),
    ("rpc EdgeService.ListEdges", "follows"),
    ("rpc EdgeService.GetEdge", "looks_at_edge"),
    ("rpc HistoryService.ListBundles", "reads_history"),
    ("rpc HistoryService.GetBundle", "opens_bundle"),
    ("rpc OverlayService.CreateOverlay", "opens_overlay"),
    ("rpc OverlayService.ListOverlays", "lists_overlays"),
    ("rpc OverlayService.GetOverlay", "looks_at_overlay"),
    ("rpc OverlayService.RenameOverlay", "renames_overlay"),
    ("rpc OverlayService.ActivateOverlay", "works_in"),
    ("rpc OverlayService.DeactivateOverlay", "leaves_overlay"),
    ("rpc OverlayService.StashOverlay", "stashes"),
    ("rpc OverlayService.RecallOverlay", "recalls"),
    ("rpc OverlayService.DiscardOverlay", "discards"),
    ("rpc OverlayService.PreviewOverlay", "previews"),
    ("rpc OverlayService.ListDrift", "finds_drift"),
    ("rpc OverlayService.KeepMine", "keeps_mine"),
    ("rpc OverlayService.UseCanonical", "uses_canonical"),
    ("rpc OverlayService.KnockOut", "knocks_out"),
    ("rpc OverlayService.UndoStaged", "takes_back"),
    ("rpc OverlayService.RedoStaged", "does_again"),
    ("rpc InviteService.CreateInvite", "invites"),
    ("rpc InviteService.Join", "tries_to_join"),
    ("rpc InviteService.ListInvites", "lists_invites"),
    ("rpc InviteService.RevokeInvite", "revokes"),
    ("rpc InviteService.ListJoinRequests", "looks_who_waits"),
    ("rpc InviteService.ApproveJoinRequest", "lets_in"),
    ("rpc InviteService.DenyJoinRequest", "turns_away"),
    ("rpc InviteService.RecoverWorkspace", "recovers"),
    ("rpc InviteService.CreateRecoveryKey", "renews_recovery_key"),
    ("rpc AccessService.CreateToken", "gives_token"),
    ("rpc AccessService.ListTokens", "lists_tokens"),
    ("rpc AccessService.RevokeToken", "takes_token_back"),
    ("rpc AccessService.GetCertificate", "knows_certificate"),
    ("rpc PeerService.ListPeers", "knows_peers"),
    ("rpc PeerService.WatchPeers", "watches_peers"),
    ("rpc PeerService.ListNearby", "looks_around"),
    ("rpc PeerService.AddPeer", "names_peer"),
    ("rpc PeerService.ForgetPeer", "forgets_peer"),
    ("rpc PeerService.PauseSync", "pauses_sync"),
    ("rpc PeerService.ResumeSync", "resumes_sync"),
    ("rpc EventService.Watch", "watches"),
    ("rpc EventService.SetPresence", "is_seen_at"),
    ("rpc EventService.ListPresence", "sees_who_is_here"),
    ("rpc AdminService.Verify", "verifies"),
    ("rpc AdminService.ListQuarantine", "lists_quarantine"),
    ("rpc AdminService.GetQuarantined", "looks_at_quarantined"),
    ("rpc AdminService.RetryQuarantined", "retries_quarantined"),
    ("rpc AdminService.TakeQuarantined", "takes_over"),
    ("rpc AdminService.ListWaiting", "lists_waiting"),
    ("rpc AdminService.SkipQuarantined", "skips_quarantined"),
    ("rpc AdminService.ExportQuarantined", "takes_quarantined"),
    ("rpc AdminService.Backup", "backs_up"),
    ("rpc AdminService.ExportWorkspace", "takes_out"),
    ("rpc AdminService.SetLogLevel", "turns_the_log_to"),
    ("command create_table", "makes_table"),
    ("command alter_table", "alters"),
    ("command drop_table", "drops"),
    ("command create_record", "adds"),
    ("command add_to_table", "lists_also"),
    ("command remove_from_table", "removes"),
    ("command delete_record", "deletes"),
    ("command set_fields", "sets"),
    ("command create_edge", "joins"),
    ("command move_edge", "moves"),
    ("command delete_edge", "parts"),
    ("command set_edge_properties", "notes"),
    ("command put_setting", "settles"),
    ("command admit_member", "admits"),
    ("command remove_member", "dismisses"),
    ("command name_actor", "calls"),
    ("command merge_records", "merges"),
    ("command split_record", "splits"),
    ("command split_off", "splits_off"),
    ("command confirm_mapping", "maps"),
    ("command reject_mapping", "keeps_apart"),
    ("command revoke_mapping", "unmaps"),
    ("command edit_text", "edits"),
    ("command set_text", "rewrites"),
    ("command edit_sequence", "arranges"),
    ("command apply_update", "hands_over"),
    ("command undo", "undoes"),
    ("command redo", "redoes"),
    ("command commit_overlay", "commits"),
    ("command resolve", "resolves"),
    ("command delete_asset", "deletes_file"),
    ("command restore_asset", "restores_file"),
    ("rpc BlobService.PutBlob", "puts_file"),
    ("rpc BlobService.GetBlob", "gets_file"),
    ("rpc BlobService.FetchBlob", "fetches_file"),
    ("rpc BlobService.GetThumbnail", "looks_at_thumbnail"),
    ("rpc BlobService.StatBlob", "looks_at_file"),
    ("rpc BlobService.ListBlobs", "lists_files"),
    ("rpc BlobService.PinBlob", "pins_file"),
    ("rpc BlobService.UnpinBlob", "unpins_file"),
    ("rpc BlobService.VerifyBlobs", "verifies_files"),
    ("rpc BlobService.CollectBlobs", "collects_files"),
];

#[test]
fn every_call_and_every_command_has_a_verb() {
    let known: BTreeSet<&str> = VERBS.iter().map(|(what, _)| *what).collect();
    let there = descriptors();
    assert!(there.len() > 40, "{there:?}");
    let without: Vec<_> = there.iter().filter(|what| !known.contains(what.as_str())).collect();
    assert!(without.is_empty(), "give these a verb and a scenario: {without:?}");
    let gone: Vec<_> = known.iter().filter(|what| !there.contains(**what)).collect();
    assert!(gone.is_empty(), "these are no more: {gone:?}");
}

#[test]
fn every_verb_is_defined_and_used_by_a_scenario() {
    let (world, scenarios) = sources();
    let mut missing = Vec::new();
    for (what, verb) in VERBS {
        // Of a verb of the world itself, such as `admits`, its use there is a use by every scenario with two people.
        let used = [format!(".{verb}("), format!(" {verb}(")].iter().any(|call| scenarios.contains(call));
        if !world.contains(&format!("fn {verb}(")) || !used {
            missing.push(format!("{what}: {verb}"));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[tokio::test]
async fn every_word_of_the_command_line_is_typed_in_a_scenario() {
    let folder = tempfile::tempdir().unwrap();
    let help = typed("openprod --help", &folder.path().join("nowhere"), &[]).await.ok();
    let listed = help.out.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let entries = listed.take_while(|line| line.starts_with("  "));
    // Continued descriptions stand further right.
    let words: BTreeSet<&str> =
        entries.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next()).collect();
    assert!(words.contains("up") && words.len() > 20, "{words:?}");
    let (world, scenarios) = sources();
    let typed_somewhere = |word: &str| {
        // `up` is typed by the world itself, `help` is what this test just did.
        ["up", "help"].contains(&word) && world.contains("[\"up\"") || scenarios.contains(&format!("openprod {word}"))
    };
    let never: Vec<_> = words.iter().filter(|word| !typed_somewhere(word)).collect();
    assert!(never.is_empty(), "no scenario types these: {never:?}");
}

/// Each call as `rpc Service.Method`, each command as `command field_of_the_oneof`.
fn descriptors() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(openprod_api::FILE_DESCRIPTOR_SET).unwrap();
    let ours = set.file.iter().filter(|file| file.package() == "openprod.v1");
    let mut there = BTreeSet::new();
    for file in ours {
        for service in &file.service {
            there.extend(service.method.iter().map(|method| format!("rpc {}.{}", service.name(), method.name())));
        }
        for message in file.message_type.iter().filter(|message| message.name() == "Command") {
            there.extend(message.field.iter().map(|field| format!("command {}", field.name())));
        }
    }
    there
}

/// The text of the world, and that of the scenarios.
fn sources() -> (String, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    (texts(&folder.join("world")), texts(&folder))
}

fn texts(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("coverage.rs"))
        .collect();
    files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}
