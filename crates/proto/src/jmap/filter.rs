//! Filters (RFC 8620 5.5): conditions under AND, OR and NOT.

use super::MethodError;
use serde_json::{Map, Value};

/// Deepest nesting of operators.
pub const DEPTH_MAX: usize = 8;
/// Most conditions of one filter.
pub const CONDITIONS_MAX: usize = 100;

/// Reads a FilterCondition.
pub type ReadCondition<'a, C> = dyn FnMut(&Map<String, Value>) -> Result<C, MethodError> + 'a;

/// A filter over conditions of type `C`.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter<C> {
    /// All of them.
    And(Vec<Self>),
    /// At least one.
    Or(Vec<Self>),
    /// None of them.
    Not(Vec<Self>),
    /// One condition.
    Is(C),
}

impl<C> Filter<C> {
    /// Reads one; `condition` reads an object without an operator.
    ///
    /// # Errors
    /// It is none, or goes beyond a limit.
    pub fn parse(value: &Value, condition: &mut ReadCondition<'_, C>) -> Result<Self, MethodError> {
        let mut left = CONDITIONS_MAX;
        Self::level(value, condition, DEPTH_MAX, &mut left)
    }

    fn level(
        value: &Value,
        condition: &mut ReadCondition<'_, C>,
        depth: usize,
        left: &mut usize,
    ) -> Result<Self, MethodError> {
        let too_much = || MethodError::UnsupportedFilter("the filter is too long".into());
        let all =
            value.as_object().ok_or_else(|| MethodError::argument("a filter is an object"))?;
        let Some(operator) = all.get("operator") else {
            // Each property is a condition of its own.
            *left = left.checked_sub(all.len().max(1)).ok_or_else(too_much)?;
            return condition(all).map(Self::Is);
        };
        *left = left.checked_sub(1).ok_or_else(too_much)?;
        if all.len() != 2 {
            return Err(MethodError::argument("an operator has conditions and nothing else"));
        }
        let depth = depth.checked_sub(1).ok_or_else(too_much)?;
        let inner = all
            .get("conditions")
            .and_then(Value::as_array)
            .ok_or_else(|| MethodError::argument("an operator has conditions"))?
            .iter()
            .map(|c| Self::level(c, condition, depth, left))
            .collect::<Result<Vec<_>, _>>()?;
        match operator.as_str() {
            Some("AND") => Ok(Self::And(inner)),
            Some("OR") => Ok(Self::Or(inner)),
            Some("NOT") => Ok(Self::Not(inner)),
            _ => Err(MethodError::argument("an operator is AND, OR or NOT")),
        }
    }

    /// Whether it holds, by whether each condition does.
    ///
    /// # Errors
    /// The first that a condition gives.
    pub fn holds<E>(&self, is: &mut dyn FnMut(&C) -> Result<bool, E>) -> Result<bool, E> {
        match self {
            Self::Is(condition) => is(condition),
            Self::And(all) => {
                for filter in all {
                    if !filter.holds(is)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(all) => {
                for filter in all {
                    if filter.holds(is)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(all) => {
                for filter in all {
                    if filter.holds(is)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Shows every condition, and whether it stands under no NOT.
    pub fn each<'a>(&'a self, see: &mut dyn FnMut(&'a C, bool)) {
        self.seen(true, see);
    }

    fn seen<'a>(&'a self, wanted: bool, see: &mut dyn FnMut(&'a C, bool)) {
        match self {
            Self::Is(condition) => see(condition, wanted),
            Self::And(all) | Self::Or(all) => all.iter().for_each(|f| f.seen(wanted, see)),
            Self::Not(all) => all.iter().for_each(|f| f.seen(false, see)),
        }
    }

    /// The same filter over other conditions.
    ///
    /// # Errors
    /// The first that `to` gives.
    pub fn map<D, E>(self, to: &mut dyn FnMut(C) -> Result<D, E>) -> Result<Filter<D>, E> {
        let mut each = |all: Vec<Self>| -> Result<Vec<Filter<D>>, E> {
            all.into_iter().map(|f| f.map(to)).collect()
        };
        Ok(match self {
            Self::And(all) => Filter::And(each(all)?),
            Self::Or(all) => Filter::Or(each(all)?),
            Self::Not(all) => Filter::Not(each(all)?),
            Self::Is(condition) => Filter::Is(to(condition)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<Filter<i64>, MethodError> {
        Filter::parse(value, &mut |all| {
            all.get("n").and_then(Value::as_i64).ok_or_else(|| MethodError::argument("n"))
        })
    }

    #[test]
    fn operators_mean_what_rfc_8620_says() {
        let is = |value: Value, have: &[i64]| {
            let filter = read(&value).unwrap();
            filter.holds::<()>(&mut |n| Ok(have.contains(n))).unwrap()
        };
        let of = |operator: &str| json!({ "operator": operator, "conditions": [{ "n": 1 }, { "n": 2 }] });
        assert!(is(of("AND"), &[1, 2]) && !is(of("AND"), &[1]));
        assert!(is(of("OR"), &[2]) && !is(of("OR"), &[]));
        assert!(is(of("NOT"), &[3]) && !is(of("NOT"), &[1]));
        assert!(is(json!({ "operator": "AND", "conditions": [of("NOT"), { "n": 5 }] }), &[5]));
        assert!(read(&json!({ "operator": "XOR", "conditions": [] })).is_err());
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let mut deep = json!({ "n": 1 });
        for _ in 0..=DEPTH_MAX {
            deep = json!({ "operator": "NOT", "conditions": [deep] });
        }
        assert!(matches!(read(&deep), Err(MethodError::UnsupportedFilter(_))));
        let wide = vec![json!({ "n": 1 }); CONDITIONS_MAX];
        let wide = json!({ "operator": "OR", "conditions": wide });
        assert!(matches!(read(&wide), Err(MethodError::UnsupportedFilter(_))));
        let all: Map<String, Value> =
            (0..=CONDITIONS_MAX).map(|n| (format!("n{n}"), json!(1))).collect();
        assert!(matches!(read(&Value::Object(all)), Err(MethodError::UnsupportedFilter(_))));
    }

    #[test]
    fn each_condition_is_shown_with_whether_it_is_wanted() {
        let not = json!({ "operator": "NOT", "conditions": [{ "n": 2 }] });
        let filter = read(&json!({ "operator": "AND", "conditions": [{ "n": 1 }, not] })).unwrap();
        let mut seen = Vec::new();
        filter.each(&mut |n, wanted| seen.push((*n, wanted)));
        assert_eq!(seen, [(1, true), (2, false)]);
    }
}
