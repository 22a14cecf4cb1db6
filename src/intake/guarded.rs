//! Turns panics of file-reading libraries into errors: they trust some of what a file says about itself, and panic if
//! it is false.

use std::cell::Cell;
use std::fmt::Display;
use std::panic::{self, AssertUnwindSafe};

use crate::intake::error::IngestError;

thread_local! {
    /// Whether a library is reading a file on this thread, so that its panics are caught.
    static IS_READING: Cell<bool> = const { Cell::new(false) };
}

/// Runs a library's reader, treating a panic as a damaged file.
///
/// # Errors
/// [`IngestError::Malformed`], with `format` as the name of the kind of file.
pub(crate) fn guarded<T, E: Display>(
    format: &str,
    read: impl FnOnce() -> Result<T, E>,
) -> Result<T, IngestError> {
    let damaged = |cause: &dyn Display| {
        IngestError::Malformed(format!("the body is no {format}, or damaged: {cause}"))
    };
    let before = IS_READING.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(read));
    IS_READING.set(before);
    match result {
        Ok(result) => result.map_err(|error| damaged(&error)),
        Err(_) => Err(damaged(&"it contradicts itself")),
    }
}

/// Keeps the panics that are caught while a library reads a file from being printed to standard error. The sender of
/// the damaged file gets an error anyway, and could otherwise fill the log. All other panics are printed as before.
/// Call this at the start of the program.
pub fn silence_caught_panics() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !IS_READING.get() {
            tell(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_over_a_file_is_its_error_and_others_are_told() {
        let nothing = || -> Result<(), &str> { Err("it is short") };
        let error = guarded("table", nothing).unwrap_err().to_string();
        assert_eq!(error, "the body is no table, or damaged: it is short");
        let index = std::hint::black_box(3);
        let error = guarded("table", || -> Result<u8, &str> { Ok([1, 2, 3][index]) }).unwrap_err();
        assert!(error.to_string().ends_with("it contradicts itself"), "{error}");
        assert!(!IS_READING.get());
    }
}
