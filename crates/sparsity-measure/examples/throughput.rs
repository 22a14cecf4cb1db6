//! Measures a checkpoint and reports the speed: `cargo run --release -p sparsity-measure --example throughput PATH`.

#![allow(clippy::print_stdout, reason = "an example answers on standard output")]

use std::path::PathBuf;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path: PathBuf = std::env::args_os().nth(1).ok_or("which checkpoint?")?.into();
    let start = Instant::now();
    let measured = sparsity_measure::measure(&path, &mut |_| {})?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{} of {}", measured.all.nonzero_params, measured.all.total_params);
    for tally in &measured.patterns {
        println!("{} along {:?} in {} of {}", tally.pattern, tally.along, tally.tensors, tally.of);
    }
    println!("{:.2} s, {:.2} GB/s", seconds, measured.bytes as f64 / 1e9 / seconds);
    Ok(())
}
