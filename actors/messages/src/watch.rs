//! A value that is watched: tokio's `watch`, whose waiters are woken in the order in which they began to wait.
//!
//! tokio spreads those who wait over several lists by a chance that takes no seed, so that thousands of threads do not
//! crowd at one. What rooms show each other has a few waiters, and who of them goes on first must not be left to chance:
//! a simulation that is told the same seed again must go the same way again.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::watch as shared;
pub use tokio::sync::watch::Ref;
pub use tokio::sync::watch::error::RecvError;

/// Rings whenever the value changes, and when nobody is left to change it: each who changes it rings when he goes.
#[derive(Debug, Clone)]
struct Bell(Arc<Notify>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

/// Who changes the value. Clones change the same one.
#[derive(Debug)]
pub struct Sender<T> {
    // Dropped before the bell, which rings last.
    value: shared::Sender<T>,
    bell: Bell,
}

/// Who watches it. A clone has seen what the one that was cloned had seen.
#[derive(Debug)]
pub struct Receiver<T> {
    value: shared::Receiver<T>,
    bell: Arc<Notify>,
}

/// A value, and one who watches it and has seen it.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Sender<T> {
    /// A value that nobody watches yet.
    pub fn new(value: T) -> Self {
        Self { value: shared::Sender::new(value), bell: Bell(Arc::default()) }
    }

    /// One more who watches, and has seen the present value.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver { value: self.value.subscribe(), bell: Arc::clone(&self.bell.0) }
    }

    /// The value. It cannot change while it is borrowed.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.value.borrow()
    }

    /// Puts another value in its place, and gives back the one before.
    pub fn send_replace(&self, value: T) -> T {
        let before = self.value.send_replace(value);
        self.bell.0.notify_waiters();
        before
    }

    /// Changes the value, and tells all who watch.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.value.send_modify(change);
        self.bell.0.notify_waiters();
    }

    /// Changes the value, and tells those who watch if the change says that it was one. Gives what it said.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let is_news = self.value.send_if_modified(change);
        if is_news {
            self.bell.0.notify_waiters();
        }
        is_news
    }

    /// How many watch.
    pub fn receiver_count(&self) -> usize {
        self.value.receiver_count()
    }

    /// Waits until nobody watches.
    pub async fn closed(&self) {
        self.value.closed().await;
    }
}

impl<T: Default> Default for Sender<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), bell: self.bell.clone() }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<T> Receiver<T> {
    /// The value, whether it was seen or not. It cannot change while it is borrowed.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.value.borrow()
    }

    /// The value, which counts as seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        self.value.borrow_and_update()
    }

    /// Whether there is a value that was not seen. Fails if nobody is left to change it.
    pub fn has_changed(&self) -> Result<bool, RecvError> {
        self.value.has_changed()
    }

    /// The present value counts as not seen.
    pub fn mark_changed(&mut self) {
        self.value.mark_changed();
    }

    /// The present value counts as seen.
    pub fn mark_unchanged(&mut self) {
        self.value.mark_unchanged();
    }

    /// Waits for a value that was not seen; it counts as seen. Fails if there is none and nobody is left to change it. What
    /// waits may be dropped, and nothing is missed.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            // What rings from here on is heard, whoever rings while the value is looked at.
            let rings = self.bell.notified();
            let end = self.value.has_changed();
            if self.value.borrow_and_update().has_changed() {
                return Ok(());
            }
            end?;
            rings.await;
        }
    }

    /// Waits until the value is as wanted; what was looked at counts as seen. Fails if it is not and nobody is left to
    /// change it.
    pub async fn wait_for(&mut self, wanted: impl Fn(&T) -> bool) -> Result<(), RecvError> {
        loop {
            let rings = self.bell.notified();
            let end = self.value.has_changed();
            if wanted(&self.value.borrow_and_update()) {
                return Ok(());
            }
            end?;
            rings.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// As many as tokio's own has lists, several times over.
    const WAITERS: usize = 40;

    #[tokio::test]
    async fn who_began_to_wait_first_goes_on_first() {
        let (sender, receiver) = channel(0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiters: Vec<_> = (0..WAITERS)
            .map(|number| {
                let (mut receiver, order) = (receiver.clone(), Arc::clone(&order));
                tokio::spawn(async move {
                    receiver.wait_for(|value| *value == 1).await.unwrap();
                    order.lock().unwrap().push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        sender.send_replace(1);
        for waiter in waiters {
            waiter.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..WAITERS).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn the_last_value_is_seen_before_the_end_is_told() {
        let (sender, mut receiver) = channel("first");
        sender.send_replace("last");
        drop(sender);
        assert!(receiver.changed().await.is_ok());
        assert_eq!(*receiver.borrow(), "last");
        assert!(receiver.changed().await.is_err());
        assert!(receiver.wait_for(|value| *value == "last").await.is_ok());
        assert!(receiver.wait_for(|value| *value == "first").await.is_err());
    }

    #[tokio::test]
    async fn who_waits_hears_that_nobody_is_left() {
        let (sender, mut receiver) = channel(());
        let waits = tokio::spawn(async move { receiver.changed().await });
        tokio::task::yield_now().await;
        drop(sender);
        assert!(waits.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_change_that_is_none_is_told_to_nobody() {
        let (sender, mut receiver) = channel(1);
        assert!(!sender.send_if_modified(|_| false));
        assert!(!receiver.has_changed().unwrap());
        assert!(sender.send_if_modified(|value| std::mem::replace(value, 2) != 2));
        assert!(receiver.changed().await.is_ok());
        assert!(!receiver.has_changed().unwrap());
        receiver.mark_changed();
        assert!(receiver.changed().await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_change_is_missed_by_threads_that_race() {
        let (sender, mut receiver) = channel(0_u32);
        let watches = tokio::spawn(async move { receiver.wait_for(|value| *value == 10_000).await });
        for value in 1..=10_000 {
            sender.send_replace(value);
        }
        assert!(watches.await.unwrap().is_ok());
    }
}
