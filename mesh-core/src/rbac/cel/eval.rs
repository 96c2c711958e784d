//! A program and a request → a value, or a [`Failure`], within [`MAX_COST`].

use super::attributes::{self, Attribute};
use super::value::{Held, List, Map, Value};
use super::{Failure, Fold, MAX_COST, Node, Outcome};
use crate::rbac::rule::Sight;
use smallvec::SmallVec;
use std::sync::Arc;

/// One evaluation.
pub(super) struct Evaluation<'a> {
    /// What is asked about; `None`: nothing, as only constants are looked at.
    sight: Option<&'a Sight<'a>>,
    /// What it may still cost.
    left: u32,
    /// The variables of the loops around, by their places. An error may be gathered: what comes after
    /// it may decide without it.
    variables: SmallVec<[Outcome<'a>; 2]>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(sight: Option<&'a Sight<'a>>) -> Self {
        Self { sight, left: MAX_COST, variables: SmallVec::new() }
    }

    /// Of constants.
    pub(super) fn within(left: u32) -> Self {
        Self { sight: None, left, variables: SmallVec::new() }
    }

    pub(super) const fn left(&self) -> u32 {
        self.left
    }

    /// Takes what something costs. Once it is too much everything is: there is nothing left.
    pub(super) fn charge(&mut self, cost: usize) -> Result<(), Failure> {
        let left = u32::try_from(cost).ok().and_then(|cost| self.left.checked_sub(cost));
        self.left = left.unwrap_or(0);
        left.map(|_| ()).ok_or(Failure::TooCostly)
    }

    /// Takes what looking at so many bytes costs.
    pub(super) fn charge_bytes(&mut self, bytes: usize) -> Result<(), Failure> {
        self.charge(bytes / 64)
    }

    pub(super) fn eval(&mut self, node: &'a Node) -> Outcome<'a> {
        self.charge(1)?;
        match node {
            Node::Const(value) => Ok(value.borrowed()),
            Node::Attribute(attribute) => self.attribute(attribute),
            Node::HasAttribute(attribute) => match self.attribute(attribute) {
                Err(Failure::TooCostly) => Err(Failure::TooCostly),
                found => Ok(Value::Bool(found.is_ok())),
            },
            Node::HeaderNamed(name) => {
                self.header(name).and_then(|found| found.ok_or(Failure::Missing))
            }
            Node::HasHeaderNamed(name) => {
                self.header(name).map(|found| Value::Bool(found.is_some()))
            }
            Node::Variable(place) => match self.variables.get(*place) {
                Some(found) => found.clone(),
                None => Err(Failure::Missing),
            },
            Node::Has(operand, field) => match self.eval(operand)? {
                Value::Map(map) => {
                    self.charge_lookup(&map)?;
                    Ok(Value::Bool(map.get(field).is_some()))
                }
                _ => Err(Failure::NoOverload),
            },
            Node::And(both) => self.decided(both, false),
            Node::Or(both) => self.decided(both, true),
            Node::If(three) => match self.eval(&three[0])? {
                Value::Bool(true) => self.eval(&three[1]),
                Value::Bool(false) => self.eval(&three[2]),
                _ => Err(Failure::NoOverload),
            },
            Node::Matches(subject, regex) => match self.eval(subject)? {
                Value::Text(text) => {
                    self.charge_bytes(text.len())?;
                    Ok(Value::Bool(regex.is_match(text.as_bytes())))
                }
                _ => Err(Failure::NoOverload),
            },
            Node::Call(function, args) => self.call(*function, args),
            Node::List(items) => {
                let items: Arc<[_]> =
                    items.iter().map(|item| self.eval(item)).collect::<Result<_, _>>()?;
                Ok(Value::List(List::made(items)?))
            }
            Node::Map(entries) => {
                // Each key is compared with those before it.
                self.charge(entries.len() * entries.len() / 2)?;
                let entries = entries.iter().map(|(key, value)| {
                    let key = self.eval(key)?;
                    Ok((key, self.eval(value)?))
                });
                Ok(Value::Map(Map::made(entries.collect::<Result<_, _>>()?)?))
            }
            Node::Fold(fold) => self.fold(fold),
        }
    }

    fn attribute(&mut self, attribute: &Attribute) -> Outcome<'a> {
        let sight = self.sight.ok_or(Failure::Missing)?;
        let value = attribute.value(sight).ok_or(Failure::Missing)?;
        // A header is looked at, or joined, each time that it is asked for.
        match &value {
            Value::Text(Held::Ref(text)) => self.charge_bytes(text.len())?,
            Value::Text(Held::Own(text)) => self.charge(text.len() / 8)?,
            _ => {}
        }
        Ok(value)
    }

    fn header(&mut self, name: &'a Node) -> Result<Option<Value<'a>>, Failure> {
        let Value::Text(name) = self.eval(name)? else { return Err(Failure::NoOverload) };
        self.charge_bytes(name.len())?;
        let Some(attribute) = attributes::header(&name) else { return Ok(None) };
        match self.attribute(&attribute) {
            Err(Failure::Missing) => Ok(None),
            found => found.map(Some),
        }
    }

    /// `&&`, which `false` decides, and `||`, which `true` does.
    fn decided(&mut self, both: &'a [Node; 2], by: bool) -> Outcome<'a> {
        let mut failed = None;
        for side in both {
            match self.eval(side) {
                Ok(Value::Bool(found)) if found == by => return Ok(Value::Bool(by)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => failed = failed.or(Some(Failure::NoOverload)),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        // Too costly is not forgotten: there is nothing left for the other side either.
        failed.map_or(Ok(Value::Bool(!by)), Err)
    }

    fn fold(&mut self, fold: &'a Fold) -> Outcome<'a> {
        let elements = match self.eval(&fold.range)? {
            Value::List(list) => list,
            Value::Map(map) => {
                self.charge(map.len())?;
                List::made(map.keys())?
            }
            _ => return Err(Failure::NoOverload),
        };
        let gathered = self.eval(&fold.init);
        self.variables.truncate(fold.place);
        self.variables.push(gathered);
        let result = self.run(fold, &elements);
        self.variables.truncate(fold.place);
        result
    }

    /// The loop and what comes of it; what is gathered is the last variable.
    fn run(&mut self, fold: &'a Fold, elements: &List<'a>) -> Outcome<'a> {
        for element in elements.iter() {
            self.variables.push(Ok(element));
            let go_on = self.eval(&fold.condition);
            let step = match go_on? {
                Value::Bool(true) => self.eval(&fold.step),
                Value::Bool(false) => break,
                _ => return Err(Failure::NoOverload),
            };
            if matches!(step, Err(Failure::TooCostly)) {
                return step;
            }
            self.variables.truncate(fold.place);
            self.variables.push(step);
        }
        self.variables.truncate(fold.place + 1);
        self.eval(&fold.result)
    }

    /// Takes what looking for a key costs.
    pub(super) fn charge_lookup(&mut self, map: &Map<'_>) -> Result<(), Failure> {
        match map {
            Map::Made { entries, .. } => self.charge(entries.len()),
            Map::Json(_) | Map::Filters(_) => Ok(()),
        }
    }
}
