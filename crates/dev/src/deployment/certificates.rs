//! The deployment's own CA, and the servers' certificates.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postern_core::resource_id::GatewayName;
use postern_rpc::tls::gateway_uri;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use super::InitError;
use super::files::{self, Writer};

pub(super) const CA: &str = "ca.pem";
/// What the gateway shows the control plane.
pub(super) const CLIENT: &str = "client.pem";
pub(super) const CLIENT_KEY: &str = "client-key.pem";
const CA_KEY: &str = "ca-key.pem";
pub(super) const CERTIFICATE: &str = "server.pem";
pub(super) const KEY: &str = "server-key.pem";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CA_LIFE: Duration = DAY.saturating_mul(3652);
/// Some clients refuse certificates that live longer.
const SERVER_LIFE: Duration = DAY.saturating_mul(397);
/// For clients whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(5 * 60);

/// The CA. Its key is read only when something has to be signed, so that it can be kept elsewhere.
pub(super) struct Authority {
    pem: String,
    issuer: Option<Issuer<'static, KeyPair>>,
}

impl Authority {
    /// Reads the CA, or makes one in a folder without certificates.
    pub(super) fn open(writer: &mut Writer) -> Result<Self, InitError> {
        if let Some(pem) = files::read(&writer.dir().join(CA))? {
            return Ok(Self { pem, issuer: None });
        }
        for needed_for in [CA_KEY, "control-plane/server.pem", "gateway/server.pem"] {
            if writer.has(needed_for) {
                return Err(InitError::MissingCa {
                    path: writer.dir().join(CA),
                    needed_for: needed_for.to_owned(),
                });
            }
        }
        let key = KeyPair::generate()?;
        let mut params = named("Postern CA");
        valid_for(&mut params, CA_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        writer.write(CA_KEY, &key.serialize_pem())?;
        writer.write(CA, &pem)?;
        let issuer = Some(Issuer::from_ca_cert_pem(&pem, key)?);
        Ok(Self { pem, issuer })
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// Gives a service the CA's certificate, and a certificate and key of its own for `host`.
    pub(super) fn install(
        &mut self,
        writer: &mut Writer,
        service: &str,
        host: &str,
    ) -> Result<(), InitError> {
        let file = |name: &str| format!("{service}/{name}");
        writer.missing(&file(CA), || Ok(self.pem.clone()))?;
        let pair = [file(CERTIFICATE), file(KEY)];
        self.issue(writer, pair, service, || server(service, host))
    }

    /// Gives a gateway the certificate that it shows the control plane.
    pub(super) fn install_client(
        &mut self,
        writer: &mut Writer,
        service: &str,
        gateway: &GatewayName,
    ) -> Result<(), InitError> {
        let pair = [CLIENT, CLIENT_KEY].map(|name| format!("{service}/{name}"));
        self.issue(writer, pair, service, || client(gateway))
    }

    fn issue(
        &mut self,
        writer: &mut Writer,
        [certificate, key]: [String; 2],
        service: &str,
        params: impl FnOnce() -> Result<CertificateParams, InitError>,
    ) -> Result<(), InitError> {
        if writer.has(&certificate) && writer.has(&key) {
            return Ok(());
        }
        let pair = KeyPair::generate()?;
        let issuer = self.issuer(writer, service)?;
        let pem = params()?.signed_by(&pair, issuer)?.pem();
        // Half a pair is of no use.
        writer.remove(&certificate)?;
        writer.remove(&key)?;
        writer.write(&key, &pair.serialize_pem())?;
        writer.write(&certificate, &pem)
    }

    fn issuer(
        &mut self,
        writer: &Writer,
        needed_for: &str,
    ) -> Result<&Issuer<'static, KeyPair>, InitError> {
        let issuer = match self.issuer.take() {
            Some(issuer) => issuer,
            None => {
                let path = writer.dir().join(CA_KEY);
                let pem = files::read(&path)?.ok_or_else(|| InitError::MissingCa {
                    path,
                    needed_for: format!("the certificate of {needed_for}"),
                })?;
                Issuer::from_ca_cert_pem(&self.pem, KeyPair::from_pem(&pem)?)?
            }
        };
        Ok(self.issuer.insert(issuer))
    }
}

fn server(service: &str, host: &str) -> Result<CertificateParams, InitError> {
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    if !hosts.iter().any(|known| known == host) {
        hosts.insert(0, host.to_owned());
    }
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = named(&format!("Postern {service}")).distinguished_name;
    valid_for(&mut params, SERVER_LIFE);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn client(gateway: &GatewayName) -> Result<CertificateParams, InitError> {
    let mut params = named(&format!("Postern gateway {gateway}"));
    let uri = gateway_uri(gateway).try_into()?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    valid_for(&mut params, SERVER_LIFE);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn valid_for(params: &mut CertificateParams, life: Duration) {
    // Whoever verifies it asks the system's clock as well.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + now + life;
}
