//! Compiles `proto/` without `protoc`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;

const API: &str = "postern/v1";
const SEALED: &str = "postern/sealed/v1";

/// Messages with a secret: `src/redact.rs` writes their `Debug`.
const SECRET: [&str; 18] = [
    ".postern.v1.AuthenticateRequest",
    ".postern.v1.AuthenticateResponse",
    ".postern.v1.AuthenticateAccessKeyRequest",
    ".postern.v1.AuthenticateAccessKeyResponse",
    ".postern.v1.K8sAuthConfigSecrets",
    ".postern.v1.CreateAuthMethodResponse",
    ".postern.v1.CreateGatewayResponse",
    ".postern.v1.RotateAccessKeyResponse",
    ".postern.v1.RotateCredentialResponse",
    ".postern.v1.ExplainAuthenticationRequest",
    ".postern.v1.ExchangeAssertionRequest",
    ".postern.v1.ExchangeAssertionResponse",
    ".postern.v1.AuthServiceRenewRequest",
    ".postern.v1.AuthServiceRenewResponse",
    ".postern.v1.IntrospectRequest",
    ".postern.v1.AuthorizeRequest",
    ".postern.v1.RevokeRequest",
    ".postern.sealed.v1.K8sAuthConfig",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());

    let api = compile(&root, API)?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("postern_descriptor.bin");
    fs::write(out, api.encode_to_vec())?;
    generate(api)?;
    generate(compile(&root, SEALED)?)?;
    Ok(())
}

/// All files of one package, with their comments and imports.
fn compile(
    root: &Path,
    package: &str,
) -> Result<protox::prost_reflect::prost_types::FileDescriptorSet, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(package))? {
        let name = entry?
            .file_name()
            .into_string()
            .map_err(|_| "a file name isn't UTF-8")?;
        if name.ends_with(".proto") {
            files.push(format!("{package}/{name}"));
        }
    }
    // The order of a directory's entries must not show in what is built.
    files.sort();
    let mut compiler = protox::Compiler::new([root])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(files)?;
    Ok(compiler.file_descriptor_set())
}

fn generate(
    set: protox::prost_reflect::prost_types::FileDescriptorSet,
) -> Result<(), Box<dyn Error>> {
    Ok(tonic_prost_build::configure()
        .skip_debug(SECRET)
        .compile_fds(set)?)
}
