//! Waits for states and never for times: a busy machine takes longer, with the same result.

use std::time::Duration;

/// How often a state is checked before the test fails: some minutes, if a check takes next to no time.
const MOST_LOOKS: usize = 12_000;

/// Waits until a condition holds.
pub async fn until(mut is_so: impl AsyncFnMut() -> bool, what: &str) {
    until_some(async || is_so().await.then_some(()), what).await;
}

/// Waits until a value is found, and returns it.
pub async fn until_some<T>(mut find: impl AsyncFnMut() -> Option<T>, what: &str) -> T {
    for _ in 0..MOST_LOOKS {
        if let Some(found) = find().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
