//! What no token goes beyond, whatever its method says.

use std::time::Duration;

use super::{ask, route};
use crate::support::{Process, World, eventually};

#[test]
fn a_control_plane_that_gives_tokens_less_than_their_methods_do_says_so_and_gives_no_more() {
    let mut world = World::start();
    let method = route(&world, "long", &["--jwt-ttl", "60"]);
    let lives = |world: &World, token: &str| {
        let caller = world.gateway().with(token);
        let answer = ask(world, &caller, "", "").unwrap();
        let (end, issued) = (answer.expire_time.unwrap(), answer.issue_time.unwrap());
        end.seconds - issued.seconds
    };
    assert_eq!(lives(&world, &world.token(&method)), 3600);
    world.stop_control_plane();

    let flags = ["--max-token-ttl", "5m", "--max-token-life", "10m"];
    let _serving = Process::control_plane(&world, &flags);
    let pod = world.pod_token("mypod1");
    let again = eventually("a login", Duration::from_secs(20), || {
        let output = world.log_in(&method.access_id, "long", &pod);
        (output.code == 0).then_some(output)
    });
    let token = again.success().lines().nth(1).unwrap().to_owned();
    let token = token.trim_start_matches("Token: ").to_owned();
    assert_eq!(lives(&world, &token), 300);
    let update = ["auth-method", "update", "k8s", "--name", "long"];
    let update = [&update[..], &["--description", "the same"]].concat();
    let output = world.admin.run(&update);
    let said = output.stderr.clone();
    output.success();
    assert!(
        said.contains("TOKEN_LIFE_CAPPED") && said.contains("300 s"),
        "{said}"
    );
}
