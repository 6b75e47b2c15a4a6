//! The first words on a connection: who we are (`sasl`), then what the broker offers (`ApiVersions`, KIP-35 and KIP-511).

use std::io;

use bytes::Bytes;
use kafka_protocol::{
    messages::ApiVersionsRequest,
    protocol::{Request, StrBytes},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{message, stream::Stream, versions::Versions};
use crate::log::kafka::{access::AccessError, security::Security};

/// Largest answer that is read in a greeting, bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Name told in ApiVersions (KIP-511); versions there may have digits, letters, dots and dashes only.
const SOFTWARE_NAME: &str = "streamgauge";

/// A conversation on a connection that nobody else uses yet.
pub(super) struct Greeting<'a> {
    stream: &'a mut Stream,
    pub(super) address: &'a str,
    client_id: StrBytes,
    pub(super) security: &'a Security,
    correlation: i32,
}

impl<'a> Greeting<'a> {
    pub(super) fn new(stream: &'a mut Stream, address: &'a str, client_id: &str, security: &'a Security) -> Self {
        Self { stream, address, client_id: StrBytes::from_string(client_id.to_owned()), security, correlation: 0 }
    }

    /// Asks in the newest form; an old broker answers in the oldest one that it does not know this form (KIP-511).
    ///
    /// # Errors
    /// The broker hangs up, or what answers is none.
    pub(super) async fn ask_versions(&mut self) -> Result<Versions, AccessError> {
        const NEWEST: i16 = 3;
        const UNSUPPORTED_VERSION: i16 = 35;
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(SOFTWARE_NAME))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let answer = self.answer(&request, NEWEST).await?;
        let answer = match message::decode::<ApiVersionsRequest>(answer, NEWEST) {
            Ok(answer) if answer.error_code != UNSUPPORTED_VERSION => answer,
            // The oldest form does not read as the newest one.
            Ok(_) | Err(_) => self.exchange(&ApiVersionsRequest::default(), 0).await?,
        };
        Ok(Versions::of(&answer))
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// The broker hangs up, or what answers is none.
    pub(super) async fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, AccessError> {
        let answer = self.answer(request, version).await?;
        message::decode::<R>(answer, version)
            .map_err(|error| self.not_kafka(format!("an answer that cannot be read ({error})")))
    }

    async fn answer<R: Request>(&mut self, request: &R, version: i16) -> Result<Bytes, AccessError> {
        self.correlation += 1;
        let frame = message::encode(request, version, &self.client_id)
            .map_err(|reason| AccessError::Sasl { address: self.address.to_owned(), reason })?;
        let mut frame = message::correlated(frame, self.correlation);
        let sent = async {
            self.stream.write_all_buf(&mut frame).await?;
            self.stream.flush().await
        }
        .await;
        // A broker that has refused us may have closed its side; what it said still waits to be read.
        self.read(sent.err()).await
    }

    async fn read(&mut self, unsent: Option<io::Error>) -> Result<Bytes, AccessError> {
        const ALERT: u8 = 0x15;
        const VERSION: u8 = 0x03;
        let mut start = [0; 4];
        if let Err(error) = self.stream.read_exact(&mut start).await {
            let error = match unsent {
                Some(unsent) if error.kind() == io::ErrorKind::UnexpectedEof => unsent,
                _ => error,
            };
            // With TLS 1.3 a broker refuses a client certificate only here, in place of its first answer.
            return Err(AccessError::of_io(&error, self.address, self.security));
        }
        if start[..2] == [ALERT, VERSION] {
            return Err(AccessError::WantsTls { address: self.address.to_owned() });
        }
        let length = usize::try_from(i32::from_be_bytes(start)).unwrap_or(usize::MAX);
        if !(4..=MAX_ANSWER_BYTES).contains(&length) {
            return Err(self.not_kafka(format!("an answer that begins with {:?}", String::from_utf8_lossy(&start))));
        }
        let mut answer = vec![0; length];
        let read = self.stream.read_exact(&mut answer).await;
        read.map_err(|error| AccessError::of_io(&error, self.address, self.security))?;
        let answer = Bytes::from(answer);
        if message::correlation(&answer) != Some(self.correlation) {
            return Err(self.not_kafka("an answer to something that was not asked".to_owned()));
        }
        Ok(answer)
    }

    fn not_kafka(&self, reason: String) -> AccessError {
        AccessError::NotKafka { address: self.address.to_owned(), reason }
    }
}

#[cfg(test)]
pub(super) mod tests;
