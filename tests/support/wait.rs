//! Waits for states, never for times: a busy machine takes longer and ends the same.

use std::time::Duration;

/// Looks that are taken at something before it is given up: minutes, where a look takes next to no time.
const MOST_LOOKS: usize = 12_000;

/// Waits until something is so.
pub async fn until(mut is_so: impl AsyncFnMut() -> bool, what: &str) {
    until_some(async || is_so().await.then_some(()), what).await;
}

/// Waits until there is something, and returns it.
pub async fn until_some<T>(mut find: impl AsyncFnMut() -> Option<T>, what: &str) -> T {
    for _ in 0..MOST_LOOKS {
        if let Some(found) = find().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
