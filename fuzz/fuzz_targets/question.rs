//! Questions: `GET /v1/families/{family}/prediction` and `optimal-sparsity`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sparsity_planner::api::fuzzing;

fuzz_target!(|query: &str| fuzzing::question(query));
