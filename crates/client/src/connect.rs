//! TLS for `ureq`, according to [`Trust`].

use std::io::{Read, Write};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};

use super::policy::causes;
use super::trust::Trust;
use mcp_auth_machine::wire::url::UrlPolicy;

/// The error when no TLS connection could be made: the request was not sent.
#[derive(Debug, thiserror::Error)]
#[error("no TLS connection to {host}: {error}")]
pub(super) struct NoTls {
    host: String,
    #[source]
    error: Box<dyn std::error::Error + Send + Sync>,
}

/// Returns true if the request was not sent because TLS failed.
pub(super) fn is_no_tls(error: &Error) -> bool {
    matches!(error, Error::Other(error) if error.is::<NoTls>())
}

/// The cause in TLS that the user can fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsFault {
    /// The server's certificate is from an untrusted authority: see [`Trust::add_roots`].
    UnknownIssuer,
    /// The server requires a client certificate, or another one: see [`Trust::client_certificate`].
    ClientCertificate,
}

impl TlsFault {
    /// Returns the cause of an error of [`HttpClient::run`](super::HttpClient::run).
    pub fn of(error: &Error) -> Option<Self> {
        // `ureq` does not implement `source` for these two.
        let first: &(dyn std::error::Error + 'static) = if let Error::Other(error) = error {
            &**error
        } else if let Error::Io(error) = error {
            error
        } else {
            error
        };
        causes(first).find_map(|error| Self::of_rustls(error.downcast_ref()?))
    }

    fn of_rustls(error: &rustls::Error) -> Option<Self> {
        use rustls::{AlertDescription as Alert, CertificateError};
        if *error == rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) {
            return Some(Self::UnknownIssuer);
        }
        let rustls::Error::AlertReceived(alert) = error else {
            return None;
        };
        let of_client = [
            Alert::CertificateRequired,
            Alert::BadCertificate,
            Alert::UnsupportedCertificate,
            Alert::CertificateRevoked,
            Alert::CertificateExpired,
            Alert::CertificateUnknown,
            Alert::UnknownCA,
        ];
        of_client.contains(alert).then_some(Self::ClientCertificate)
    }
}

/// A connector for `https` servers and proxies.
#[derive(Debug)]
pub(super) struct TlsConnector {
    trust: Trust,
    policy: Option<UrlPolicy>,
}

impl TlsConnector {
    pub(super) fn new(trust: Trust, policy: Option<UrlPolicy>) -> Self {
        Self { trust, policy }
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let Some(transport) = chained else {
            return Ok(None);
        };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default();
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            let host = host.to_owned();
            Error::Other(Box::new(NoTls { host, error }))
        };
        let policy = self.policy.as_ref();
        let policy = policy.map(|policy| policy.addresses(details.uri));
        let presents = self.trust.presents(policy, host);
        let settings = self
            .trust
            .tls(presents)
            .map_err(|flaw| failed(flaw.into()))?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare).map_err(|error| failed(error.into()))?;
        let mut connection = ClientConnection::new(settings, name.to_owned())
            .map_err(|error| failed(error.into()))?;
        let mut socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        socket.set_timeout(details.timeout);
        connection
            .complete_io(&mut socket)
            .map_err(|error| failed(error.into()))?;
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        let stream = StreamOwned::new(connection, socket);
        Ok(Some(Either::B(TlsTransport { buffers, stream })))
    }
}

/// A TLS connection.
pub(super) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        Ok(self.stream.write_all(output)?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsTransport").finish_non_exhaustive()
    }
}
