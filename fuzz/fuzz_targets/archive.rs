//! Uploads of runs: `POST /v1/families/{family}/runs`.

#![no_main]

mod library;
mod reading;

use libfuzzer_sys::fuzz_target;
use sparsity_planner::intake::Format;

fuzz_target!(
    init: library::pass_over_panics_of_the_library(),
    |bytes: &[u8]| reading::check(Format::Zip, bytes)
);
