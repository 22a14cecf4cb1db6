//! The program: its commands are in [`sparsity_planner::cli`].

use std::process::ExitCode;

/// A question with intervals takes and returns vectors of a thousand numbers, beside dozens of small
/// pieces.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sparsity_planner::cli::main()
}
