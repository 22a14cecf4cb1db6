//! Answers that take long to compute, kept off the threads that serve.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::api::wire::problem::ApiError;
use crate::telemetry::request::carried;

/// Threads for answers that may take seconds: contours of a hardware profile, drawing. More at once
/// than there are wait, in the order in which they came.
#[derive(Debug, Clone)]
pub struct AnswerThreads {
    permits: Arc<Semaphore>,
}

impl AnswerThreads {
    /// So many threads; at least one.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(threads.max(1))) }
    }

    /// Computes an answer on one of them. Where the caller gives up before its turn nothing is computed.
    ///
    /// # Errors
    /// Those of `answer`.
    pub async fn run<T: Send + 'static>(
        &self,
        answer: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|error| ApiError::Internal(error.into()))?;
        let computed = tokio::task::spawn_blocking(carried(move || {
            // Held until the work ends, whether anybody still waits for it or not.
            let _permit = permit;
            answer()
        }));
        match computed.await {
            Ok(answer) => answer,
            // As it would have been on the caller's thread.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(ApiError::Internal(error.into())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn no_more_run_at_once_than_there_are_threads() {
        let threads = AnswerThreads::new(2);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let answers = (0..8).map(|i| {
            let (threads, running, most) = (threads.clone(), running.clone(), most.clone());
            tokio::spawn(async move {
                let work = move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(10));
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok(i)
                };
                threads.run(work).await.unwrap()
            })
        });
        let answers: Vec<_> = answers.collect();
        let mut sum = 0;
        for answer in answers {
            sum += answer.await.unwrap();
        }
        assert_eq!((sum, most.load(Ordering::SeqCst)), (28, 2));
    }

    #[tokio::test]
    async fn a_panic_reaches_the_caller_and_frees_the_thread() {
        let threads = AnswerThreads::new(1);
        let asking = threads.clone();
        let failed = tokio::spawn(async move {
            asking.run(|| -> Result<(), ApiError> { panic!("on purpose") }).await
        });
        assert!(failed.await.unwrap_err().is_panic());
        assert_eq!(threads.run(|| Ok(1)).await.unwrap(), 1);
    }
}
