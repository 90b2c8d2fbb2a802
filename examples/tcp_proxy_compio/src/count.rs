//! How many there are, counted by guards. COPY: the file.

use tokio::sync::watch;

/// A number of things that are there. A clone counts the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(watch::Sender<usize>);

/// One of them. It is counted for as long as it lives: also where its task is cancelled or panics, which no
/// line at a task's end would see.
#[derive(Debug)]
pub(crate) struct Counted(watch::Sender<usize>);

impl Count {
    pub(crate) fn one_more(&self) -> Counted {
        self.0.send_modify(|count| *count += 1);
        Counted(self.0.clone())
    }

    pub(crate) fn get(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until there are fewer than `limit`.
    pub(crate) async fn below(&self, limit: usize) {
        // There is a sender, this one: so it is no error.
        _ = self.0.subscribe().wait_for(|count| *count < limit).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
