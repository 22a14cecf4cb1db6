//! Enumerations whose variants have names, for JSON, messages and queries.

/// Declares an enumeration together with the name of each variant.
///
/// Generates the constant `ALL` and the methods `as_str` and `of_name`. As each name is written only once, no
/// table can lack a variant that another one has.
///
/// ```
/// sparsity_law::named! {
///     /// Ways to go.
///     #[derive(Debug, Clone, Copy, PartialEq)]
///     pub enum Way {
///         /// On foot.
///         Foot = "on-foot",
///         /// By train.
///         Train = "by-train",
///     }
/// }
/// assert_eq!(Way::ALL.map(Way::as_str), ["on-foot", "by-train"]);
/// assert_eq!(Way::of_name("by-train"), Some(Way::Train));
/// assert_eq!(Way::of_name("Train"), None);
/// ```
#[macro_export]
macro_rules! named {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $type:ident {
            $($(#[$of_variant:meta])* $variant:ident = $name:literal,)+
        }
    ) => {
        $(#[$attribute])*
        $visibility enum $type {
            $($(#[$of_variant])* $variant,)+
        }

        impl $type {
            /// All variants, in the order of their declaration.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The name of the variant in JSON, in messages and in queries.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The variant with this name; `None` if there is none.
            #[must_use]
            pub fn of_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|known| known.as_str() == name)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Serialize;

    use crate::fit::{Holdout, Phase, Residual, Termination, WarningCode};
    use crate::law::{
        CoefficientName, Constraint, FlopMode, LawForm, Side, StorageFormat, Variable,
    };

    /// Checks that serde, which derives names by its own rule, writes the same names.
    fn agree<T: Serialize + Copy, const N: usize>(all: [T; N], name: fn(T) -> &'static str) {
        for each in all {
            assert_eq!(serde_json::to_value(each).unwrap(), name(each));
        }
    }

    #[test]
    fn serde_writes_the_same_names() {
        agree(CoefficientName::ALL, CoefficientName::as_str);
        agree(Holdout::ALL, Holdout::as_str);
        agree(Residual::ALL, Residual::as_str);
        agree(LawForm::ALL, LawForm::as_str);
        agree(Side::ALL, Side::as_str);
        agree(Termination::ALL, Termination::as_str);
        agree(Variable::ALL, Variable::as_str);
        agree(WarningCode::ALL, WarningCode::as_str);
    }

    #[test]
    fn no_two_variants_share_a_name() {
        fn distinct<const N: usize>(names: [&str; N]) {
            assert_eq!(BTreeSet::from(names).len(), N, "{names:?}");
        }
        distinct(CoefficientName::ALL.map(CoefficientName::as_str));
        distinct(Constraint::ALL.map(Constraint::as_str));
        distinct(FlopMode::ALL.map(FlopMode::as_str));
        distinct(Phase::ALL.map(Phase::as_str));
        distinct(StorageFormat::ALL.map(StorageFormat::as_str));
        distinct(WarningCode::ALL.map(WarningCode::as_str));
    }
}
