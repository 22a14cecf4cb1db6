//! Output of commands.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Prints a line to standard output. It is not an error if the reader has stopped reading (`| head`).
///
/// # Errors
/// If the line cannot be written for another reason, such as a full disk.
pub fn print_line(line: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints a value as indented JSON.
///
/// # Errors
/// Those of [`print_line`].
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(print_line(serde_json::to_string_pretty(value)?)?)
}
