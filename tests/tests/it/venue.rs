//! A node for a whole house: clients on other machines reach it by TLS, with a token each, and see what its owner may see.

use std::net::SocketAddr;

use openprod_client::{ClientTicket, Event, Fingerprint, From, v1};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{Setup, World, begins, client_of, raw, rest_of, row, turned_away, typed};

#[tokio::test]
async fn a_ticket_is_all_that_a_client_on_another_machine_needs() {
    let world = World::with(Setup::for_a_house()).await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    let made = mara.types("openprod token create --name \"Fly floor\" --json").await.ok().json();
    let ticket = made[0]["ticket"].as_str().unwrap().to_owned();

    // Another machine: no folder of the node, no socket, and a home of its own.
    let elsewhere = world.desk().join("elsewhere/node");
    std::fs::create_dir(elsewhere.parent().unwrap()).unwrap();
    let home = world.desk().join("home").display().to_string();
    let at_home = [("XDG_CONFIG_HOME", home.as_str())];
    let connect = typed(&format!("openprod connect house {ticket}"), &elsewhere, &at_home).await;
    connect.ok().says("Reached openprod").says("--node house");
    typed("openprod --node house set cues \"LX 1\" label=Dusk", &elsewhere, &at_home).await.ok();
    mara.comes_to_see("LX 1", "label", "Dusk").await;
    let by_ticket = [("OPENPROD_NODE", ticket.as_str()), at_home[0]];
    typed("openprod records cues", &elsewhere, &by_ticket).await.ok().says("Dusk");
    typed("openprod --node house tokens", &elsewhere, &at_home).await.fails(1).says("Unix socket only");
    typed("openprod --node nowhere status", &elsewhere, &at_home).await.fails(2).says("openprod connect nowhere");
    typed(&format!("openprod connect cut {}", &ticket[..80]), &elsewhere, &at_home).await.fails(2).says("cut off");

    mara.types("openprod tokens").await.ok().says("Fly floor").says("Mara");
    mara.types("openprod token revoke \"Fly floor\"").await.ok().says("taken back");
    typed("openprod --node house status", &elsewhere, &at_home).await.fails(1).says("token create");
    assert!(mara.lists_tokens().await.is_empty());
}

#[tokio::test]
async fn a_token_that_is_taken_back_ends_what_is_under_way_with_it_and_nothing_else() {
    let mut world = World::with(Setup::for_a_house()).await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &[]).await;
    let (lost, kept) = (mara.gives_token("Tablet").await, mara.gives_ticket("Desk").await);
    let tablet = mara.by_ticket(&ClientTicket::parse(&lost.ticket).unwrap()).await;
    let desk = mara.by_ticket(&kept).await;
    let mut watches = [&tablet, &desk].map(|person| person.workspace().watch(From::Snapshot, Vec::new()));
    for watch in &mut watches {
        while !matches!(watch.next().await.unwrap(), Event::SnapshotEnd(_)) {}
    }
    mara.takes_token_back(&lost).await;
    let [of_tablet, of_desk] = &mut watches;
    let ended = loop {
        match of_tablet.next().await {
            Ok(_) => {}
            Err(ended) => break ended,
        }
    };
    assert_eq!(ended.reason(), Some(v1::Reason::Unauthenticated), "{ended}");
    mara.adds("cues", "LX 1", Vec::new()).await;
    while !matches!(of_desk.next().await.unwrap(), Event::Batch(_)) {}

    // What was given out outlives a restart, and so does the certificate.
    let certificate = mara.knows_certificate().await.fingerprint;
    world.restarts().await;
    let mara = mara.through(world.house.socket()).await;
    assert_eq!(mara.knows_certificate().await.fingerprint, certificate);
    assert_eq!(mara.lists_tokens().await, ["Desk"]);
}

#[tokio::test]
async fn downloads_and_uploads_by_plain_http_break_off_when_their_token_is_taken_back() {
    let world = World::with(Setup::on_tcp()).await;
    let mara = world.person("Mara").await;
    // More than the system holds of what a client does not read.
    let film = vec![7; 24 << 20];
    let hash = mara.puts_file(&film).await.hash;
    let token = mara.gives_token("Script").await;
    let bearer = format!("Bearer {}", token.secret);
    let address = world.house.address();
    let headers = [("host", address.as_str()), ("authorization", bearer.as_str())];
    let place = format!("/workspaces/{}/blobs", mara.workspace_id());
    let mut download = begins(&address, &format!("GET {place}/{hash}"), &headers, 0).await;
    let mut upload = begins(&address, &format!("POST {place}"), &headers, 2_000_000).await;
    let mut first = [0; 12];
    download.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    upload.write_all(&film[..1_000_000]).await.unwrap();

    mara.takes_token_back(&token).await;
    let came = rest_of(download).await;
    assert!(came.body.len() < film.len(), "it ends short");
    let refused = rest_of(upload).await;
    assert!(refused.status == 0 || refused.status >= 400, "{refused:?}");
    assert_eq!(mara.lists_files().await.len(), 1, "half a file is none");
    // Who calls through the socket is not concerned.
    assert_eq!(mara.gets_file(&hash).await.unwrap(), film);
}

#[tokio::test]
async fn somebody_with_another_certificate_is_told_nothing() {
    let world = World::with(Setup::for_a_house()).await;
    let mara = world.person("Mara").await;
    let ticket = mara.gives_ticket("Tablet").await;
    let other = ClientTicket { certificate: Fingerprint::of(b"another one"), ..ticket.clone() };
    let refused = turned_away(other).await.to_string();
    assert!(refused.contains(&ticket.certificate.to_string()) && refused.contains("Nothing was said"), "{refused}");
    let certificate = mara.types("openprod certificate").await.ok().says("BEGIN CERTIFICATE").says("openprod");
    certificate.says(&ticket.certificate.to_string()).says_nothing_of("PRIVATE");
    let plain = raw(&world.house.address(), "GET /healthz", &[("host", "127.0.0.1")], &[]).await;
    assert_eq!((plain.status, plain.body.len()), (0, 0), "in clear nothing is answered: {plain:?}");
}

#[tokio::test]
async fn without_tls_nobody_listens_beyond_this_machine() {
    let world = World::new().await;
    let folder = world.desk().join("careless");
    let refused = typed("openprod up --listen 0.0.0.0:0 --tls off", &folder, &[]).await;
    refused.fails(2).says("every token").says("tls to \"auto\"").says("ssh -L");
    assert!(!folder.exists(), "nothing was begun");
    world.types("openprod certificate").await.fails(1).says("listen");
    let here = world.person("Mara").await.gives_token("Script").await;
    assert!(here.ticket.is_empty() && here.secret.len() == 64, "a node on this machine only has no ticket to give");
}

#[tokio::test]
async fn whoever_guesses_tokens_is_told_to_wait_and_nobody_else_is() {
    let world = World::with(Setup::for_a_house()).await;
    let mara = world.person("Mara").await;
    let ticket = mara.gives_ticket("Tablet").await;
    let wrong = ClientTicket { token: openprod_client::BearerToken::from_bytes([9; 32]), ..ticket.clone() };
    let stranger = client_of(&wrong).await;
    let mut reason = None;
    for _ in 0..30 {
        let refused = stranger.ask(v1::GetInfoRequest {}).await.unwrap_err();
        assert!(!refused.to_string().contains(world.house.folder().to_str().unwrap()), "{refused}");
        reason = refused.reason();
        if reason == Some(v1::Reason::TooBusy) {
            break;
        }
        assert_eq!(reason, Some(v1::Reason::Unauthenticated), "{refused}");
    }
    assert_eq!(reason, Some(v1::Reason::TooBusy));
    assert!(world.house.has_said("wrong tokens"));
    client_of(&ticket).await.ask(v1::GetInfoRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_token_shows_the_workspaces_of_its_owner_and_not_a_trace_of_others() {
    let world = World::with(Setup::for_a_house()).await;
    let mara = world.person("Mara").await;
    let leo = world.person_in("Macbeth", "Leo").await;
    mara.makes_table("cues", &[]).await;
    let hash = mara.puts_file(b"a plan of the stage").await.hash;
    let ticket = leo.gives_ticket("Tablet").await;
    let tablet = leo.by_ticket(&ticket).await;
    assert_eq!(tablet.lists_workspaces().await, ["Macbeth"]);
    assert_eq!(mara.lists_workspaces().await, ["Hamlet", "Macbeth"]);
    let hidden = mara.workspace_id().to_string();
    let status = tablet.client.ask(v1::GetStatusRequest {}).await.unwrap();
    assert_eq!(status.workspaces.len(), 1);
    let checked = format!("{:?}", tablet.has_it_checked().await);
    assert!(checked.contains("Macbeth") && !checked.contains("Hamlet") && !checked.contains(&hidden), "{checked}");
    let absent = tablet.clone().in_workspace("0190b5a0-0000-7000-8000-000000000000".parse().unwrap());
    let prying = tablet.clone().in_workspace(mara.workspace_id());
    for person in [&prying, &absent] {
        let question = v1::ListTablesRequest { workspace: person.workspace_id().to_string(), ..Default::default() };
        let refused = person.client.ask(question).await.unwrap_err();
        assert_eq!(refused.reason(), Some(v1::Reason::UnknownWorkspace), "{refused}");
        let refused = person.fails_to_send(person.request(Vec::new())).await;
        assert_eq!(refused.reason, "UNKNOWN_WORKSPACE");
    }
    assert!(prying.workspace().blob(hash.parse().unwrap()).await.is_err());
    mara.admits(&leo).await;
    mara.catches_up().await;
    assert_eq!(tablet.lists_workspaces().await, ["Hamlet", "Macbeth"]);
    mara.dismisses(&leo, "He left").await;
    mara.catches_up().await;
    assert_eq!(tablet.lists_workspaces().await, ["Macbeth"]);
}

#[tokio::test]
async fn a_ticket_leads_to_every_address_but_loopback_where_there_is_another() {
    let world = World::with(Setup::for_a_house()).await;
    let made = world.person("Mara").await.gives_token("Tablet").await;
    let ticket = ClientTicket::parse(&made.ticket).unwrap();
    let told: Vec<SocketAddr> = made.addresses.iter().map(|address| address.parse().unwrap()).collect();
    assert_eq!(ticket.addresses, told);
    let is_loopback = |address: &SocketAddr| address.ip().is_loopback();
    assert!(told.iter().all(is_loopback) || !told.iter().any(is_loopback), "{told:?}");
    assert_eq!(ticket.token.reveal(), made.secret);
}
