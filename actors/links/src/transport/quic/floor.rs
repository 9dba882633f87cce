//! The floor under whatever goes between nodes: how long one bare QUIC stream over loopback takes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openprod_model::identity::Keys;
use quinn::Endpoint;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};

use super::tls::{self, WantedKey};
use super::{NAME, PROTOCOL, endpoint};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is written at once.
const PIECE_BYTES: usize = 1024 * 1024;

/// From the first byte written to the last one read, with quinn's own settings: nobody looks at the bytes, and nothing
/// is stored. The handshake is not counted.
pub async fn stream(bytes: usize) -> Result<Duration, Failure> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = QuicServerConfig::try_from(tls::dialled(&Keys::from_seed(&[1; 32]), PROTOCOL)?)?;
    let there = endpoint(loopback, quinn::ServerConfig::with_crypto(Arc::new(server)))?;
    let address = there.local_addr()?;
    let reading = tokio::spawn(reads(there));
    let client = tls::dialler(&Keys::from_seed(&[2; 32]), PROTOCOL, WantedKey::new(None))?;
    let client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
    let connection = Endpoint::client(loopback)?.connect_with(client, address, NAME)?.await?;
    let mut stream = connection.open_uni().await?;
    let (start, piece) = (Instant::now(), vec![7; PIECE_BYTES]);
    for _ in 0..bytes.div_ceil(PIECE_BYTES) {
        stream.write_all(&piece).await?;
    }
    stream.finish()?;
    reading.await??;
    Ok(start.elapsed())
}

async fn reads(there: Endpoint) -> Result<(), Failure> {
    let connection = there.accept().await.ok_or("somebody dials")?.await?;
    let mut stream = connection.accept_uni().await?;
    while stream.read_chunk(PIECE_BYTES, true).await?.is_some() {}
    Ok(())
}
