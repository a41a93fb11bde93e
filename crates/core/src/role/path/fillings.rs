//! What would fill the templates of a pattern, so that it matches a path.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::{Part, PathPattern, ResourcePath};

/// Ways to fill a pattern's templates.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fillings {
    /// By sub-claim, each way another one. A pattern without templates that matches has one, which is empty.
    pub ways: Vec<BTreeMap<String, String>>,
    /// There are more ways than were asked for.
    pub more: bool,
}

struct Search<'p, A> {
    parts: &'p [Part],
    text: &'p str,
    accepts: A,
    most: usize,
    /// By part and place: whether the parts from this one on can match the text from there on.
    leads: Vec<Vec<bool>>,
}

impl PathPattern {
    /// The ways to fill the templates for the path to match, with values that `accepts` takes for their sub-claims:
    /// the first `most`.
    pub fn fillings(
        &self,
        path: &ResourcePath,
        accepts: impl Fn(&str, &str) -> bool,
        most: usize,
    ) -> Fillings {
        let mut search = Search {
            parts: &self.parts,
            text: path.as_str(),
            accepts,
            most,
            leads: vec![vec![false; path.as_str().len() + 1]; self.parts.len() + 1],
        };
        search.look_ahead();
        let mut found = Fillings::default();
        if search.leads[0][0] {
            search.walk(0, &BTreeSet::from([0]), &mut Vec::new(), &mut found);
        }
        found
    }
}

impl<'p, A: Fn(&str, &str) -> bool> Search<'p, A> {
    /// Each pair of part and place once, from the end: so no walk runs into a dead end, however the pattern is made.
    fn look_ahead(&mut self) {
        let end = self.text.len();
        self.leads[self.parts.len()][end] = true;
        for part in (0..self.parts.len()).rev() {
            for at in (0..=end).rev() {
                let leads = match &self.parts[part] {
                    // As far as one place further on, or to here.
                    Part::Run => self.leads[part + 1][at] || at < end && self.leads[part][at + 1],
                    _ => self.ends(part, at).any(|end| self.leads_on(part, at, end)),
                };
                self.leads[part][at] = leads;
            }
        }
    }

    /// Where the part can end that begins at that place, as far as the part alone says.
    fn ends(&self, part: usize, at: usize) -> RangeInclusive<usize> {
        const NOWHERE: RangeInclusive<usize> = RangeInclusive::new(1, 0);
        let rest = &self.text[at..];
        match &self.parts[part] {
            Part::Literal(text) if rest.starts_with(text.as_str()) => {
                at + text.len()..=at + text.len()
            }
            Part::Literal(_) => NOWHERE,
            Part::Segment | Part::Claim(_) => at + 1..=at + rest.find('/').unwrap_or(rest.len()),
            Part::Run => at..=self.text.len(),
        }
    }

    fn leads_on(&self, part: usize, at: usize, end: usize) -> bool {
        self.leads[part + 1][end]
            && match &self.parts[part] {
                Part::Claim(name) => self.fills(name, &self.text[at..end]),
                _ => true,
            }
    }

    /// The path's characters are those that a value may have.
    fn fills(&self, name: &str, value: &str) -> bool {
        !matches!(value, "." | "..") && (self.accepts)(name, value)
    }

    /// From all places where the parts before can end with what has been filled so far.
    fn walk(
        &self,
        part: usize,
        starts: &BTreeSet<usize>,
        filled: &mut Vec<(&'p str, &'p str)>,
        found: &mut Fillings,
    ) {
        let Some(wanted) = self.parts.get(part) else {
            if found.ways.len() < self.most {
                let owned =
                    |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
                found.ways.push(filled.iter().map(owned).collect());
            } else {
                found.more = true;
            }
            return;
        };
        // One walk for each value: so each way is found once.
        let mut ends: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for at in starts {
            for end in self
                .ends(part, *at)
                .filter(|end| self.leads_on(part, *at, *end))
            {
                let value = match wanted {
                    Part::Claim(_) => &self.text[*at..end],
                    _ => "",
                };
                ends.entry(value).or_default().insert(end);
            }
        }
        for (value, ends) in ends {
            if found.more {
                return;
            }
            match wanted {
                Part::Claim(name) => {
                    filled.push((name, value));
                    self.walk(part + 1, &ends, filled, found);
                    filled.pop();
                }
                _ => self.walk(part + 1, &ends, filled, found),
            }
        }
    }
}
