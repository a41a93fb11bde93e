//! What Postern relies on in a Kubernetes API server, asserted on the simulator always, and on a real server as well
//! when there is one. Where the two differ, the simulator is wrong.
//!
//! `POSTERN_TEST_KUBECONFIG` names the kubeconfig of a real cluster's administrator (one cluster, one user with a
//! client certificate, all data inline). The suite makes namespaces and cluster role bindings there, named
//! `contract-…`, and removes them. `POSTERN_TEST_SA_KEY` names the PEM file of that cluster's service-account signing
//! key, which only tests of expired tokens need, and `POSTERN_TEST_CLIENT_CA_KEY` that of the CA's key, which only tests
//! of client certificates need.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation is a failed test"
)]

mod bound_objects;
mod certificates;
mod issuance;
mod legacy;
mod objects;
mod pods;
mod reading;
mod real;
mod reviewers;
mod reviews;
mod server;
mod signatures;
mod start;
mod token;

/// Makes two tests of each check, `simulator::NAME` and `real_server::NAME`.
macro_rules! contract {
    ($($module:ident :: $check:ident),+ $(,)?) => {
        mod simulator {
            $(#[tokio::test]
            async fn $check() {
                crate::start::on_simulator(crate::$module::$check).await;
            })+
        }

        mod real_server {
            $(#[tokio::test]
            async fn $check() {
                crate::start::on_real_server(crate::$module::$check).await;
            })+
        }
    };
}

contract! {
    bound_objects::a_deleted_pod_ends_its_tokens,
    bound_objects::a_recreated_pod_does_not_revive_its_tokens,
    bound_objects::a_deleted_service_account_ends_its_tokens,
    bound_objects::a_recreated_service_account_does_not_revive_its_tokens,
    bound_objects::a_deleted_bound_secret_ends_its_tokens,
    certificates::a_certificates_user_reviews_by_its_name_or_its_group,
    certificates::a_certificate_that_isnt_the_cas_or_has_expired_is_unauthorized,
    certificates::a_certificate_speaks_before_a_token_and_a_bad_one_leaves_the_word_to_it,
    issuance::claims_have_the_layout_of_bound_tokens,
    issuance::projected_tokens_are_extended_for_the_api_server_only,
    issuance::a_pod_on_a_node_names_it,
    issuance::refusals_of_token_requests,
    issuance::discovery_and_jwks_verify_a_token,
    legacy::a_secret_token_is_reviewed_without_a_credential_id,
    legacy::a_deleted_secret_ends_its_token,
    legacy::a_secret_of_a_missing_account_goes_away,
    objects::creation_and_deletion,
    objects::refusals_of_creation,
    objects::public_paths,
    pods::a_list_tells_uids_by_pages,
    pods::a_watch_tells_who_was_deleted,
    pods::who_may_not_watch_pods_is_forbidden,
    reading::a_reader_reads_namespaces_and_accounts_and_nothing_else,
    reading::who_may_only_review_reads_neither,
    reading::a_namespaces_labels_change,
    reading::a_reviewer_reads_the_keys_on_the_api_servers_own_host,
    reviewers::a_delegated_reviewer_reviews,
    reviewers::a_reviewer_with_a_role_of_its_own_reviews,
    reviewers::a_reviewer_without_permission_is_forbidden,
    reviewers::a_reviewer_with_a_bad_token_is_unauthorized,
    reviewers::an_anonymous_reviewer_is_forbidden,
    reviewers::bad_requests_are_refused,
    reviews::a_pod_bound_token,
    reviews::a_token_without_a_pod,
    reviews::audiences_are_intersected,
    reviews::a_token_for_another_audience_is_refused,
    reviews::what_is_no_token_is_refused,
    reviews::a_token_after_a_blank_is_an_anonymous_user,
    reviews::what_follows_a_blank_is_not_looked_at,
    signatures::an_altered_token_is_refused,
    signatures::an_unknown_key_is_refused,
    signatures::weak_algorithms_are_refused,
    signatures::a_token_of_another_issuer_is_refused,
    signatures::an_expired_token_is_refused,
    signatures::a_token_lives_a_minute_longer_than_it_says,
}
