//! Entry points of the fuzz targets in `fuzz/`: they read bodies and queries as the handlers do. The module is part of
//! builds by `cargo fuzz`, and of tests, which read the inputs that fuzzing found worth keeping.

use axum::extract::FromRequestParts;
use axum::http::{Request, Uri};
use futures_util::FutureExt;
use serde::de::DeserializeOwned;

use crate::api::questions::optimal_sparsity::OptimalSparsityParams;
use crate::api::questions::predictions::PredictionParams;
use crate::api::resources::profiles::CreateHardwareProfile;
use crate::api::wire::extract::Query;
use crate::api::wire::extract::json_body::parse_json;
use crate::api::wire::problem::{ApiError, Problem};

/// Reads a query as the parameters of a prediction and of an optimal sparsity.
pub fn question(query: &str) {
    let Ok(uri) = Uri::try_from(format!("/v1/families/t5-c4/prediction?{query}")) else { return };
    answer(read_query::<PredictionParams>(&uri).and_then(|params| params.check().map(drop)));
    answer(read_query::<OptimalSparsityParams>(&uri).and_then(|params| params.check().map(drop)));
}

/// Reads a body as a new hardware profile, and computes its cost at some sparsities.
pub fn hardware_profile(body: &[u8]) {
    let profile = parse_json::<CreateHardwareProfile>(body, "").and_then(|profile| profile.check());
    if let Ok((name, settings)) = &profile {
        assert!((1..=64).contains(&name.as_str().len()), "{name:?}");
        for sparsity in [0.0, 0.25, 0.5, 0.75, 0.999] {
            let cost = settings.cost.step().at(sparsity);
            assert!(cost.is_finite() && cost > 0.0, "{settings:?} at {sparsity}: {cost}");
        }
    }
    answer(profile.map(drop));
}

fn read_query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    let (mut parts, ()) =
        Request::builder().uri(uri.clone()).body(()).expect("one is").into_parts();
    let read = Query::<T>::from_request_parts(&mut parts, &()).now_or_never();
    read.expect("nothing is waited for").map(|Query(read)| read)
}

/// Writes out the problem of a refused input, as its sender would get it.
fn answer(read: Result<(), ApiError>) {
    if let Err(error) = read {
        let problem = Problem::from(error);
        serde_json::to_string(&problem).expect("a problem is JSON");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All stored inputs of a fuzz target.
    fn kept(target: &str) -> Vec<Vec<u8>> {
        let directory = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(directory).unwrap();
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    #[test]
    fn kept_questions_are_read_or_refused() {
        let kept = kept("question");
        assert!(!kept.is_empty());
        kept.iter().filter_map(|query| std::str::from_utf8(query).ok()).for_each(question);
    }

    #[test]
    fn kept_profiles_are_read_or_refused() {
        let kept = kept("hardware_profile");
        assert!(!kept.is_empty());
        kept.iter().for_each(|body| hardware_profile(body));
    }
}
