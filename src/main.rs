//! The program's entry point; its commands are in [`sparsity_planner::cli`].

use std::process::ExitCode;

/// A question with intervals allocates and frees vectors of a thousand numbers, and dozens of small pieces besides, so
/// the speed of the allocator shows in every answer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sparsity_planner::cli::main()
}
