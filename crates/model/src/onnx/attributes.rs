//! The attributes of one node, read by name and type.
//!
//! Each read is remembered: an attribute that nobody asked for is an error in the end, so that a
//! file cannot mean something that we silently leave out.

use std::cell::RefCell;

use super::proto::{AttributeProto, NodeProto, TensorProto, attribute_type};
use super::{malformed, unsupported};
use crate::Result;

pub(super) struct Attributes<'a> {
    all: &'a [AttributeProto],
    /// What was asked for, there or not.
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(node: &'a NodeProto) -> Self {
        Self {
            all: &node.attribute,
            asked: RefCell::default(),
        }
    }

    fn find(&self, name: &'static str) -> Option<&'a AttributeProto> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&name) {
            asked.push(name);
        }
        self.all.iter().find(|a| a.name == name)
    }

    /// Whether `name` is there.
    pub(super) fn has(&self, name: &'static str) -> bool {
        self.find(name).is_some()
    }

    /// Whole number `name`, or `default` where absent.
    pub(super) fn int(&self, name: &'static str, default: i64) -> Result<i64> {
        let Some(a) = self.find(name) else {
            return Ok(default);
        };
        let zero = (a.r#type == Some(attribute_type::INT)).then_some(0);
        a.i.or(zero)
            .ok_or_else(|| wrong_type(name, "a whole number"))
    }

    /// A whole number that is 0 or 1.
    pub(super) fn flag(&self, name: &'static str, default: bool) -> Result<bool> {
        Ok(self.int(name, i64::from(default))? != 0)
    }

    /// Real number `name`, if present.
    pub(super) fn float(&self, name: &'static str) -> Result<Option<f32>> {
        let Some(a) = self.find(name) else {
            return Ok(None);
        };
        let zero = (a.r#type == Some(attribute_type::FLOAT)).then_some(0.0);
        a.f.or(zero)
            .map(Some)
            .ok_or_else(|| wrong_type(name, "a real number"))
    }

    /// List of whole numbers `name`, if present.
    pub(super) fn ints(&self, name: &'static str) -> Result<Option<&'a [i64]>> {
        let Some(a) = self.find(name) else {
            return Ok(None);
        };
        if a.ints.is_empty() && a.r#type != Some(attribute_type::INTS) {
            return Err(wrong_type(name, "a list of whole numbers"));
        }
        Ok(Some(&a.ints))
    }

    /// List of real numbers `name`, if present.
    pub(super) fn floats(&self, name: &'static str) -> Option<&'a [f32]> {
        self.find(name).map(|a| a.floats.as_slice())
    }

    /// Text `name`, or `default` where absent.
    pub(super) fn text(&self, name: &'static str, default: &'a str) -> Result<&'a str> {
        let Some(a) = self.find(name) else {
            return Ok(default);
        };
        let bytes = a.s.as_deref().unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| wrong_type(name, "text"))
    }

    /// Tensor `name`, if present.
    pub(super) fn tensor(&self, name: &'static str) -> Option<&'a TensorProto> {
        self.find(name).and_then(|a| a.t.as_ref())
    }

    /// Attributes that say nothing about what an inference gives.
    pub(super) fn ignore(&self, names: &[&'static str]) {
        for name in names {
            self.find(name);
        }
    }

    /// `Unsupported` if an attribute is left that was not asked for.
    pub(super) fn finish(&self) -> Result<()> {
        let asked = self.asked.borrow();
        match self.all.iter().find(|a| !asked.contains(&a.name.as_str())) {
            Some(a) => {
                let known = match asked.is_empty() {
                    true => "none".to_owned(),
                    false => asked.join(", "),
                };
                let message = format!("attribute {}; supported here: {known}", a.name);
                Err(unsupported(message))
            }
            None => Ok(()),
        }
    }
}

fn wrong_type(name: &str, expected: &str) -> crate::Error {
    malformed(format!("attribute {name} is not {expected}"))
}
