//! Kubernetes' text form of a selector, as `kubectl -l` takes it.

use super::{Operator, RequirementSpec, SelectorSpec, SelectorTextError};

/// The longest text that is read, in bytes.
const MAX_LENGTH: usize = 4096;

pub(super) fn parse(text: &str) -> Result<SelectorSpec, SelectorTextError> {
    let mut reader = Reader { rest: text };
    if text.len() > MAX_LENGTH {
        return reader.fault("the selector is longer than 4096 bytes");
    }
    let mut spec = SelectorSpec::default();
    loop {
        reader.requirement(&mut spec)?;
        if reader.end() {
            return Ok(spec);
        }
        if !reader.eat(",") {
            return reader.fault("a `,` must stand between requirements");
        }
    }
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn requirement(&mut self, spec: &mut SelectorSpec) -> Result<(), SelectorTextError> {
        let absent = self.eat("!");
        let key = self.word("a label's key is missing")?;
        let (operator, values) = if absent {
            (Operator::DoesNotExist, Vec::new())
        } else if self.eat("!=") {
            (Operator::NotIn, vec![self.value()?])
        } else if self.eat("==") || self.eat("=") {
            let value = self.value()?;
            if spec.match_labels.insert(key.to_owned(), value).is_some() {
                return self.fault("a label has two values");
            }
            return Ok(());
        } else {
            self.word_operator()?
        };
        spec.match_expressions.push(RequirementSpec {
            key: key.to_owned(),
            operator,
            values,
        });
        Ok(())
    }

    fn word_operator(&mut self) -> Result<(Operator, Vec<String>), SelectorTextError> {
        let before = self.rest;
        match self.take_word() {
            "" => Ok((Operator::Exists, Vec::new())),
            "in" => Ok((Operator::In, self.values()?)),
            "notin" => Ok((Operator::NotIn, self.values()?)),
            _ => {
                self.rest = before;
                self.fault("an operator is one of `=`, `==`, `!=`, `in` and `notin`")
            }
        }
    }

    fn values(&mut self) -> Result<Vec<String>, SelectorTextError> {
        if !self.eat("(") {
            return self.fault("`in` and `notin` need values in `(…)`");
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            if self.eat(")") {
                return Ok(values);
            }
            if !self.eat(",") {
                return self.fault("`,` or `)` must follow a value");
            }
        }
    }

    fn value(&mut self) -> Result<String, SelectorTextError> {
        let value = self.word("a value is empty (is a variable of the shell empty?)")?;
        Ok(value.to_owned())
    }

    fn word(&mut self, missing: &'static str) -> Result<&'t str, SelectorTextError> {
        match self.take_word() {
            "" => self.fault(missing),
            word => Ok(word),
        }
    }

    /// What may stand in a key or a value, and more: which ones can is `Selector::parse`'s to say.
    fn take_word(&mut self) -> &'t str {
        self.skip_blanks();
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || "!=<>(),".contains(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_blanks();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn end(&mut self) -> bool {
        self.skip_blanks();
        self.rest.is_empty()
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn fault<T>(&self, what: &'static str) -> Result<T, SelectorTextError> {
        Err(SelectorTextError {
            what,
            rest: self.rest.chars().take(32).collect(),
        })
    }
}
