//! Libraries that read files trust some of what a file says of itself, and panic where that is not so.

use std::cell::Cell;
use std::fmt::Display;
use std::panic::{self, AssertUnwindSafe};

use crate::intake::error::IngestError;

thread_local! {
    /// Whether a library reads a file on this thread, whose panics are caught.
    static IS_READING: Cell<bool> = const { Cell::new(false) };
}

/// What a library makes of a file, which is damaged where the library panics.
///
/// # Errors
/// [`IngestError::Malformed`], which calls the file by its `format`.
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

/// Lets panics that are caught, since a file is damaged, leave nothing on standard error: whoever sent the file is told,
/// and could otherwise fill the log. All other panics are told as before. For the beginning of a program.
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
