use super::*;

const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.c2VjcmV0.c2VjcmV0";

fn with(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         contexts:\n- name: c\n  context: {{cluster: k, user: u}}\n\
         clusters:\n- name: k\n  cluster: {{{cluster}}}\n\
         users:\n- name: u\n  user: {{{user}}}\n"
    )
}

fn parse(text: &str) -> Result<Access, Failure> {
    Access::parse(text, None, Path::new("/nowhere"))
}

fn refused(text: &str) -> String {
    parse(text).err().unwrap().to_string()
}

#[test]
fn the_current_context_says_which_cluster_and_who() {
    let text = with(
        "server: 'https://10.0.0.1:6443'",
        &format!("token: {TOKEN}"),
    );
    let access = parse(&text).unwrap();
    assert_eq!(access.server.to_string(), "https://10.0.0.1:6443");
    assert_eq!(access.token.unwrap().expose_secret(), TOKEN);
    assert!(access.ca.is_none() && access.certificate.is_none());

    let other = Access::parse(&text, Some("d"), Path::new(""));
    let error = other.err().unwrap().to_string();
    assert!(error.contains("no context `d`; it has c"), "{error}");
    let none = refused(&text.replace("current-context: c", "current-context: ''"));
    assert!(none.contains("--context"), "{none}");
}

#[test]
fn files_are_relative_to_the_kubeconfig() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), format!("{TOKEN}\n")).unwrap();
    let text = with("server: 'https://a'", "tokenFile: token");
    let access = Access::parse(&text, None, folder.path()).unwrap();
    assert_eq!(access.token.unwrap().expose_secret(), TOKEN);
    let gone = refused(&text);
    assert!(gone.contains("/nowhere/token"), "{gone}");
}

#[test]
fn what_would_be_another_connection_than_kubectls_is_refused() {
    let token = format!("token: {TOKEN}");
    for (cluster, user, part) in [
        ("server: 'http://a'", token.as_str(), "must be an https URL"),
        (
            "server: 'https://a', insecure-skip-tls-verify: true",
            &token,
            "always verifies",
        ),
        (
            "server: 'https://a', proxy-url: 'http://p'",
            &token,
            "proxy",
        ),
        (
            "server: 'https://a', certificate-authority-data: bm9uZQ==",
            &token,
            "the CA of its cluster",
        ),
        (
            "server: 'https://a'",
            "exec: {command: aws, args: [eks]}",
            "a program (exec)",
        ),
        (
            "server: 'https://a'",
            "auth-provider: {name: gcp}",
            "auth-provider",
        ),
        (
            "server: 'https://a'",
            "username: a, password: b",
            "name and a password",
        ),
        (
            "server: 'https://a'",
            &format!("{token}, as: root"),
            "impersonates",
        ),
        ("server: 'https://a'", "", "has no credential"),
        (
            "server: 'https://a'",
            "client-certificate-data: YQ==",
            "only one of",
        ),
    ] {
        let error = refused(&with(cluster, user));
        assert!(error.contains(part), "{part}: {error}");
    }
    let by_hand = refused(&with("server: 'https://a'", "exec: {command: aws}"));
    assert!(by_hand.contains("postern manifest reviewer"), "{by_hand}");
}

#[test]
fn no_error_repeats_what_is_in_the_file() {
    for text in [
        format!("token: {TOKEN}\n- {TOKEN}"),
        with("server: 'https://a'", &format!("token: [{TOKEN}]")),
        with("server: [1]", &format!("token: {TOKEN}")),
        with(
            "server: 'https://a'",
            &format!("client-key-data: {TOKEN}, client-certificate-data: {TOKEN}"),
        ),
    ] {
        let error = refused(&text);
        assert!(!error.contains("eyJ"), "{error}");
    }
}

#[test]
fn an_address_of_this_machine_is_known_as_one() {
    for (server, expected) in [
        ("https://127.0.0.1:6443", true),
        ("https://[::1]:6443", true),
        ("https://0.0.0.0:6443", true),
        ("https://localhost:6443", true),
        ("https://10.0.0.1:6443", false),
        ("https://kubernetes.example", false),
    ] {
        let text = with(&format!("server: '{server}'"), &format!("token: {TOKEN}"));
        assert_eq!(parse(&text).unwrap().is_loopback(), expected, "{server}");
    }
}
