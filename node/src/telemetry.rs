//! What the node counts, and the page on which Prometheus reads it.
//!
//! Names follow Prometheus' conventions: units in the name, counters end in `_total`. No label ever carries a value
//! that a client or a peer chose, so the number of series is bounded.

use std::sync::OnceLock;

use metrics::Unit;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Counter: requests answered; labels `service`, `method`, `code` (the canonical status).
pub const REQUESTS: &str = "openprod_requests_total";
/// Histogram: seconds from a request to the end of its answer; labels `service`, `method`. Streams are left out.
pub const REQUEST_SECONDS: &str = "openprod_request_seconds";
/// Gauge: requests being served.
pub const REQUESTS_RUNNING: &str = "openprod_requests_running";
/// Counter: requests turned away because too many were being served.
pub const REQUESTS_SHED: &str = "openprod_requests_shed_total";
/// Gauge: open `Watch` streams.
pub const WATCHERS: &str = "openprod_watchers";
/// Counter: bundles committed through this node, by its clients.
pub const BUNDLES_COMMITTED: &str = "openprod_bundles_committed_total";
/// Counter: conflicts opened by those bundles.
pub const CONFLICTS_OPENED: &str = "openprod_conflicts_opened_total";
/// Gauge: workspaces; label `status` (`ready`, `starting`, `stopped`).
pub const WORKSPACES: &str = "openprod_workspaces";
/// Counter: rooms that failed and were started again; label `room`.
pub const RESTARTS: &str = "openprod_restarts_total";
/// Gauge: bytes still free on the disk of the node's folder.
pub const DISK_FREE_BYTES: &str = "openprod_disk_free_bytes";

/// What kind of metric a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of measurements, by size.
    Histogram,
}

/// Every metric: its name, kind, unit and a sentence for whoever reads the page.
pub const METRICS: &[(&str, Kind, Unit, &str)] = &[
    (REQUESTS, Kind::Counter, Unit::Count, "Requests answered."),
    (REQUEST_SECONDS, Kind::Histogram, Unit::Seconds, "Time from a unary request to its answer."),
    (REQUESTS_RUNNING, Kind::Gauge, Unit::Count, "Requests being served."),
    (REQUESTS_SHED, Kind::Counter, Unit::Count, "Requests turned away because too many were being served."),
    (WATCHERS, Kind::Gauge, Unit::Count, "Open Watch streams."),
    (BUNDLES_COMMITTED, Kind::Counter, Unit::Count, "Bundles committed by this node's clients."),
    (CONFLICTS_OPENED, Kind::Counter, Unit::Count, "Conflicts opened by this node's clients."),
    (WORKSPACES, Kind::Gauge, Unit::Count, "Workspaces, by status."),
    (RESTARTS, Kind::Counter, Unit::Count, "Rooms that failed and were started again."),
    (DISK_FREE_BYTES, Kind::Gauge, Unit::Bytes, "Bytes free on the disk of the node's folder."),
];

/// Upper bounds in seconds: from a read in memory to a request that somebody waits for.
const SECONDS: &[f64] = &[0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// The process's metrics, in the text format of Prometheus.
#[derive(Debug, Clone)]
pub struct Metrics(PrometheusHandle);

/// Starts counting; called again in one process, it gives the same metrics.
pub fn start() -> Metrics {
    static STARTED: OnceLock<Metrics> = OnceLock::new();
    STARTED.get_or_init(install).clone()
}

impl Metrics {
    /// The page to serve at `/metrics`, as `text/plain; version=0.0.4`.
    pub fn page(&self) -> String {
        self.0.render()
    }

    /// Folds measurements into their counts. To be called every few seconds: between calls each one takes memory.
    pub fn tidy(&self) {
        self.0.run_upkeep();
    }
}

fn install() -> Metrics {
    let builder = PrometheusBuilder::new().set_buckets(SECONDS).expect("there are buckets");
    let handle = builder.install_recorder().expect("nothing else in this process installs a recorder");
    for &(name, kind, unit, help) in METRICS {
        match kind {
            Kind::Counter => metrics::describe_counter!(name, unit, help),
            Kind::Gauge => metrics::describe_gauge!(name, unit, help),
            Kind::Histogram => metrics::describe_histogram!(name, unit, help),
        }
    }
    Metrics(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_on_the_page_under_its_own_name() {
        let metrics = start();
        metrics::counter!(REQUESTS, "service" => "TableService").increment(2);
        metrics::histogram!(REQUEST_SECONDS).record(0.003);
        metrics::gauge!(DISK_FREE_BYTES).set(42.0);
        start().tidy();
        let page = metrics.page();
        assert!(page.contains("openprod_requests_total{service=\"TableService\"} 2\n"), "{page}");
        assert!(page.contains("openprod_request_seconds_bucket{le=\"0.005\"} 1\n"), "{page}");
        assert!(page.contains("# HELP openprod_disk_free_bytes Bytes free"), "{page}");
    }

    #[test]
    fn names_tell_their_kind_and_unit() {
        for &(name, kind, unit, help) in METRICS {
            assert!(name.starts_with("openprod_") && help.ends_with('.'), "{name}");
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), unit == Unit::Seconds, "{name}");
            assert_eq!(name.ends_with("_bytes"), unit == Unit::Bytes, "{name}");
        }
    }
}
