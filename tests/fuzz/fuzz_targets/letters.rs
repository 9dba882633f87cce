//! Any text that somebody types or scans as a ticket, a client's ticket or a recovery key: refused in words, or read to
//! one that is written so again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openprod_wire::client_ticket::ClientTicket;
use openprod_wire::recovery::RecoveryKey;
use openprod_wire::ticket::Ticket;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    match Ticket::parse(&text) {
        Ok(ticket) => {
            let again = Ticket::parse(&ticket.to_string()).expect("what is written is read");
            assert_eq!(again.to_string(), ticket.to_string());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match ClientTicket::parse(&text) {
        Ok(ticket) => assert_eq!(ClientTicket::parse(&ticket.reveal()).expect("what is written is read"), ticket),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match RecoveryKey::parse(&text) {
        Ok(key) => {
            let again = RecoveryKey::parse(&key.reveal()).expect("what is written is read");
            assert_eq!(*again.reveal(), *key.reveal());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
