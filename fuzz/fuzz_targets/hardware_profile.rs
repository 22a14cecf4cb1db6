//! Hardware profiles: `POST /v1/hardware-profiles`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sparsity_planner::api::fuzzing;

fuzz_target!(|body: &[u8]| fuzzing::hardware_profile(body));
