//! The node's log lines: text or JSON on standard error, one line per event, safe to show on a terminal.
//!
//! Names, labels and error texts come from other people: whatever could move a cursor, colour a screen, reorder a line
//! or forge a second one is escaped before it is written (CWE-117).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

/// Why logging could not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// The filter is not one; the configuration refuses it earlier.
    #[error("the log filter is not understood: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// This process logs already.
    #[error("logging has already been started: {0}")]
    Started(#[from] tracing_subscriber::util::TryInitError),
    /// This process does not log by this module, so its filter cannot be changed.
    #[error("the log filter of this process cannot be changed: {0}")]
    Fixed(String),
}

/// The filter of this process, and how to change it.
struct Filtering {
    filter: Mutex<String>,
    change: Change,
}

type Change = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

static FILTERING: OnceLock<Filtering> = OnceLock::new();

/// Starts logging for the whole process, once. `filter` is a `tracing` filter such as `info,openprod_oplog=debug`.
pub fn start(filter: &str, format: LogFormat) -> Result<(), LoggingError> {
    let (subscriber, change) = subscriber(filter, format, io::stderr)?;
    subscriber.try_init()?;
    // Only one subscriber can have been started, so nobody was here before.
    let _ = FILTERING.set(Filtering { filter: Mutex::new(filter.to_owned()), change });
    Ok(())
}

/// Logs by another filter from now on, until the process ends. Gives the filter before.
pub fn change_filter(filter: &str) -> Result<String, LoggingError> {
    let parsed = EnvFilter::builder().parse(filter)?;
    let filtering = FILTERING.get().ok_or_else(|| LoggingError::Fixed("logging was not started".to_owned()))?;
    let mut current = filtering.filter.lock().unwrap_or_else(PoisonError::into_inner);
    (filtering.change)(parsed).map_err(LoggingError::Fixed)?;
    Ok(std::mem::replace(&mut *current, filter.to_owned()))
}

/// The text with control and direction characters written as `\n` or `\u001b`; newlines included.
/// What comes out is also right within a JSON string.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(unsafe_to_show) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if unsafe_to_show(c) => write!(safe, "\\u{:04x}", u32::from(c)).expect("a String takes all"),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Control characters, line separators, and those that reorder what follows (CVE-2021-42574).
fn unsafe_to_show(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

type Started = (Box<dyn Subscriber + Send + Sync>, Change);

fn subscriber<W>(filter: &str, format: LogFormat, out: W) -> Result<Started, LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(filter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(Escaping(out));
    Ok(match format {
        LogFormat::Text => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            (Box::new(lines.finish()), Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let handle = lines.reload_handle();
            (Box::new(lines.finish()), Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())))
        }
    })
}

/// Escapes each line on its way to the writer within.
struct Escaping<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Escaping<W> {
    type Writer = Escaping<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Escaping(self.0.make_writer())
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        Escaping(self.0.make_writer_for(meta))
    }
}

impl<W: Write> Write for Escaping<W> {
    /// `line` is a whole event with its newline: the layer above formats it before it writes.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        self.0.write_all(format!("{}\n", escaped(text)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn logged(filter: &str, format: LogFormat, act: fn()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let (subscriber, _) = subscriber(filter, format, move || Sink(Arc::clone(&sink))).unwrap();
        tracing::subscriber::with_default(subscriber, act);
        String::from_utf8(lines.lock().unwrap().clone()).unwrap()
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn hostile() {
        tracing::info!(workspace = "Hamlet\nforged", "\u{1b}[2J\u{202e}Blackout\u{7f}");
        tracing::debug!("not at info");
    }

    #[test]
    fn a_hostile_name_stays_on_its_line() {
        let text = logged("info", LogFormat::Text, hostile);
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.ends_with('\n') && !text.contains(['\u{1b}', '\u{202e}', '\u{7f}']), "{text:?}");
        assert!(text.contains("Blackout\\") && text.contains("Hamlet\\nforged"), "{text}");
    }

    #[test]
    fn json_stays_json() {
        let text = logged("info", LogFormat::Json, hostile);
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["workspace"], "Hamlet\nforged");
        assert!(!text.contains('\u{7f}') && text.matches('\n').count() == 1, "{text}");
    }

    #[test]
    fn the_filter_can_be_changed_while_it_logs() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let (subscriber, change) = subscriber("info", LogFormat::Text, move || Sink(Arc::clone(&sink))).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("before");
            change(EnvFilter::builder().parse("debug").unwrap()).unwrap();
            tracing::debug!("after");
        });
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("before") && text.contains("after"), "{text}");
    }

    #[test]
    fn what_is_harmless_is_left_alone() {
        assert!(matches!(escaped("Çue 42 — Größe \"x\" 日本"), Cow::Borrowed(_)));
        assert_eq!(escaped("a\tb\u{0}"), "a\\tb\\u0000");
    }
}
