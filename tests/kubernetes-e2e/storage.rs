//! The same with PostgreSQL behind the control plane.

use test_support::postgres::PrivatePostgres;

use crate::bed::{Bed, block_on};

#[test]
fn a_pod_of_a_real_cluster_gets_a_token_that_postgresql_holds() {
    let Some(postgres) = block_on(PrivatePostgres::start()) else {
        return;
    };
    let database = block_on(postgres.database());
    let url = database.url().to_owned();
    let Some(bed) = Bed::private(|options| options.database_url = Some(url)) else {
        return;
    };
    let namespace = bed.namespace();
    let method = bed.route("on-postgres", &["--bound-namespaces", namespace.name()]);
    bed.admits(&method, &bed.pod(&namespace, "mypod1"));
}
