//! Collects all errors of an input, so that one answer can report them together.

/// An error in one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// JSON pointer to the field, or `/` and the name of a query parameter.
    pub pointer: String,
    /// What is wrong with the field.
    pub detail: String,
}

/// The errors found so far in the fields of one value.
#[derive(Debug, Default)]
pub struct Checks {
    errors: Vec<FieldError>,
    prefix: String,
}

impl Checks {
    /// Checks of fields whose pointers start with `prefix`, itself a JSON pointer.
    pub fn below(prefix: impl Into<String>) -> Self {
        Self { errors: Vec::new(), prefix: prefix.into() }
    }

    /// Returns the value, or records its error under `field`.
    pub fn take<T, E: std::fmt::Display>(
        &mut self,
        field: &str,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.refuse(field, error.to_string())).ok()
    }

    /// Returns the value of other checks, or adds their errors unchanged.
    pub fn absorb<T>(&mut self, result: Result<T, Vec<FieldError>>) -> Option<T> {
        result.map_err(|errors| self.errors.extend(errors)).ok()
    }

    /// Returns a value that must be given. If it is missing, records an error, unless the field has one already.
    pub fn require<T>(&mut self, field: &str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.has(field) {
            self.refuse(field, "must be given");
        }
        value
    }

    /// Whether an error is recorded for `field`.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        let name = |error: &FieldError| {
            error.pointer.strip_prefix(&*self.prefix).and_then(|rest| rest.strip_prefix('/'))
                == Some(field)
        };
        self.errors.iter().any(name)
    }

    /// Number of errors recorded.
    #[must_use]
    pub fn count(&self) -> usize {
        self.errors.len()
    }

    /// Records an error for `field`.
    pub fn refuse(&mut self, field: &str, detail: impl Into<String>) {
        let pointer = format!("{}/{field}", self.prefix);
        self.errors.push(FieldError { pointer, detail: detail.into() });
    }

    /// Returns the value, if there is one and no error was recorded.
    ///
    /// # Errors
    /// Everything that was recorded.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Vec<FieldError>> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(self.errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named_below_the_prefix() {
        let mut checks = Checks::below("/3");
        assert_eq!(checks.take("loss", "7".parse::<f64>()), Some(7.0));
        assert_eq!(checks.take("data", "x".parse::<f64>()), None);
        checks.refuse("sparsity", "must be small");
        let errors = checks.finish(Some(())).unwrap_err();
        let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/3/data", "/3/sparsity"]);
    }
}
