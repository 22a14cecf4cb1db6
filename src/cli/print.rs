//! What commands print.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Prints a line to standard output. Whoever reads it may have read enough and gone (`| head`), which is no error.
///
/// # Errors
/// Where it cannot be written for another reason, such as a full disk.
pub fn print_line(line: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints a value as JSON that people can read.
///
/// # Errors
/// As those of [`print_line`].
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(print_line(serde_json::to_string_pretty(value)?)?)
}
