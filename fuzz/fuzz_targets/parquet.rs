//! Uploads of runs: `POST /v1/families/{family}/runs`.

#![no_main]

mod reading;

use libfuzzer_sys::fuzz_target;
use sparsity_planner::intake::Format;

fuzz_target!(
    init: pass_over_panics_of_the_library(),
    |bytes: &[u8]| reading::check(Format::Parquet, bytes)
);

/// The library panics over files that contradict themselves. The service catches that and refuses the file;
/// whatever is not caught still ends the run.
fn pass_over_panics_of_the_library() {
    let end_the_run = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let of_library = panic.location().is_some_and(|place| {
            let crates = ["/arrow-", "/parquet-", "/bytes-", "/rustc/"];
            crates.iter().any(|name| place.file().contains(name))
        });
        if !of_library {
            end_the_run(panic);
        }
    }));
}
