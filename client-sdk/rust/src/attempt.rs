//! One call, tried until it is answered, refused, or patience ends.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use tokio::time::{Instant, timeout};
use tonic::Status;

use crate::error::Error;

/// How long a client waits and how often it tries.
#[derive(Debug, Clone)]
pub struct Patience {
    /// For a connection to be made.
    pub connect: Duration,
    /// For one attempt of one call; the node is told this deadline.
    pub attempt: Duration,
    /// For a call with all its attempts.
    pub total: Duration,
    /// How often an attempt is repeated at most.
    pub retries: usize,
    /// How long a watch may be silent before its connection counts as lost; a node says something every 10 s.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            attempt: Duration::from_mins(1),
            total: Duration::from_secs(150),
            retries: 6,
            silence: Duration::from_secs(35),
        }
    }
}

impl Patience {
    /// Waits of 50 ms, doubling up to 2 s, each made up to twice as long by chance, so that clients do not return in step.
    pub(crate) fn backoff(&self) -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(2))
            .with_max_times(self.retries)
    }

    /// Makes a call at `at` once; `call` is given its deadline.
    pub(crate) async fn once<T>(
        &self,
        at: &str,
        call: impl AsyncFnOnce(Duration) -> Result<T, Status>,
    ) -> Result<T, Error> {
        match timeout(self.attempt, call(self.attempt)).await {
            Ok(answer) => answer.map_err(|status| Error::from_status(&status, at)),
            Err(_) => Err(Error::Late { at: at.to_owned() }),
        }
    }

    /// Makes a call at `at` again while it fails in a way that may pass. Only for calls that may be made twice.
    pub(crate) async fn safely<T, C, F>(&self, at: &str, call: C) -> Result<T, Error>
    where
        C: Fn(Duration) -> F,
        F: Future<Output = Result<T, Status>>,
    {
        let deadline = Instant::now() + self.total;
        let attempt = || {
            let left = self.attempt.min(deadline.saturating_duration_since(Instant::now()));
            let answer = call(left);
            async move {
                match timeout(left, answer).await {
                    Ok(answer) => answer.map_err(|status| Error::from_status(&status, at)),
                    Err(_) => Err(Error::Late { at: at.to_owned() }),
                }
            }
        };
        attempt
            .retry(self.backoff())
            .when(|error: &Error| error.is_transient() && Instant::now() < deadline)
            .notify(|error, wait| tracing::debug!(%error, ?wait, "trying again"))
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn impatient() -> Patience {
        Patience { attempt: Duration::from_secs(1), total: Duration::from_secs(5), retries: 3, ..Patience::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_again_and_what_does_not_is_not() {
        let tries = Cell::new(0);
        let call = |_| {
            tries.set(tries.get() + 1);
            let answer = if tries.get() < 3 { Err(Status::unavailable("starting")) } else { Ok(7) };
            std::future::ready(answer)
        };
        assert_eq!(impatient().safely("here", call).await.unwrap(), 7);
        let refused = impatient().safely("here", |_| std::future::ready(Err::<(), _>(Status::not_found("no")))).await;
        assert!(matches!(refused, Err(Error::Refused(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_never_answers_is_given_up_in_time() {
        let began = Instant::now();
        let answer = impatient().safely("here", |_| std::future::pending::<Result<(), Status>>()).await;
        assert!(matches!(answer, Err(Error::Late { .. })));
        assert!(began.elapsed() <= Duration::from_secs(6), "{:?}", began.elapsed());
    }
}
