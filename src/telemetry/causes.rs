//! Formatting of errors together with their causes.

/// An error and its causes on one line. A cause that is already contained in the text is left out, because sqlx's
/// errors repeat their causes.
pub fn with_causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn a_cause_that_repeats_its_own_is_said_once() {
        let refused =
            sqlx::migrate::MigrateError::Execute(sqlx::Error::Protocol("no such table".to_owned()));
        let error = anyhow!(refused).context("migrating the database");
        assert!(format!("{error:#}").matches("no such table").count() > 1);
        assert_eq!(
            with_causes(&error),
            "migrating the database: while executing migrations: encountered unexpected or invalid data: \
             no such table"
        );
    }

    #[test]
    fn causes_that_say_more_are_all_said() {
        let error =
            Err::<(), _>(anyhow!("no route")).context("connecting").context("opening").unwrap_err();
        assert_eq!(with_causes(&error), "opening: connecting: no route");
    }
}
