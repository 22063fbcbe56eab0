//! Secrets at rest, sealed by the hundred: the layout is `python/vidhub/store/secrets.py`'s, which opens them.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;

use crate::error::{Error, ErrorKind, Result};

/// Seals with one key; `head` stands in front of each sealed secret.
pub struct Sealer {
    head: [u8; 5],
    key: LessSafeKey,
    /// Drawn and not used yet.
    nonces: Vec<[u8; NONCE_LEN]>,
}

/// Nonces drawn at once: each draw asks the machine for randomness, which costs more than sealing does.
const DRAWN: usize = 64;

impl Sealer {
    /// Errors: SECRET_KEY_INVALID (Internal).
    pub fn new(head: [u8; 5], key: &[u8]) -> Result<Self> {
        let key =
            UnboundKey::new(&AES_256_GCM, key).map_err(|_| failed("SECRET_KEY_INVALID", "a key has 32 octets"))?;
        Ok(Self { head, key: LessSafeKey::new(key), nonces: Vec::new() })
    }

    /// head | nonce | ciphertext and tag; an empty secret stays empty. context: what the secret belongs to.
    pub fn seal(&mut self, secret: &str, context: &str) -> Result<Vec<u8>> {
        if secret.is_empty() {
            return Ok(Vec::new());
        }
        let nonce = self.nonce()?;
        let start = self.head.len() + NONCE_LEN;
        let mut sealed = Vec::with_capacity(start + secret.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&self.head);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(secret.as_bytes());
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.as_bytes()),
                &mut sealed[start..],
            )
            .map_err(|_| failed("SECRET_NOT_SEALED", "the cipher refused"))?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Each is used once.
    fn nonce(&mut self) -> Result<[u8; NONCE_LEN]> {
        let none = || failed("SECRET_NOT_SEALED", "there is no randomness");
        if self.nonces.is_empty() {
            let mut drawn = [[0; NONCE_LEN]; DRAWN];
            rand::fill(drawn.as_flattened_mut()).map_err(|_| none())?;
            self.nonces.extend(drawn);
        }
        self.nonces.pop().ok_or_else(none)
    }
}

fn failed(reason: &'static str, message: &str) -> Error {
    Error::new(ErrorKind::Internal, reason, message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_nonce_is_used_twice() {
        let mut sealer = Sealer::new([0; 5], &[9; 32]).unwrap();
        let nonces: std::collections::HashSet<Vec<u8>> =
            (0..3 * DRAWN).map(|_| sealer.seal("x", "y").unwrap()[5..17].to_vec()).collect();
        assert_eq!(nonces.len(), 3 * DRAWN);
    }

    #[test]
    fn a_sealed_secret_opens_with_its_context_alone() {
        let mut sealer = Sealer::new([1, 0, 0, 0, 7], &[9; 32]).unwrap();
        let sealed = sealer.seal("Kp1!", "camera/1/1").unwrap();
        assert_eq!(sealed[..5], [1, 0, 0, 0, 7]);
        assert_ne!(sealed, sealer.seal("Kp1!", "camera/1/1").unwrap());
        let open = |context: &str| {
            let nonce = Nonce::try_assume_unique_for_key(&sealed[5..17]).unwrap();
            let mut body = sealed[17..].to_vec();
            let opened = sealer.key.open_in_place(nonce, Aad::from(context.as_bytes()), &mut body);
            opened.map(|bytes| bytes.to_vec()).ok()
        };
        assert_eq!(open("camera/1/1").unwrap(), b"Kp1!");
        assert_eq!(open("camera/1/2"), None);
        assert!(sealer.seal("", "x").unwrap().is_empty());
        assert_eq!(Sealer::new([0; 5], &[0; 31]).err().unwrap().reason(), "SECRET_KEY_INVALID");
    }
}
