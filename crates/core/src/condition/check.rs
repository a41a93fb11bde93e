//! The type checker: from what the parser read to a checked expression, with its price.

mod part;

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, SelectExpr, operators};

use self::part::{Part, constant, cut, literal_part, refuse};
use super::{Comparison, ConditionError, Field, MAX_AUDIENCES, MAX_DEPTH, Node, TextTest, Type};
use crate::selector::label_key;

/// The root of all facts.
const FACTS: &str = "facts";
/// What the parser calls the value that a macro gathers; nobody can write it.
const GATHERED: &str = "@result";

pub(super) struct Checked {
    pub(super) node: Node,
    pub(super) labels: BTreeSet<String>,
    pub(super) cost: u64,
}

struct Checker<'e> {
    scope: Vec<&'e str>,
    labels: BTreeSet<String>,
    depth: u16,
}

pub(super) fn check(expr: &IdedExpr) -> Result<Checked, ConditionError> {
    let mut checker = Checker {
        scope: Vec::new(),
        labels: BTreeSet::new(),
        depth: 0,
    };
    let part = checker.part(expr)?;
    let part = part.of(Type::Bool, "a condition")?;
    Ok(Checked {
        node: part.node,
        labels: checker.labels,
        cost: part.cost,
    })
}

impl<'e> Checker<'e> {
    fn part(&mut self, expr: &'e IdedExpr) -> Result<Part, ConditionError> {
        if self.depth >= MAX_DEPTH {
            return Err(ConditionError::TooDeep);
        }
        self.depth += 1;
        let part = match &expr.expr {
            Expr::Literal(literal) => literal_part(literal),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.select(select),
            Expr::List(list) if list.optional_indices.is_empty() => self.list(&list.elements),
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(each) => self.each(each),
            Expr::List(_) => refuse("optional elements of lists aren't allowed"),
            Expr::Map(_) => refuse("map literals aren't allowed"),
            Expr::Struct(_) => refuse("messages aren't allowed"),
            Expr::Unspecified => refuse("a part of the expression is empty"),
        };
        self.depth -= 1;
        part
    }

    fn typed(&mut self, expr: &'e IdedExpr, kind: Type, who: &str) -> Result<Part, ConditionError> {
        self.part(expr)?.of(kind, who)
    }

    fn variable(&self, name: &str) -> Result<Part, ConditionError> {
        match self.scope.iter().position(|known| *known == name) {
            Some(index) => Ok(Part::new(Node::Variable(index), Type::Text, 1)),
            None if name == FACTS => refuse("`facts` alone has no value: name a fact"),
            None => refuse(format!(
                "`{}` is no variable: facts are `facts.namespace` and such",
                cut(name)
            )),
        }
    }

    fn select(&mut self, select: &'e SelectExpr) -> Result<Part, ConditionError> {
        let operand = &select.operand.expr;
        if matches!(operand, Expr::Ident(root) if root == FACTS && self.scope.iter().all(|v| v != root))
        {
            let field = field(&select.field)?;
            return Ok(if select.test {
                Part::new(Node::Has(field), Type::Bool, 1)
            } else {
                let mut part = Part::new(Node::Fact(field), field.kind(), 1);
                part.entries = MAX_AUDIENCES as u64;
                part
            });
        }
        self.typed(&select.operand, Type::Labels, "what stands before `.`")?;
        self.label(&select.field, select.test)
    }

    /// Keys are literal, so that it is known which labels have to be read.
    fn label(&mut self, key: &str, presence: bool) -> Result<Part, ConditionError> {
        label_key(key).map_err(ConditionError::Refused)?;
        self.labels.insert(key.to_owned());
        Ok(if presence {
            Part::new(Node::HasLabel(key.to_owned()), Type::Bool, 1)
        } else {
            Part::new(Node::Label(key.to_owned()), Type::Text, 1)
        })
    }

    fn literal_label(&mut self, key: &'e IdedExpr, presence: bool) -> Result<Part, ConditionError> {
        match &key.expr {
            Expr::Literal(LiteralValue::String(key)) => self.label(key.inner(), presence),
            _ => refuse("a label's key must be a text literal, so that it is known what to read"),
        }
    }

    fn list(&mut self, elements: &'e [IdedExpr]) -> Result<Part, ConditionError> {
        if elements.is_empty() {
            return refuse("an empty list holds nothing");
        }
        let mut nodes = Vec::with_capacity(elements.len());
        let mut cost = 1;
        for element in elements {
            let part = self.typed(element, Type::Text, "an element of a list")?;
            nodes.push(part.node);
            cost += part.cost;
        }
        let entries = nodes.len();
        let mut part = Part::new(Node::Texts(nodes), Type::Texts, cost);
        part.entries = entries as u64;
        Ok(part)
    }

    fn call(&mut self, call: &'e CallExpr) -> Result<Part, ConditionError> {
        let name = call.func_name.as_str();
        match (&call.target, call.args.as_slice()) {
            (Some(target), [arg]) => self.text_test(name, target, arg),
            (Some(target), []) if name == "size" => self.size(target),
            (None, [arg]) => self.one(name, arg),
            (None, [left, right]) => self.two(name, left, right),
            (None, [condition, yes, no]) if name == operators::CONDITIONAL => {
                self.conditional(condition, yes, no)
            }
            _ => unknown(name),
        }
    }

    fn text_test(
        &mut self,
        name: &str,
        target: &'e IdedExpr,
        arg: &'e IdedExpr,
    ) -> Result<Part, ConditionError> {
        let test = match name {
            "startsWith" => TextTest::StartsWith,
            "endsWith" => TextTest::EndsWith,
            "contains" => TextTest::Contains,
            "exists" | "all" => {
                return refuse(format!("`{name}` takes a variable and a condition"));
            }
            _ => return unknown(name),
        };
        let target = self.typed(target, Type::Text, name)?;
        let arg = self.typed(arg, Type::Text, name)?;
        Ok(Part::pair(target, arg, Type::Bool, |both| {
            Node::Test(test, both)
        }))
    }

    fn size(&mut self, of: &'e IdedExpr) -> Result<Part, ConditionError> {
        let of = self.part(of)?;
        if !matches!(of.kind, Type::Text | Type::Texts) {
            return refuse(format!(
                "`size` needs a text or a list, and got {}",
                of.kind.as_str()
            ));
        }
        let cost = of.cost + 1;
        Ok(Part::new(Node::Size(Box::new(of.node)), Type::Int, cost))
    }

    fn one(&mut self, name: &str, arg: &'e IdedExpr) -> Result<Part, ConditionError> {
        match name {
            operators::LOGICAL_NOT => {
                let part = self.typed(arg, Type::Bool, "`!`")?;
                let cost = part.cost + 1;
                Ok(Part::new(Node::Not(Box::new(part.node)), Type::Bool, cost))
            }
            "size" => self.size(arg),
            "timestamp" => constant(name, arg, "2027-01-31T12:00:00Z", |text| {
                Some((Node::Time(text.parse().ok()?), Type::Time))
            }),
            "duration" => constant(name, arg, "1h30m", |text| {
                text.starts_with(|c: char| c.is_ascii_digit())
                    .then(|| Some((Node::Span(text.parse().ok()?), Type::Span)))?
            }),
            _ => unknown(name),
        }
    }

    fn two(
        &mut self,
        name: &str,
        left: &'e IdedExpr,
        right: &'e IdedExpr,
    ) -> Result<Part, ConditionError> {
        match name {
            operators::LOGICAL_AND | operators::LOGICAL_OR => {
                let and = name == operators::LOGICAL_AND;
                let word = if and { "`&&`" } else { "`||`" };
                let left = self.typed(left, Type::Bool, word)?;
                let right = self.typed(right, Type::Bool, word)?;
                let node = if and { Node::And } else { Node::Or };
                Ok(Part::pair(left, right, Type::Bool, node))
            }
            operators::IN => self.contained(left, right),
            operators::INDEX => {
                self.typed(left, Type::Labels, "what stands before `[`")?;
                self.literal_label(right, false)
            }
            operators::ADD | operators::SUBSTRACT => self.sum(name, left, right),
            _ => match comparison(name) {
                Some(comparison) => self.compare(comparison, left, right),
                None => unknown(name),
            },
        }
    }

    fn contained(
        &mut self,
        element: &'e IdedExpr,
        list: &'e IdedExpr,
    ) -> Result<Part, ConditionError> {
        let list = self.part(list)?;
        match list.kind {
            Type::Labels => self.literal_label(element, true),
            Type::Texts => {
                let element = self.typed(element, Type::Text, "`in`")?;
                let entries = list.entries;
                let mut part = Part::pair(element, list, Type::Bool, Node::In);
                part.cost += entries;
                Ok(part)
            }
            other => refuse(format!(
                "`in` needs a list or the labels, and got {}",
                other.as_str()
            )),
        }
    }

    fn sum(
        &mut self,
        name: &str,
        left: &'e IdedExpr,
        right: &'e IdedExpr,
    ) -> Result<Part, ConditionError> {
        let (left, right) = (self.part(left)?, self.part(right)?);
        let plus = name == operators::ADD;
        let kind = match (left.kind, plus, right.kind) {
            (Type::Text, true, Type::Text) => Type::Text,
            (Type::Time, _, Type::Span) => Type::Time,
            (Type::Time, false, Type::Time) => Type::Span,
            (left, _, right) => {
                let word = if plus { "+" } else { "-" };
                return refuse(format!(
                    "`{word}` can't take {} and {}",
                    left.as_str(),
                    right.as_str()
                ));
            }
        };
        let node = if plus { Node::Plus } else { Node::Minus };
        Ok(Part::pair(left, right, kind, node))
    }

    fn compare(
        &mut self,
        comparison: Comparison,
        left: &'e IdedExpr,
        right: &'e IdedExpr,
    ) -> Result<Part, ConditionError> {
        let (left, right) = (self.part(left)?, self.part(right)?);
        let equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let comparable = match left.kind {
            Type::Int | Type::Time | Type::Span => true,
            Type::Bool | Type::Text => equality,
            Type::Texts | Type::Labels => false,
        };
        if left.kind != right.kind || !comparable {
            return refuse(format!(
                "{} and {} can't be compared like that",
                left.kind.as_str(),
                right.kind.as_str()
            ));
        }
        Ok(Part::pair(left, right, Type::Bool, |both| {
            Node::Compare(comparison, both)
        }))
    }

    fn conditional(
        &mut self,
        condition: &'e IdedExpr,
        yes: &'e IdedExpr,
        no: &'e IdedExpr,
    ) -> Result<Part, ConditionError> {
        let condition = self.typed(condition, Type::Bool, "`?`")?;
        let yes = self.part(yes)?;
        let no = self.typed(no, yes.kind, "what stands behind `:`")?;
        if yes.kind == Type::Labels {
            return refuse("labels can't be chosen with `?`");
        }
        let cost = condition.cost + yes.cost.max(no.cost) + 1;
        let entries = yes.entries.max(no.entries);
        let nodes = Box::new([condition.node, yes.node, no.node]);
        let mut part = Part::new(Node::If(nodes), yes.kind, cost);
        part.entries = entries;
        Ok(part)
    }

    /// `exists` and `all`, as the parser writes them out.
    fn each(&mut self, each: &'e ComprehensionExpr) -> Result<Part, ConditionError> {
        let gathered = |expr: &IdedExpr| matches!(&expr.expr, Expr::Ident(n) if n == GATHERED);
        let body = match &each.loop_step.expr {
            Expr::Call(CallExpr {
                func_name, args, ..
            }) if each.iter_var2.is_none() && gathered(&each.result) => match args.as_slice() {
                [before, body] if gathered(before) => Some((func_name.as_str(), body)),
                _ => None,
            },
            _ => None,
        };
        let (all, body) = match body {
            Some((operators::LOGICAL_AND, body)) => (true, body),
            Some((operators::LOGICAL_OR, body)) => (false, body),
            _ => {
                return refuse(
                    "of the macros, `has`, `exists` and `all` are allowed, and no others",
                );
            }
        };
        let word = if all { "`all`" } else { "`exists`" };
        let list = self.typed(&each.iter_range, Type::Texts, word)?;
        let variable = each.iter_var.as_str();
        if variable == FACTS || self.scope.contains(&variable) {
            return refuse(format!("the variable `{}` hides another", cut(variable)));
        }
        self.scope.push(variable);
        let body = self.typed(body, Type::Bool, word);
        self.scope.pop();
        let body = body?;
        let cost = list.cost + list.entries.saturating_mul(body.cost + 1) + 1;
        let of = Box::new([list.node, body.node]);
        Ok(Part::new(Node::Each { all, of }, Type::Bool, cost))
    }
}

fn field(name: &str) -> Result<Field, ConditionError> {
    let known = Field::ALL.iter().find(|field| field.name() == name);
    match known {
        Some(field) => Ok(*field),
        None => {
            let names: Vec<&str> = Field::ALL.iter().map(|field| field.name()).collect();
            refuse(format!(
                "`facts.{}` is no fact: there are {}",
                cut(name),
                names.join(", ")
            ))
        }
    }
}

fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        operators::EQUALS => Comparison::Equal,
        operators::NOT_EQUALS => Comparison::NotEqual,
        operators::LESS => Comparison::Less,
        operators::LESS_EQUALS => Comparison::LessOrEqual,
        operators::GREATER => Comparison::Greater,
        operators::GREATER_EQUALS => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn unknown<T>(name: &str) -> Result<T, ConditionError> {
    let name = cut(name.trim_matches(|c| matches!(c, '_' | '@')));
    refuse(format!(
        "`{name}` isn't allowed, or not like that; functions are startsWith, endsWith, contains, size, timestamp, duration, has, exists and all"
    ))
}
