use test_support::capture::LogBuffer;

#[test]
fn log_lines_are_kept() {
    let buffer = LogBuffer::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(buffer.clone())
        .finish();

    tracing::subscriber::with_default(subscriber, || tracing::info!(pod = "mypod1", "admitted"));

    let contents = buffer.contents();
    assert!(
        contents.contains("admitted") && contents.contains("mypod1"),
        "{contents}"
    );
}
