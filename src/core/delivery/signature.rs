//! The signature of a request, in the form of Standard Webhooks 1.0: <https://www.standardwebhooks.com>.
//!
//! Signed is `{webhook-id}.{webhook-timestamp}.{body}`, so that neither the body nor when it was sent can be another's; its
//! libraries verify it in most languages. The header has `v1,` and the HMAC-SHA256 in base64.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A secret that begins so has its bytes as base64 behind it.
const ENCODED_PREFIX: &str = "whsec_";

/// The bytes of a secret: those that `whsec_…` stands for, else the text's own. `None` where what stands behind it is no base64.
pub fn key_of(secret: &str) -> Option<Vec<u8>> {
    match secret.strip_prefix(ENCODED_PREFIX) {
        Some(encoded) => STANDARD.decode(encoded).ok(),
        None => Some(secret.as_bytes().to_vec()),
    }
}

/// The value of the header `webhook-signature`.
pub fn sign(key: &[u8], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    // A key of any length is one: longer ones are hashed first.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(format!("{id}.{timestamp_s}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python's own hmac gives for the same.
    #[test]
    fn it_is_the_signature_that_others_compute() {
        let key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(key_of("plain").unwrap(), b"plain");
        assert_eq!(key_of("whsec_%"), None);
    }
}
