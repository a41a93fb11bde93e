//! `Rule` and what stands in it.

use postern_core::invalid::{Invalid, Violations};
use postern_core::rule::{Rule, RuleSpec};
use postern_core::selector::{Operator, RequirementSpec, SelectorSpec};

use crate::pb;

/// A rule from the wire; field names are relative to it.
///
/// # Errors
/// Every fault at once.
pub fn from_pb(wire: &pb::Rule) -> Result<Rule, Invalid> {
    let selector = wire.namespace_selector.as_ref().map(selector_from_pb);
    let namespace_selector = selector
        .transpose()
        .map_err(|e| e.within("namespace_selector"))?;
    Rule::parse(RuleSpec {
        namespaces: wire.namespaces.clone(),
        service_accounts: wire.service_accounts.clone(),
        pods: wire.pods.clone(),
        namespaced_service_accounts: wire.namespaced_service_accounts.clone(),
        nodes: wire.nodes.clone(),
        namespace_selector,
        condition: wire.condition.clone(),
        any_namespace: wire.any_namespace,
        allow_any: wire.allow_any,
    })
}

/// A rule on the wire.
pub fn to_pb(rule: &Rule) -> pb::Rule {
    let spec = rule.spec();
    pb::Rule {
        namespaces: spec.namespaces.clone(),
        service_accounts: spec.service_accounts.clone(),
        pods: spec.pods.clone(),
        namespaced_service_accounts: spec.namespaced_service_accounts.clone(),
        any_namespace: spec.any_namespace,
        allow_any: spec.allow_any,
        nodes: spec.nodes.clone(),
        namespace_selector: spec.namespace_selector.as_ref().map(selector_to_pb),
        condition: spec.condition.clone(),
    }
}

fn selector_from_pb(wire: &pb::LabelSelector) -> Result<SelectorSpec, Invalid> {
    let mut faults = Violations::default();
    let mut match_expressions = Vec::with_capacity(wire.match_expressions.len());
    for (i, wire) in wire.match_expressions.iter().enumerate() {
        let Some(operator) = operator_from_pb(wire.operator) else {
            faults.add(
                format!("match_expressions[{i}].operator"),
                "is none of IN, NOT_IN, EXISTS and DOES_NOT_EXIST",
            );
            continue;
        };
        match_expressions.push(RequirementSpec {
            key: wire.key.clone(),
            operator,
            values: wire.values.clone(),
        });
    }
    faults.finish()?;
    Ok(SelectorSpec {
        match_labels: wire.match_labels.clone().into_iter().collect(),
        match_expressions,
    })
}

/// A selector on the wire.
pub fn selector_to_pb(spec: &SelectorSpec) -> pb::LabelSelector {
    let labels = spec.match_labels.iter();
    pb::LabelSelector {
        match_labels: labels.map(|(k, v)| (k.clone(), v.clone())).collect(),
        match_expressions: spec
            .match_expressions
            .iter()
            .map(|requirement| pb::LabelSelectorRequirement {
                key: requirement.key.clone(),
                operator: operator_to_pb(requirement.operator).into(),
                values: requirement.values.clone(),
            })
            .collect(),
    }
}

fn operator_from_pb(wire: i32) -> Option<Operator> {
    let known = |operator: &&Operator| i32::from(operator_to_pb(**operator)) == wire;
    Operator::ALL.iter().find(known).copied()
}

fn operator_to_pb(operator: Operator) -> pb::LabelSelectorOperator {
    match operator {
        Operator::In => pb::LabelSelectorOperator::In,
        Operator::NotIn => pb::LabelSelectorOperator::NotIn,
        Operator::Exists => pb::LabelSelectorOperator::Exists,
        Operator::DoesNotExist => pb::LabelSelectorOperator::DoesNotExist,
    }
}
