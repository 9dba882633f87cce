//! The doors: who may knock, who is turned away, and what a browser that was tricked cannot do.

use openprod_client::{Client, Endpoint, Token, v1};

use crate::world::{Setup, World, grpc_web, raw};

#[tokio::test]
async fn over_tcp_a_call_acts_as_the_owner_of_its_token() {
    let world = World::with(Setup::on_tcp()).await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &[]).await;
    let url = format!("http://{}", world.house.address());
    let token = world.house.token(&mara.actor.to_string());
    let remote = mara.through(Endpoint::Http(url.clone(), Some(token))).await;
    remote.adds("cues", "LX 1", Vec::new()).await;
    assert_eq!(mara.lists("cues").await, ["LX 1"]);
    let leo = world.person("Leo").await;
    let forged = v1::ExecuteRequest { actor: leo.actor.to_string(), ..remote.request(vec![]) };
    let refused = remote.fails_to_send(forged).await;
    assert_eq!((refused.reason.as_str(), refused.at.as_str()), ("ACTOR_NOT_YOURS", "actor"), "{refused:?}");
    let file = world.house.token_file(&mara.actor.to_string());
    world
        .types(&format!("openprod records cues --connect {url} --token-file {}", file.display()))
        .await
        .ok()
        .says("LX 1");
}

#[tokio::test]
async fn a_port_that_the_system_chose_is_told_as_it_is() {
    let world = World::with(Setup::on_tcp()).await;
    let told = world.house.says("(gRPC; with a token)").await;
    assert!(told.contains(&format!("http://{} ", world.house.address())), "{told}");
}

#[tokio::test]
async fn without_a_token_or_with_a_wrong_one_nothing_is_told() {
    let world = World::with(Setup::on_tcp()).await;
    let mara = world.person("Mara").await;
    let url = format!("http://{}", world.house.address());
    for token in [None, Some(Token::new("wrong").unwrap()), Some(Token::new(&"0".repeat(64)).unwrap())] {
        let client = Client::connect(Endpoint::Http(url.clone(), token)).await.unwrap();
        let refused = client.list_workspaces().await.unwrap_err();
        assert_eq!(refused.reason(), Some(v1::Reason::Unauthenticated), "{refused:?}");
        assert!(!refused.to_string().contains(&mara.workspace_id().to_string()));
    }
    let address = world.house.address();
    let answer = grpc_web(&address, "NodeService/GetInfo", &[], &[]).await;
    assert_eq!(answer.grpc_status(), "16", "{answer:?}");
    let page = raw(&address, "GET /healthz", &[("host", &address)], &[]).await;
    assert_eq!(page.status, 200, "{page:?}");
}

#[tokio::test]
async fn a_page_that_was_rebound_to_this_machine_is_misdirected() {
    let world = World::with(Setup::on_tcp()).await;
    let mara = world.person("Mara").await;
    let address = world.house.address();
    let token = std::fs::read_to_string(world.house.token_file(&mara.actor.to_string())).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let good = [("authorization", bearer.as_str())];
    assert_eq!(grpc_web(&address, "NodeService/GetInfo", &good, &[]).await.grpc_status(), "0");
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", ""] {
        let headers = [("host", host), ("authorization", bearer.as_str())];
        let answer = grpc_web(&address, "NodeService/GetInfo", &headers, &[]).await;
        assert!([421, 400].contains(&answer.status), "{host}: {answer:?}");
        assert!(!answer.text().contains("data_dir") && !answer.head.contains("grpc-status: 0"), "{answer:?}");
        let page = raw(&address, "GET /metrics", &[("host", host)], &[]).await;
        assert!([421, 400].contains(&page.status), "{host}: {page:?}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_forbidden() {
    let world = World::with(Setup::on_tcp()).await;
    let mara = world.person("Mara").await;
    let address = world.house.address();
    let token = std::fs::read_to_string(world.house.token_file(&mara.actor.to_string())).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    for origin in ["https://evil.example", "null", "http://localhost.evil.example"] {
        let headers = [("origin", origin), ("authorization", bearer.as_str())];
        let answer = grpc_web(&address, "NodeService/GetInfo", &headers, &[]).await;
        assert_eq!(answer.status, 403, "{origin}: {answer:?}");
    }
    let headers = [("origin", "http://localhost:5173"), ("authorization", bearer.as_str())];
    assert_eq!(grpc_web(&address, "NodeService/GetInfo", &headers, &[]).await.grpc_status(), "0");
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_told_as_such() {
    let world = World::with(Setup::on_tcp()).await;
    let mara = world.person("Mara").await;
    let address = world.house.address();
    let token = std::fs::read_to_string(world.house.token_file(&mara.actor.to_string())).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let expired = [("authorization", bearer.as_str()), ("grpc-timeout", "1n")];
    let answer = grpc_web(&address, "NodeService/RunDiagnostics", &expired, &[]).await;
    assert_eq!(answer.grpc_status(), "4", "{answer:?}");
}

#[tokio::test]
async fn what_is_no_call_is_answered_and_harms_nobody() {
    let world = World::with(Setup::on_tcp()).await;
    let mara = world.person("Mara").await;
    let address = world.house.address();
    let token = std::fs::read_to_string(world.house.token_file(&mara.actor.to_string())).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let good = [("authorization", bearer.as_str())];
    assert_eq!(raw(&address, "GET /", &[("host", &address)], &[]).await.status, 404);
    assert_eq!(grpc_web(&address, "NodeService/Nothing", &good, &[]).await.grpc_status(), "12");
    let garbage = grpc_web(&address, "CommandService/Execute", &good, &[0xff; 300]).await;
    assert_ne!(garbage.grpc_status(), "0", "{garbage:?}");
    let headers = [("host", address.as_str()), ("content-type", "application/grpc-web+proto"), good[0]];
    let lying = [&[0_u8], &u32::MAX.to_be_bytes()[..], b"short"].concat();
    let answer = raw(&address, "POST /openprod.v1.CommandService/Execute", &headers, &lying).await;
    assert!(!answer.head.contains("grpc-status: 0"), "{answer:?}");
    let metrics = raw(&address, "GET /metrics", &[("host", &address)], &[]).await;
    assert!(metrics.text().contains("openprod_requests_total"), "{metrics:?}");
    mara.makes_table("cues", &[]).await;
}
