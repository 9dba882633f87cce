//! Who may do what: members, identities, and workspaces that know nothing of each other.

use openprod_client::v1;

use crate::world::{World, create_record, row, set_to, unpacks_identity};

#[tokio::test]
async fn what_happens_in_one_workspace_stays_there() {
    let world = World::new().await;
    let (mara, tara) = (world.person_in("Hamlet", "Mara").await, world.person_in("Tosca", "Tara").await);
    mara.makes_table("cues", &["label text"]).await;
    tara.makes_table("cues", &["label text"]).await;
    let in_hamlet = mara.adds("cues", "LX 12", row!["label" => "Dawn"]).await;
    assert_eq!(tara.lists("cues").await, [""; 0]);
    let refused = tara.fails_at(vec![create_record(&in_hamlet, "cues", Vec::new())]).await;
    assert_eq!(refused.reason, "REQUIRED_MISSING", "the id is free over there: {refused:?}");
    let question = v1::GetRecordRequest {
        workspace: tara.workspace_id().to_string(),
        record: in_hamlet.clone(),
        ..Default::default()
    };
    assert!(tara.client.tables().get_record(question).await.is_err());
    assert_eq!(mara.sees("LX 12", "label").await, "Dawn");
    assert_eq!(mara.lists_workspaces().await, ["Hamlet", "Tosca"]);
    assert_eq!(tara.reads_history(openprod_client::v1::ListBundlesRequest::default()).await.len(), 2);
    world.types("openprod records cues").await.fails(2).says("Hamlet").says("--workspace");
    world.types("openprod records cues -w Hamlet").await.ok().says("Dawn");
}

#[tokio::test]
async fn a_stranger_is_refused_until_admitted_and_again_when_removed() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    let leo = world.stranger("Leo").await;
    let add = |name: &str| vec![create_record("", "cues", vec![set_to("name", name)])];
    let before = mara.everything().await;

    let refused = leo.fails_at(add("LX 1")).await;
    assert_eq!((refused.reason.as_str(), format!("{:?}", refused.code)), ("NOT_A_MEMBER", "PermissionDenied".into()));
    assert!(!refused.message.is_empty() && !refused.next.is_empty(), "{refused:?}");
    assert_eq!(mara.everything().await, before);

    mara.admits(&leo).await;
    leo.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    mara.dismisses(&leo, "left the production").await;
    assert_eq!(leo.fails_at(add("LX 2")).await.reason, "NOT_A_MEMBER");
    assert_eq!(mara.sees("LX 1", "label").await, "Dawn", "what a member wrote stays");
    let members = mara.describes().await.members;
    let leos = members.iter().find(|member| member.name == "Leo").unwrap();
    assert_eq!(leos.membership(), v1::Membership::Removed);
    mara.types("openprod members").await.ok().says("Leo").says("removed");
}

#[tokio::test]
async fn names_are_cosmetic_and_history_shows_the_present_one() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("cues", &[]).await;
    leo.adds("cues", "LX 1", Vec::new()).await;
    mara.calls(&leo, "Leonard").await;
    assert!(
        mara.reads_history(openprod_client::v1::ListBundlesRequest::default())
            .await
            .iter()
            .any(|line| line.starts_with("Leonard: Add"))
    );
    mara.types("openprod members name Leonard Leo").await.ok();
    mara.settles("workspace.note", "bring coffee").await;
    assert!(mara.describes().await.settings.iter().any(|setting| setting.name == "workspace.note"));
}

#[tokio::test]
async fn an_identity_moves_to_another_node_under_its_passphrase_only() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    assert!(mara.lists_identities().await.contains(&"Mara".to_owned()));
    assert_eq!(mara.makes_identity("Assistant").await.display_name, "Assistant");
    let sealed = mara.packs_identity("two words and 7").await;
    assert!(!sealed.is_empty() && !sealed.contains('\n'));

    let tour = world.another_node("tour").await;
    let there = crate::world::connected(tour.socket()).await;
    let refused = unpacks_identity(&there, &sealed, "two words and 8").await.unwrap_err();
    assert_eq!(refused.reason, "INVALID_VALUE", "{refused:?}");
    assert!(refused.message.to_lowercase().contains("passphrase"), "{refused:?}");
    assert!(!refused.message.contains("two words"), "no secret in an error: {refused:?}");
    let taken = unpacks_identity(&there, &sealed, "two words and 7").await.unwrap();
    assert_eq!(taken.identity.unwrap().actor, mara.actor.to_string());
    assert!(unpacks_identity(&there, &sealed, "two words and 7").await.unwrap().already_known);

    world.file("pass", "open sesame\n");
    mara.types("openprod identities").await.ok().says("Mara");
    mara.types("openprod identities export Assistant -o assistant.key --passphrase-file pass").await.ok();
    let typed = "openprod identities import assistant.key --name Brought --passphrase-file pass";
    crate::world::typed(typed, tour.folder(), &[]).await.ok();
}

#[tokio::test]
async fn who_acts_by_default_is_chosen_while_the_node_runs() {
    let mut world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("cues", &[]).await;
    let who = async || mara.reads_history(openprod_client::v1::ListBundlesRequest::default()).await[0].clone();
    let chosen = mara.lets_act_by_default(&leo.actor.to_string()).await;
    assert_eq!((chosen.display_name.as_str(), chosen.is_default), ("Leo", true));
    world.types("openprod new cues \"name=LX 1\"").await.ok();
    assert!(who().await.starts_with("Leo: "), "{}", who().await);

    world.types("openprod identities default Mara").await.ok().says("from now on: Mara");
    world.types("openprod identities default Mara").await.ok().says("already");
    assert_eq!(mara.asks_what_it_is().await.default_actor, mara.actor.to_string());
    world.restarts().await;
    world.types("openprod new cues \"name=LX 2\"").await.ok();
    assert!(who().await.starts_with("Mara: "), "{}", who().await);

    let nobody = v1::SetDefaultIdentityRequest { actor: "07".repeat(32) };
    let refused = mara.client.nodes().set_default_identity(nobody).await.unwrap_err();
    assert_eq!(openprod_api::status::ApiError::from(refused).reason, "UNKNOWN_ACTOR");
    assert_eq!(mara.asks_what_it_is().await.default_actor, mara.actor.to_string());
}
