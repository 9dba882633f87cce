//! Files by plain HTTP: ranges, tags, tokens, and what a browser may do with them.

use super::*;

/// A browser's part of the house.
impl House {
    async fn asks(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.port).await.unwrap();
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}Authorization: Bearer {}\r\n{headers}\r\n",
            self.token()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let body = answer.split_off(end + 4);
        (String::from_utf8(answer).unwrap().to_ascii_lowercase(), body)
    }

    /// Puts a file and gives its path.
    async fn files(&self, workspace: &str, bytes: &[u8]) -> String {
        let (head, told) = self.asks("POST", &format!("/workspaces/{workspace}/blobs"), "", bytes).await;
        assert!(head.starts_with("http/1.1 201"), "{head}");
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told["hash"], blake3::hash(bytes).to_hex().to_string());
        assert_eq!(told["size"], bytes.len());
        format!("/workspaces/{workspace}/blobs/{}", told["hash"].as_str().unwrap())
    }
}

fn film() -> Vec<u8> {
    (0..700_000_u32).flat_map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()).take(700_001).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_put_and_got_in_parts_by_whoever_has_a_token() {
    let place = tempfile::tempdir().unwrap();
    let house = House::opens(config(&place.path().join("home"), &[])).await;
    let id = founds_hamlet(&house).await;
    let film = film();
    let path = house.files(&id, &film).await;
    let tag = format!("\"{}\"", path.rsplit('/').next().unwrap());

    let (head, body) = house.asks("GET", &path, "", b"").await;
    assert!(head.starts_with("http/1.1 200") && body == film, "{head}");
    assert!(head.contains(&format!("etag: {tag}")) && head.contains("accept-ranges: bytes"), "{head}");
    assert!(head.contains("attachment") && head.contains("nosniff") && head.contains("sandbox"), "{head}");
    let (head, body) = house.asks("HEAD", &path, "", b"").await;
    assert!(head.contains("content-length: 700001") && body.is_empty(), "{head}");

    for (range, wanted) in [("0-0", 0..1), ("262143-262144", 262_143..262_145), ("-5", 699_996..700_001)] {
        let (head, body) = house.asks("GET", &path, &format!("Range: bytes={range}\r\n"), b"").await;
        assert!(head.starts_with("http/1.1 206"), "{head}");
        let said = format!("content-range: bytes {}-{}/700001", wanted.start, wanted.end - 1);
        assert!(head.contains(&said) && body == film[wanted], "{head}");
    }
    let (head, body) = house.asks("GET", &path, "Range: bytes=700001-\r\n", b"").await;
    assert!(head.starts_with("http/1.1 416") && head.contains("content-range: bytes */700001"), "{head}");
    assert!(body.is_empty());
    let (head, body) = house.asks("GET", &path, &format!("Range: bytes=5-9\r\nIf-Range: {tag}\r\n"), b"").await;
    assert!(head.starts_with("http/1.1 206") && body == film[5..10], "{head}");
    let (head, _) = house.asks("GET", &path, "Range: bytes=5-9\r\nIf-Range: \"other\"\r\n", b"").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let (head, body) = house.asks("GET", &path, &format!("If-None-Match: \"x\", {tag}\r\n"), b"").await;
    assert!(head.starts_with("http/1.1 304") && body.is_empty(), "{head}");
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_file_here_is_refused_in_words() {
    let place = tempfile::tempdir().unwrap();
    let house = House::opens(config(&place.path().join("home"), &[])).await;
    let id = founds_hamlet(&house).await;
    let blobs = format!("/workspaces/{id}/blobs");
    let elsewhere = blake3::hash(b"elsewhere").to_hex();
    for (method, path, headers, body, code, words) in [
        ("GET", format!("{blobs}/{elsewhere}"), "", &b""[..], 404, "is not on this node"),
        ("GET", format!("{blobs}/readme"), "", b"", 400, "64 hexadecimal digits"),
        ("GET", format!("/workspaces/Macbeth/blobs/{elsewhere}"), "", b"", 404, "no workspace called"),
        ("PUT", format!("{blobs}/{elsewhere}"), "", b"something else", 400, "was announced"),
        ("PUT", format!("{blobs}/{elsewhere}"), "", b"elsewhere", 201, "\"size\":9"),
        ("DELETE", format!("{blobs}/{elsewhere}"), "", b"", 405, ""),
        ("GET", format!("{blobs}/{elsewhere}"), "Origin: https://evil.example\r\n", b"", 403, "Pages of this origin"),
        ("POST", "/workspaces/Hamlet/blobs".to_owned(), "", b"by name", 201, "\"size\":7"),
    ] {
        let (head, said) = house.asks(method, &path, headers, body).await;
        let said = String::from_utf8(said).unwrap();
        assert!(head.starts_with(&format!("http/1.1 {code}")) && said.contains(words), "{path}: {head}{said}");
    }
    let without = house.get(&format!("{blobs}/{elsewhere}"), "Host: localhost\r\n").await;
    assert!(without.starts_with("HTTP/1.1 401") && without.contains("carries no token"), "{without}");
    let rebound = house.get(&format!("{blobs}/{elsewhere}"), "Host: evil.example\r\n").await;
    assert!(rebound.starts_with("HTTP/1.1 421"), "{rebound}");
    house.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_is_not_kept() {
    let place = tempfile::tempdir().unwrap();
    let house = House::opens(config(&place.path().join("home"), &[])).await;
    let id = founds_hamlet(&house).await;
    let mut stream = TcpStream::connect(house.port).await.unwrap();
    let head = format!(
        "POST /workspaces/{id}/blobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\nAuthorization: Bearer {}\r\n\r\n",
        house.token()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&film()).await.unwrap();
    drop(stream);
    let incoming = house.node.folder.workspace(id.parse().unwrap()).blobs().join("incoming");
    let is_left = || std::fs::read_dir(&incoming).is_ok_and(|entries| entries.count() > 0);
    let patience = Instant::now() + Duration::from_secs(10);
    while is_left() && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!is_left());
    let mut blobs = v1::blob_service_client::BlobServiceClient::new(house.channel().await);
    let request = v1::ListBlobsRequest { workspace: id, ..v1::ListBlobsRequest::default() };
    assert_eq!(blobs.list_blobs(request).await.unwrap().into_inner().blobs, []);
    house.closes().await;
}
