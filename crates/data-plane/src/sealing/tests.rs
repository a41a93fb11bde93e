use postern_proto::convert::time;

use super::*;
use crate::sample::{config, key_line, noon, reviewer_token, sealer};

fn view(row: &mut pb::SealedK8sAuthConfig) -> &mut pb::K8sAuthConfig {
    row.view.as_mut().unwrap()
}

fn open(sealer: &Sealer, row: &pb::SealedK8sAuthConfig) -> Result<(), Broken> {
    sealer.open(row, noon()).map(|_| ())
}

#[test]
fn what_was_sealed_opens_and_the_row_shows_no_secret() {
    let sealer = sealer("default", &[&key_line("k1")]);
    let config = config("k8s-conf", 1, 1);
    let row = sealer.seal(&config).unwrap();
    let opened = sealer.open(&row, noon()).unwrap();
    assert_eq!(reviewer_token(&opened).expose(), "aaa.bbb.ccc");
    assert_eq!(opened.access.endpoint(), config.access.endpoint());
    let wire = row.encode_to_vec();
    let shown = |needle: &[u8]| wire.windows(needle.len()).any(|part| part == needle);
    assert!(shown(b"k8s-conf"));
    assert!(!shown(b"aaa.bbb.ccc") && !shown(b"PRIVATE KEY"));
}

#[test]
fn a_row_that_names_another_host_is_not_used() {
    let sealer = sealer("default", &[&key_line("k1")]);
    let mut row = sealer.seal(&config("k8s-conf", 1, 1)).unwrap();
    view(&mut row).k8s_host = Some("https://thief:8443".to_owned());
    let broken = open(&sealer, &row).unwrap_err();
    assert!(
        matches!(&broken, Broken::Differs(fields) if *fields == ["k8s_host"]),
        "{broken}"
    );
}

#[test]
fn no_part_of_the_clear_copy_can_be_changed() {
    let sealer = sealer("default", &[&key_line("k1")]);
    let row = sealer.seal(&config("k8s-conf", 1, 1)).unwrap();
    let edits: [fn(&mut pb::K8sAuthConfig); 14] = [
        |view| view.tls_server_name = Some("thief".to_owned()),
        |view| view.reviewer = Some(pb::ReviewerType::PresentedToken.into()),
        |view| view.mode = Some(pb::VerificationMode::Offline.into()),
        |view| view.jwks = Some("{}".to_owned()),
        |view| view.connect_timeout = Some(time::from_millis(1)),
        |view| view.total_timeout = Some(time::from_millis(9_999)),
        |view| view.reviewer_credential_expire_time = Some(time::timestamp(noon())),
        |view| view.k8s_ca_cert = Some(String::new()),
        |view| view.k8s_issuers.push("https://thief".to_owned()),
        |view| view.disabled = Some(true),
        |view| view.signing_key_id = "other".to_owned(),
        |view| view.generation = 2,
        |view| view.access_id = Some("p-abcdefghijkm".to_owned()),
        |view| view.meta.as_mut().unwrap().uid = uuid::Uuid::from_u128(2).to_string(),
    ];
    for (i, edit) in edits.into_iter().enumerate() {
        let mut row = row.clone();
        edit(view(&mut row));
        assert!(open(&sealer, &row).is_err(), "edit {i}");
    }
    assert!(open(&sealer, &row).is_ok());
}

#[test]
fn the_boxes_of_two_configs_cant_be_swapped() {
    let sealer = sealer("default", &[&key_line("k1")]);
    let mut one = sealer.seal(&config("one", 1, 1)).unwrap();
    let mut two = sealer.seal(&config("two", 2, 1)).unwrap();
    std::mem::swap(&mut one.sealed, &mut two.sealed);
    for row in [&one, &two] {
        let broken = open(&sealer, row).unwrap_err();
        assert!(
            matches!(broken, Broken::Closed(OpenError::NotAuthentic)),
            "{broken}"
        );
    }
}

#[test]
fn a_config_under_another_name_is_not_used() {
    let sealer = sealer("default", &[&key_line("k1")]);
    let mut row = sealer.seal(&config("one", 1, 1)).unwrap();
    view(&mut row).name = "gateways/default/k8sAuthConfigs/two".to_owned();
    assert!(matches!(open(&sealer, &row), Err(Broken::Closed(_))));
}

#[test]
fn another_gateways_box_does_not_open_even_with_the_same_key() {
    let line = key_line("k1");
    let ours = sealer("default", &[&line]);
    let mut row = ours.seal(&config("one", 1, 1)).unwrap();
    let theirs = sealer("other", &[&line]);
    assert!(matches!(open(&theirs, &row), Err(Broken::OtherGateway)));
    view(&mut row).name = "gateways/other/k8sAuthConfigs/one".to_owned();
    let broken = open(&theirs, &row).unwrap_err();
    assert!(
        matches!(broken, Broken::Closed(OpenError::NotAuthentic)),
        "{broken}"
    );
}

#[test]
fn a_key_that_was_removed_opens_nothing_and_one_that_was_moved_down_still_opens() {
    let (old, new) = (key_line("old"), key_line("new"));
    let row = sealer("default", &[&old])
        .seal(&config("one", 1, 1))
        .unwrap();
    assert!(open(&sealer("default", &[&new, &old]), &row).is_ok());
    let broken = open(&sealer("default", &[&new]), &row).unwrap_err();
    assert!(
        matches!(&broken, Broken::Closed(OpenError::UnknownKey(id)) if id == "old"),
        "{broken}"
    );
}

#[test]
fn a_key_id_that_names_another_key_does_not_open() {
    let (one, two) = (key_line("one"), key_line("two"));
    let sealer = sealer("default", &[&one, &two]);
    let mut row = sealer.seal(&config("c", 1, 1)).unwrap();
    for id in ["two", "three", ""] {
        view(&mut row).seal_key_id = id.to_owned();
        assert!(open(&sealer, &row).is_err(), "{id}");
    }
}

#[test]
fn a_changed_box_does_not_open() {
    let sealer = sealer("default", &[&key_line("k1")]);
    let row = sealer.seal(&config("one", 1, 1)).unwrap();
    for at in [0, 5, row.sealed.len() / 2, row.sealed.len() - 1] {
        let mut changed = row.clone();
        changed.sealed[at] ^= 1;
        assert!(open(&sealer, &changed).is_err(), "byte {at}");
    }
    let mut cut = row;
    cut.sealed.truncate(20);
    assert!(open(&sealer, &cut).is_err());
    cut.sealed.clear();
    assert!(matches!(open(&sealer, &cut), Err(Broken::Row(_))));
}
