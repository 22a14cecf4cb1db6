//! Access to a remote service: its address, how requests are sent, and why there is no answer.
//!
//! The HTTP client is the one that also downloads PostgreSQL's binaries, so it adds no dependency to the program.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, InvalidHeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::Deserialize;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request is repeated that could not be answered at that moment.
const RETRIES: u32 = 3;
/// Longest `Retry-After` that is respected by waiting.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A service's address, and the key to use.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// Address of the service, such as `https://planner.example.org`.
    #[arg(long, env = "SPARSITY_PLANNER_URL")]
    pub url: Url,
    /// API key, if the service requires one; better given by the environment variable, as other users of the machine
    /// can see arguments.
    #[arg(long, env = "SPARSITY_PLANNER_KEY", hide_env_values = true)]
    pub key: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address does not use HTTP.
    #[error("the url must begin with http:// or https://, not {0}")]
    Url(Url),
    /// The key cannot be sent in a header.
    #[error("the key is no API key")]
    Key(#[from] InvalidHeaderValue),
    /// The service did not answer.
    #[error("no answer")]
    Unreachable(#[source] reqwest::Error),
    /// The service refused the request, in its own words.
    #[error("{status}: {detail}")]
    Refused {
        /// Status of the answer.
        status: StatusCode,
        /// The problem's detail and the fields that are wrong.
        detail: String,
    },
    /// The answer does not come from a sparsity planner, or from one of another version.
    #[error("the answer is none of a sparsity planner")]
    NotUnderstood(#[from] serde_json::Error),
}

impl Server {
    /// The URL of the path with these segments.
    ///
    /// # Errors
    /// [`RemoteError::Url`].
    pub fn url(&self, segments: &[&str]) -> Result<Url, RemoteError> {
        let mut url = self.url.clone();
        if !matches!(url.scheme(), "http" | "https") {
            return Err(RemoteError::Url(url));
        }
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url.set_query(None);
        Ok(url)
    }

    /// The body of a successful answer; repeats a request that could not be answered at that moment.
    ///
    /// # Errors
    /// See [`RemoteError`].
    pub async fn get(&self, url: Url) -> Result<String, RemoteError> {
        self.send(Method::GET, url, None).await
    }

    /// Sends JSON, and repeats the request if it could not be processed at that moment: use it only for what may be
    /// sent twice.
    ///
    /// # Errors
    /// See [`RemoteError`].
    pub async fn post(&self, url: Url, json: String) -> Result<String, RemoteError> {
        self.send(Method::POST, url, Some(json)).await
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        json: Option<String>,
    ) -> Result<String, RemoteError> {
        // Fails only if a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No redirects: they would send the question, and on the same host also the key, to a place that nobody named.
        let client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(Policy::none())
            .user_agent(concat!("sparsity-planner/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(RemoteError::Unreachable)?;
        let authorization = self.key.as_deref().map(authorization).transpose()?;
        let mut retry = 0;
        loop {
            let mut request = client.request(method.clone(), url.clone());
            if let Some(value) = &authorization {
                request = request.header(AUTHORIZATION, value.clone());
            }
            if let Some(json) = &json {
                request = request.header(CONTENT_TYPE, "application/json").body(json.clone());
            }
            let outcome = request.send().await;
            let wait = wait_before_retry(outcome.as_ref(), retry);
            match (wait, outcome) {
                (Some(wait), _) => tokio::time::sleep(wait).await,
                (None, Ok(response)) => return read(response).await,
                (None, Err(error)) => return Err(RemoteError::Unreachable(error)),
            }
            retry += 1;
        }
    }
}

fn authorization(key: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {key}"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// How long to wait before a request is repeated; `None` if this outcome is final.
fn wait_before_retry(outcome: Result<&Response, &reqwest::Error>, retry: u32) -> Option<Duration> {
    let asked = match outcome {
        Ok(response) => {
            let status = response.status().as_u16();
            matches!(status, 429 | 502 | 503 | 504).then_some(())?;
            let after = response.headers().get(RETRY_AFTER);
            let seconds = after.and_then(|value| value.to_str().ok()?.parse().ok());
            Duration::from_secs(seconds.unwrap_or(0))
        }
        // A timeout has taken long enough already.
        Err(error) if error.is_timeout() || error.is_builder() => return None,
        Err(_) => Duration::ZERO,
    };
    let growing = Duration::from_millis(500) * 2u32.pow(retry);
    (retry < RETRIES && asked <= LONGEST_WAIT).then(|| asked.max(growing))
}

async fn read(response: Response) -> Result<String, RemoteError> {
    let status = response.status();
    let body = response.text().await.map_err(RemoteError::Unreachable)?;
    if status.is_success() {
        return Ok(body);
    }
    let detail = match serde_json::from_str::<Problem>(&body) {
        Ok(problem) => problem.errors.iter().fold(problem.detail, |mut detail, error| {
            let _ = write!(detail, "\n  {}: {}", error.pointer, error.detail);
            detail
        }),
        Err(_) => body.lines().next().unwrap_or_default().chars().take(200).collect(),
    };
    Err(RemoteError::Refused { status, detail })
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
    #[serde(default)]
    errors: Vec<FieldError>,
}

#[derive(Deserialize)]
struct FieldError {
    pointer: String,
    detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_shown() {
        assert!(!format!("{:?}", authorization("sp_secret").unwrap()).contains("secret"));
    }
}
