//! An API server that comes back with a certificate of another CA.

use std::time::{Duration, Instant};

use crate::bed::{Bed, control};

/// The certificates of a bundle, each by itself.
fn certificates(bundle: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----\n";
    let parts = bundle.split_inclusive(END);
    parts
        .map(str::to_owned)
        .filter(|part| part.contains("BEGIN"))
        .collect()
}

#[test]
fn a_cluster_moves_to_another_ca_without_its_reviewers_credential() {
    let Some(bed) = Bed::alone() else { return };
    let namespace = bed.namespace();
    let pod = bed.pod(&namespace, "mypod1");
    let [old, next] = &certificates(&bed.ca)[..] else {
        panic!("the CA that is, and the one to come: {}", bed.ca);
    };
    let method = bed.route("rotating", &["--bound-namespaces", namespace.name()]);
    let trust = |ca: &str| {
        let update = [
            "k8s-auth-config",
            "update",
            "-n",
            "rotating",
            "--k8s-ca-cert",
            ca,
        ];
        bed.world.admin.run(&update)
    };
    trust(old).success();
    bed.admits(&method, &pod);

    control(&["serving-certificate", "next"]);
    // Of the other token the gateway remembers a yes.
    let distrusted = bed.log_in_briefly(&method, &bed.pod(&namespace, "mypod2"));
    distrusted.fails(3, &["isn't trusted"]);

    let changed = Instant::now();
    let both = trust(&format!("{old}{next}"));
    assert!(both.stderr.contains("stored credential"), "{}", both.stderr);
    bed.admits(&method, &pod);
    assert!(
        changed.elapsed() < Duration::from_secs(5),
        "{:?}",
        changed.elapsed()
    );
    trust(next).success();
    bed.admits(&method, &pod);
    trust(old).success();
    bed.log_in_briefly(&method, &bed.pod(&namespace, "mypod3"))
        .fails(3, &["isn't trusted"]);
}
