//! A progress bar for what takes long: on a terminal only, and gone when it is done.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use openprod_client::v1;
use openprod_domain::describe::escaped;

/// A bar; it disappears when it is dropped.
pub(in crate::cli) struct Bar(ProgressBar);

impl Bar {
    /// Nothing is shown where standard error is no terminal.
    pub(in crate::cli) fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len}  {eta} left");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// Shows how far it is.
    pub(in crate::cli) fn at(&self, stage: &str, done: u64, total: u64) {
        self.0.set_message(escaped(stage));
        self.0.set_length(total.max(done));
        self.0.set_position(done);
    }

    /// Shows what the node told.
    pub(in crate::cli) fn told(&self, progress: &v1::Progress) {
        self.at(&progress.stage, progress.done, progress.total);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
