//! Who may join: tickets, people who ask, and the recovery key.

use openprod_client::v1;

use crate::world::{Person, Setup, World, brings_in, founds_with_recovery_key, row, workspace_id};

#[tokio::test]
async fn tickets_are_made_listed_and_revoked_and_outlive_a_restart() {
    let mut world = World::new().await;
    let mara = world.person("Mara").await;
    let first = mara.invites(2).await;
    assert!(first.ticket.starts_with("OPENPROD-JOIN-"), "{first:?}");
    let second = mara.invites(1).await;
    assert_ne!(first.ticket, second.ticket);
    assert_eq!(mara.revokes(&second).await, v1::InviteState::Revoked);
    assert_eq!(mara.lists_invites().await, ["revoked, 0 of 1", "live, 0 of 2"]);
    world.restarts().await;
    world.types("openprod invites").await.ok().says("revoked").says("0 of 2").says("live");
    let kept = std::fs::read_to_string(world.house.workspace_folder().join("tickets"));
    assert!(!kept.unwrap_or_default().contains(&first.ticket), "its secret lies nowhere");
}

#[tokio::test]
async fn tickets_are_made_at_the_command_line() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let made = mara.types("openprod invite --uses 3 --expires 30min --json").await.ok().json();
    let id = made[0]["invite"].as_str().unwrap().to_owned();
    let minutes = (made[0]["expires_ms"].as_i64().unwrap() - made[0]["created_ms"].as_i64().unwrap()) / 60_000;
    assert_eq!((made[0]["uses"].as_i64(), minutes), (Some(3), 30));
    let shown = mara.types("openprod invite --qr").await.ok().says("OPENPROD-JOIN-").says("Good for one node until");
    assert!(shown.out.lines().count() > 20, "a code to be scanned: {shown}");
    mara.types("openprod invite --expires 25h").await.fails(1).says("24 hours");
    mara.types("openprod invite --expires soon").await.fails(2).says("2h");
    mara.types(&format!("openprod invites revoke {}", &id[..8])).await.ok().says("revoked");
    mara.types("openprod invites revoke ffffffff").await.fails(1).says("openprod invites");
    let leo = world.stranger("Leo").await;
    leo.types("openprod invite").await.fails(1).says("not a member");
}

#[tokio::test]
async fn where_nobody_waits_nobody_is_let_in() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.types("openprod settings put join_mode sometimes").await.fails(1).says("request");
    mara.types("openprod settings put join_mode request").await.ok();
    assert!(mara.looks_who_waits().await.is_empty());
    for refused in [mara.lets_in("481 502").await, mara.turns_away("481 502").await] {
        let refused = refused.unwrap_err();
        assert_eq!((refused.at.as_str(), refused.next.is_empty()), ("code", false), "{refused:?}");
    }
    mara.types("openprod requests").await.ok();
    mara.types("openprod requests approve 481502").await.fails(1).says("Nobody waits");
}

#[tokio::test]
async fn a_new_workspace_has_its_node_and_its_recovery_key_as_members() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let members = mara.describes().await.members;
    let node = mara.asks_what_it_is().await.node_id;
    assert!(members.iter().any(|member| member.actor == node), "{members:?}");
    assert!(members.iter().any(|member| member.name == "Recovery key"), "{members:?}");
    world.types("openprod init Macbeth").await.ok().says("OPENPROD-RECOVERY-").says("on paper");
}

/// All devices are lost but one export. It is taken to a computer on which nobody is a member.
#[tokio::test]
async fn the_recovery_key_makes_its_holder_a_member_again() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let (id, key) = founds_with_recovery_key(&mara.client, "Macbeth").await;
    let mara = mara.in_workspace(workspace_id(&id));
    let taken_out = mara.takes_out().await;

    let elsewhere = world.another_node("elsewhere").await;
    let leo = Person::arrives(&elsewhere, "Leo", std::sync::Arc::default()).await;
    assert_eq!(leo.recovers(&key).await.unwrap_err().reason, "UNKNOWN_WORKSPACE");
    brings_in(&leo.client, taken_out).await.unwrap();
    let leo = leo.in_workspace(workspace_id(&id));
    let cut = leo.recovers(&key[..60]).await.unwrap_err();
    assert!(cut.message.contains("cut off"), "{cut:?}");
    assert_eq!(leo.recovers(&key.to_lowercase()).await.unwrap().actor, leo.actor.to_string());
    leo.makes_table("cues", &["label text"]).await;
    leo.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    assert_eq!(leo.asks_what_it_is().await.node_id.len(), 64);
    assert!(leo.describes().await.members.len() >= 5, "Leo and his node are members, too");

    // Where the workspace is still, what he wrote is history like any other.
    let taken = brings_in(&mara.client, leo.takes_out().await).await.unwrap();
    assert_eq!((taken.refused_bundles, taken.new_bundles), (0, 3));
    let file = world.file("key.txt", key);
    let line = format!("openprod recover --key-file {}", file.display());
    leo.types(&line).await.ok().says(&id);
}

#[tokio::test]
async fn a_ticket_joins_another_node_and_whoever_works_there_becomes_a_member() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    let ticket = mara.invites(1).await;
    assert_eq!(ticket.addresses, [mara.is_dialled_at().await]);

    let mut tour = world.another_node("tour").await;
    let leo = world.visitor(&tour, "Leo").await;
    let cut = leo.types(&format!("openprod join {}", &ticket.ticket[..100])).await.fails(1);
    cut.says("cut off").says("Copy it again");
    leo.types(&format!("openprod join {}", ticket.ticket))
        .await
        .ok()
        .says("Joined Hamlet")
        .says(&mara.workspace_id().to_string());
    let key = leo.knows_peers().await.key;
    assert!(mara.describes().await.members.iter().any(|member| member.actor == key), "Leo's node is a member");
    mara.shares(1).await;
    leo.shares(1).await;
    assert_eq!(mara.lists_invites().await, ["used_up, 1 of 1"]);
    leo.types(&format!("openprod join {}", ticket.ticket)).await.ok().says("Joined Hamlet");

    // A restart before anything came changes nothing; then the history comes, here on a stick.
    tour.dies();
    tour.comes_back().await;
    let leo = leo.through(tour.socket()).await.in_workspace(mara.workspace_id());
    mara.shares(1).await;
    brings_in(&leo.client, mara.takes_out().await).await.unwrap();
    leo.is_a_member().await;
    leo.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    mara.meets(&leo).await;
    assert_eq!(mara.sees("LX 1", "label").await, "Dawn");
}

#[tokio::test]
async fn a_ticket_that_is_over_or_anothers_joins_nobody() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    let ticket = mara.invites(1).await;
    mara.revokes(&ticket).await;
    let tour = world.another_node("tour").await;
    let leo = world.visitor(&tour, "Leo").await;
    leo.types(&format!("openprod join {}", ticket.ticket)).await.fails(1).says("was revoked").says("new ticket");
    assert!(leo.lists_workspaces().await.is_empty(), "nothing half made is left");
    let address = mara.is_dialled_at().await;
    leo.types(&format!("openprod join --at {address}")).await.fails(1).says("lets nobody ask");
    leo.types("openprod join").await.fails(1).says("near can be joined").says("Ask a member for a ticket");
}

#[tokio::test]
async fn who_asks_is_let_in_when_a_member_has_compared_the_code() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    mara.settles("join_mode", "request").await;
    let tour = world.another_node("tour").await;
    let leo = world.visitor(&tour, "Leo").await;
    let address = mara.is_dialled_at().await;
    let says_no = async |code: String| {
        mara.hears_a_knock().await;
        mara.turns_away(&code).await.unwrap();
    };
    let denied = leo.tries_to_join("", &address, says_no).await.unwrap_err();
    assert!(denied.to_string().contains("said no"), "{denied}");
    let approves = async |code: String| {
        mara.hears_a_knock().await;
        assert_eq!(mara.looks_who_waits().await.len(), 1);
        mara.types(&format!("openprod requests approve \"{code}\"")).await.ok().says("Admitted");
    };
    assert_eq!(leo.tries_to_join("", &address, approves).await.unwrap(), "Hamlet");
    mara.shares(1).await;
}

#[tokio::test]
async fn whoever_breaks_off_joining_leaves_nothing_half_done_and_may_join_again() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    let ticket = mara.invites(1).await.ticket;
    // Leo goes away when he was let in, and his node is about to make the workspace.
    let slow = Setup::among_peers().with_failpoints("joining-before-noted=sleep(1000)");
    let tour = world.another_node_as("tour", slow).await;
    let leo = world.visitor(&tour, "Leo").await;
    let asked = v1::JoinRequest { ticket: ticket.clone(), actor: leo.actor.to_string(), ..Default::default() };
    let answers = leo.client.join(asked).await.unwrap();
    tour.has_begun(&mara.workspace_id().to_string()).await;
    drop(answers);
    let leo = leo.in_workspace(mara.workspace_id());
    leo.finds_workspace().await;
    leo.is_a_member().await;
    leo.types(&format!("openprod join {ticket}")).await.ok().says("Joined Hamlet");
    assert_eq!(leo.client.list_workspaces().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_open_workspace_and_a_recovery_key_ask_nobody() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    let address = mara.is_dialled_at().await;
    let nobody = async |code: String| panic!("nobody compares {code}");
    mara.settles("join_mode", "open").await;
    let tour = world.another_node("tour").await;
    let leo = world.visitor(&tour, "Leo").await;
    assert_eq!(leo.tries_to_join("", &address, nobody).await.unwrap(), "Hamlet");
    let (_, key) = founds_with_recovery_key(&mara.client, "Macbeth").await;
    assert_eq!(leo.tries_to_join(&key, &address, nobody).await.unwrap(), "Macbeth");
    assert_eq!(leo.client.list_workspaces().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_new_recovery_key_takes_the_place_of_the_one_before() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let (first, second) = (mara.renews_recovery_key().await, mara.renews_recovery_key().await);
    assert_eq!((first.replaced.len(), &second.replaced), (64, &first.actor), "the workspace began with one");
    let third = mara.types("openprod recovery new --yes --json").await.ok().json();
    assert_eq!(third[0]["replaced"].as_str(), Some(second.actor.as_str()), "{third:?}");
    let leo = world.stranger("Leo").await;
    for worthless in [&first.recovery_key, &second.recovery_key] {
        assert_eq!(leo.recovers(worthless).await.unwrap_err().reason, "NOT_A_MEMBER");
    }
    leo.types("openprod recovery new --yes").await.fails(1).says("not a member");
    leo.recovers(third[0]["recovery_key"].as_str().unwrap()).await.unwrap();
    mara.types("openprod recovery new").await.fails(2).says("--yes");
    mara.types("openprod settings put recovery_key paper").await.fails(1).says("openprod recovery new");
}

#[tokio::test]
async fn a_node_that_listens_to_itself_only_says_that_it_finds_nobody() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    let around = mara.looks_around().await;
    assert!(around.workspaces.is_empty() && around.trouble.contains("does not look for others"), "{around:?}");
    mara.types("openprod nearby").await.ok().says("does not look for others");
    mara.types("openprod join --open Macbeth").await.fails(1).says("openprod nearby").says("--at ADDRESS");
    mara.types("openprod join --open Macbeth --at 10.0.0.5").await.fails(2);
    mara.types("openprod requests").await.ok().says("waits at the node that he asked");
}
