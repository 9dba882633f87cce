//! Commands for other nodes: `peers`, `peer add`, `peer forget`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use openprod_client::{Client, v1};
use serde_json::{Value as Json, json};

use super::context::Context;
use super::error::CliError;
use super::output::{self, Grid, Style, grid, remark};
use super::time;
use super::workspaces::bytes;

/// How far a clock may be off before it is worth a word: people notice that.
const CLOCK_WORTH_MS: i64 = 2_000;

/// Names and forgets other nodes
#[derive(Debug, Clone, Args)]
pub struct PeerArgs {
    #[command(subcommand)]
    command: PeerCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum PeerCommand {
    /// Dials a node until it answers, and remembers it
    Add {
        /// Where it is: an address or a name, with the port unless it is 7118
        address: String,
        /// Its key, 64 hexadecimal digits, if only that node will do
        #[arg(long, default_value = "", hide_default_value = true)]
        key: String,
    },
    /// Takes a node out of the list; it may still dial this one
    Forget {
        /// Its key or the beginning of it, or its address with the port
        peer: String,
    },
}

/// Runs `peer`.
pub async fn peer(args: PeerArgs, context: &Context) -> Result<(), CliError> {
    let client = context.client().await?;
    match args.command {
        PeerCommand::Add { address, key } => {
            let answer = client.ask(v1::AddPeerRequest { address, key }).await?;
            if context.style == Style::Json {
                return output::json(&json!({"addresses": answer.addresses}));
            }
            remark(&format!("Dialling {}. `openprod peers` tells how it stands.", answer.addresses.join(", ")));
        }
        PeerCommand::Forget { peer } => {
            let peer = known(&client, &peer).await?;
            client.ask(v1::ForgetPeerRequest { peer: peer.clone() }).await?;
            if context.style == Style::Json {
                return output::json(&json!({"forgotten": peer}));
            }
            remark(&format!("Forgot {peer}."));
        }
    }
    Ok(())
}

/// The whole key, where a beginning of it names one peer.
async fn known(client: &Client, wanted: &str) -> Result<String, CliError> {
    let peers = client.ask(v1::ListPeersRequest {}).await?.peers;
    let mut begin = peers.iter().filter(|peer| !peer.key.is_empty() && peer.key.starts_with(wanted));
    match (begin.next(), begin.next()) {
        (Some(one), None) => Ok(one.key.clone()),
        (Some(_), Some(_)) => Err(CliError::usage(format!("Several peers have keys that begin with {wanted:?}."))),
        (None, _) => Ok(wanted.to_owned()),
    }
}

/// Runs `peers`.
pub async fn list(context: &Context) -> Result<(), CliError> {
    let client = context.client().await?;
    let answer = client.ask(v1::ListPeersRequest {}).await?;
    if context.style == Style::Json {
        return answer.peers.iter().try_for_each(|peer| output::json(&as_json(peer)));
    }
    if answer.listens_on.is_empty() {
        remark("This node does not speak with other nodes: peer_listen is off.");
    } else {
        remark(&format!("This node is {} on {}.", short(&answer.key), answer.listens_on.join(", ")));
    }
    let workspaces = client.list_workspaces().await?.into_iter().map(|one| (one.workspace, one.name)).collect();
    let mut shown = Grid::new(&["PEER", "ADDRESS", "STATE", "ROUND TRIP", "SENT", "RECEIVED", "SHARES", "ATTENTION"]);
    for peer in &answer.peers {
        shown.row(row(peer, &workspaces));
    }
    if answer.peers.is_empty() {
        remark("It knows no others yet. Name one with `openprod peer add ADDRESS`.");
        return Ok(());
    }
    grid(context.style, &shown)
}

fn short(key: &str) -> String {
    key.chars().take(8).collect()
}

fn row(peer: &v1::Peer, workspaces: &BTreeMap<String, String>) -> [String; 8] {
    let name = |id: &String| workspaces.get(id).unwrap_or(id).clone();
    let connection = peer.connection.as_ref();
    let told = |what: fn(&v1::PeerConnection) -> String| connection.map_or_else(String::new, what);
    [
        short(&peer.key),
        connection.map(|one| one.address.clone()).or_else(|| peer.addresses.first().cloned()).unwrap_or_default(),
        state(peer),
        told(|one| milliseconds(one.round_trip_us)),
        told(|one| bytes(one.sent_bytes)),
        told(|one| bytes(one.received_bytes)),
        connection.map_or_else(String::new, |one| shares(one, name)),
        attention(peer),
    ]
}

/// The workspaces, and how far the two are with each.
fn shares(connection: &v1::PeerConnection, name: impl Fn(&String) -> String) -> String {
    let far = |id: &String| {
        let sharing = connection.sharing.iter().find(|one| one.workspace == *id);
        format!("{}: {}", name(id), sharing.map_or_else(|| "not yet".to_owned(), how_far))
    };
    connection.workspaces.iter().map(far).collect::<Vec<_>>().join(", ")
}

fn how_far(one: &v1::SharedWorkspace) -> String {
    match (one.verified_ms, one.to_take, one.to_give) {
        _ if one.diverged => "ALARM: the same history shows different things; run `openprod verify`".to_owned(),
        _ if !one.trouble.is_empty() => one.trouble.clone(),
        (Some(at), 0, 0) => format!("equal at {}", time::shown(at)),
        (_, 0, 0) => "comparing".to_owned(),
        (_, 0, give) => format!("giving, {give} to look at"),
        (_, take, _) => format!("taking, {take} to come"),
    }
}

fn sharing_json(one: &v1::SharedWorkspace) -> Json {
    json!({
        "workspace": one.workspace, "given": one.given, "to_give": one.to_give, "taken": one.taken,
        "to_take": one.to_take, "verified_ms": one.verified_ms, "verified_bundles": one.verified_bundles,
        "diverged": one.diverged, "trouble": one.trouble,
    })
}

fn state(peer: &v1::Peer) -> String {
    match (peer.state(), &peer.connection) {
        (v1::PeerState::Connected, Some(one)) => format!("connected since {}", time::shown(one.since_ms)),
        (v1::PeerState::Connected, None) => "connected".to_owned(),
        (v1::PeerState::Dialling, _) => "dialling".to_owned(),
        (v1::PeerState::Waiting, _) => {
            let seconds = peer.next_attempt_ms.unwrap_or_default() / 1_000;
            format!("dialled again in {seconds} s")
        }
        (v1::PeerState::Resting | v1::PeerState::Unspecified, _) => "not connected".to_owned(),
    }
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{} ms", microseconds / 1_000, microseconds % 1_000 / 100)
}

/// What is wrong, if anything.
fn attention(peer: &v1::Peer) -> String {
    let off = peer.connection.as_ref().and_then(|one| one.clock_offset_ms).filter(|off| off.abs() >= CLOCK_WORTH_MS);
    match off {
        Some(off) => {
            let way = if off > 0 { "ahead" } else { "behind" };
            format!("its clock is {} s {way}", off.abs() / 1_000)
        }
        None if peer.connection.as_ref().is_some_and(|one| one.workspaces.is_empty()) => {
            "nothing is shared: one of the two is no member of what the other has".to_owned()
        }
        None => peer.trouble.clone(),
    }
}

fn as_json(peer: &v1::Peer) -> Json {
    let connection = peer.connection.as_ref().map(|one| {
        json!({
            "since_ms": one.since_ms, "address": one.address, "dialled_by_this_node": one.dialled_by_this_node,
            "round_trip_us": one.round_trip_us, "clock_offset_ms": one.clock_offset_ms, "sent_bytes": one.sent_bytes,
            "received_bytes": one.received_bytes, "protocol_version": one.protocol_version,
            "software": one.software, "workspaces": one.workspaces,
            "sharing": one.sharing.iter().map(sharing_json).collect::<Vec<_>>(),
        })
    });
    let state = peer.state().as_str_name().to_lowercase().replace("peer_state_", "");
    json!({
        "key": peer.key, "addresses": peer.addresses, "state": state, "trouble": peer.trouble,
        "failures": peer.failures, "next_attempt_ms": peer.next_attempt_ms, "connection": connection,
    })
}
