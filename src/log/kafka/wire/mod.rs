//! Our own connections to the brokers.

mod sasl;
mod stream;

use super::{access::AccessError, security::Security};

/// Tries to get in at a broker, to learn why another client did not: it says what went wrong in one word, or hides it.
///
/// # Errors
/// Why we are not let in.
pub(super) async fn probe(address: &str, security: &Security, client_id: &str) -> Result<(), AccessError> {
    let mut stream = stream::open(address, security).await?;
    sasl::greet(&mut stream, address, client_id, security).await
}
