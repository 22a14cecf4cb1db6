//! Uploads of runs: `POST /v1/families/{family}/runs`.

#![no_main]

mod reading;

use libfuzzer_sys::fuzz_target;
use sparsity_planner::intake::Format;

fuzz_target!(|bytes: &[u8]| reading::check(Format::Arrow, bytes));
