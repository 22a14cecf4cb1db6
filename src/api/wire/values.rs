//! Values of a quantity in a body: given one by one, or evenly spaced between two ends.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sparsity_law::law::{DomainError, Range, Sparsity};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::layers::answer_points::BulkLimits;
use crate::domain::checks::Checks;

/// Values of a quantity.
#[derive(Debug)]
pub enum ValuesBody {
    /// A single value.
    One(f64),
    /// A list of values.
    List(Vec<f64>),
    /// Evenly spaced values between two ends.
    Range(ValueRange),
}

// The JSON form, used for the OpenAPI document only.
/// Values of a quantity.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "its schema is all that is used")]
enum GridValues {
    /// A single value.
    One(f64),
    /// A list of values.
    List(Vec<f64>),
    /// Evenly spaced values between two ends.
    Range(ValueRange),
}

impl PartialSchema for ValuesBody {
    fn schema() -> RefOr<Schema> {
        GridValues::schema()
    }
}

impl ToSchema for ValuesBody {
    fn name() -> Cow<'static, str> {
        GridValues::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        GridValues::schemas(schemas);
    }
}

/// A list with at most as many entries as a request may have points. A longer list is refused as soon as that is seen,
/// because the parsed entries take several times the memory of the body.
#[derive(Debug)]
struct Bounded<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(list: D) -> Result<Self, D::Error> {
        list.deserialize_seq(BoundedVisitor(PhantomData)).map(Self)
    }
}

/// Deserialises an optional list with at most as many entries as a request may have points.
pub fn bounded<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    list: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let list = Option::<Bounded<T>>::deserialize(list)?;
    Ok(list.map(|Bounded(list)| list))
}

struct BoundedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for BoundedVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.len() == BulkLimits::MOST_POINTS {
                let most = BulkLimits::MOST_POINTS;
                return Err(A::Error::custom(format_args!("must have at most {most} entries")));
            }
            list.push(item);
        }
        Ok(list)
    }
}

impl<'de> Deserialize<'de> for ValuesBody {
    // Not derived as an untagged enum: serde would first hold the whole body in a form of its own, in thirty times its
    // memory or more.
    fn deserialize<D: Deserializer<'de>>(values: D) -> Result<Self, D::Error> {
        values.deserialize_any(ValuesVisitor)
    }
}

struct ValuesVisitor;

impl<'de> Visitor<'de> for ValuesVisitor {
    type Value = ValuesBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a list of numbers, or an object of from, to and steps")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<ValuesBody, E> {
        Ok(ValuesBody::One(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<ValuesBody, E> {
        Ok(ValuesBody::One(value as f64))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<ValuesBody, E> {
        Ok(ValuesBody::One(value as f64))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<ValuesBody, A::Error> {
        BoundedVisitor(PhantomData).visit_seq(items).map(ValuesBody::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<ValuesBody, A::Error> {
        ValueRange::deserialize(MapAccessDeserializer::new(entries)).map(ValuesBody::Range)
    }
}

/// Evenly spaced values from one end to another: linear for sparsities, logarithmic for everything else.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GridRange)]
pub struct ValueRange {
    /// Smallest value.
    #[schema(example = 1e6)]
    from: f64,
    /// Largest value.
    #[schema(example = 1e9)]
    to: f64,
    /// Number of values, including both ends.
    #[schema(example = 7, minimum = 2)]
    steps: usize,
}

/// The scale on which the steps of a range are equal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spacing {
    /// The values themselves.
    Linear,
    /// The logarithms of the values.
    Logarithmic,
}

impl ValuesBody {
    /// The number of values.
    pub fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::List(values) => values.len(),
            Self::Range(range) => range.steps,
        }
    }

    /// Checks that there are at most `most` values, and converts each to its type.
    pub fn check<T>(
        &self,
        field: &str,
        (most, spacing): (usize, Spacing),
        new: impl Fn(f64) -> Result<T, DomainError>,
        checks: &mut Checks,
    ) -> Option<Vec<T>> {
        let ValueRange { from, to, steps } = match self {
            Self::One(value) => return checks.take(field, new(*value)).map(|value| vec![value]),
            Self::List(values) => return check_list(values, field, most, new, checks),
            Self::Range(range) => range,
        };
        let ends = [("from", *from), ("to", *to)]
            .map(|(end, value)| checks.take(&format!("{field}/{end}"), new(value)));
        let mut holds = ends.iter().all(Option::is_some);
        if holds && from >= to {
            checks.refuse(&format!("{field}/to"), "must be above from");
            holds = false;
        }
        if !(2..=most).contains(steps) {
            let detail = format!("must be between 2 and {most}, not {steps}");
            checks.refuse(&format!("{field}/steps"), detail);
            holds = false;
        }
        if !holds {
            return None;
        }
        let last = (steps - 1) as f64;
        let value = |step: usize| {
            let share = step as f64 / last;
            let value = match spacing {
                Spacing::Linear => from * (1.0 - share) + to * share,
                Spacing::Logarithmic => Range { min: *from, max: *to }.at_share(share),
            };
            // Both ends are exactly as given, and rounding never leads past them.
            match step {
                0 => *from,
                _ if step + 1 == *steps => *to,
                _ => value.clamp(*from, *to),
            }
        };
        (0..*steps).map(|step| new(value(step)).ok()).collect()
    }
}

/// Most wrong values of a list that errors name; more would obscure the problem.
const MOST_NAMED: usize = 100;

/// Checks that there are 1 to `most` values, and converts each to its type.
pub fn check_list<T>(
    values: &[f64],
    field: &str,
    most: usize,
    new: impl Fn(f64) -> Result<T, DomainError>,
    checks: &mut Checks,
) -> Option<Vec<T>> {
    if !(1..=most).contains(&values.len()) {
        let detail = format!("must be 1 to {most} numbers, not {}", values.len());
        checks.refuse(field, detail);
        return None;
    }
    let mut taken = Vec::with_capacity(values.len());
    let mut wrong = 0;
    for (i, &value) in values.iter().enumerate() {
        match checks.take(&format!("{field}/{i}"), new(value)) {
            Some(value) => taken.push(value),
            None => wrong += 1,
        }
        if wrong == MOST_NAMED {
            break;
        }
    }
    (wrong == 0).then_some(taken)
}

/// Most sparsities of one request.
pub const MAX_LEVELS: usize = 100;

/// Parses a list such as `0,0.5,0.75`.
pub fn sparsities(field: &str, text: &str, checks: &mut Checks) -> Option<Vec<Sparsity>> {
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() > MAX_LEVELS {
        checks.refuse(field, format!("must be at most {MAX_LEVELS}, not {}", parts.len()));
        return None;
    }
    let read = |part: &str| -> Result<Sparsity, String> {
        let number: f64 = part
            .trim()
            .parse()
            .map_err(|_| format!("must be numbers such as 0,0.5, not {part}"))?;
        Sparsity::new(number).map_err(|error| error.to_string())
    };
    parts.into_iter().map(|part| checks.take(field, read(part))).collect()
}
