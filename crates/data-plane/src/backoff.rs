//! Pauses between tries that go on for as long as the process does.

use std::time::Duration;

use uuid::Uuid;

/// Doubles from `first` to `most`, each with up to a half more, so that replicas that failed
/// together don't come back together.
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next pause, and a longer one after that.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.most);
        let random = u32::from(Uuid::new_v4().as_bytes()[0]);
        pause + pause * random / 512
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew_after_a_success() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, second * 3);
        for expected in [second, second * 2, second * 3, second * 3] {
            let pause = backoff.pause();
            assert!(pause >= expected && pause < expected * 3 / 2, "{pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause() < second * 3 / 2);
    }
}
