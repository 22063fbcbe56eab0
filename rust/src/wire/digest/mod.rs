//! Digest access authentication (RFC 7616, RFC 2617), here as a server does it: challenges, stateless nonces, verification.

mod client;

use std::time::Duration;

use aws_lc_rs::hmac;
use md5::Digest as _;
use md5::Md5;
use sha2::Sha256;
use subtle::ConstantTimeEq;

pub use client::{Challenge, DigestChallenge, next_nonce};

const TAG_BYTES: usize = 16;
const MAX_PARAMETERS: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Sha256,
    Md5,
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        }
    }

    fn hex(self, parts: &[&str]) -> String {
        let joined = parts.join(":");
        match self {
            Self::Sha256 => hex::encode(Sha256::digest(joined)),
            Self::Md5 => hex::encode(Md5::digest(joined)),
        }
    }
}

/// What a nonce is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonce {
    Fresh,
    /// Ours, but too old: the client is to try again with a new one.
    Stale,
    Foreign,
}

/// Makes nonces and knows its own again without keeping them: time, salt and an HMAC over both and the client's address.
pub struct Nonces {
    key: hmac::Key,
    lifetime: Duration,
}

impl Nonces {
    pub fn new(key: &[u8; 32], lifetime: Duration) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), lifetime }
    }

    /// `now` is seconds on any clock that does not jump; `salt` is random.
    pub fn issue(&self, client: &str, now: Duration, salt: u64) -> String {
        let mut nonce = [now.as_secs().to_be_bytes(), salt.to_be_bytes()].concat();
        let tag = self.tag(&nonce, client);
        nonce.extend_from_slice(&tag);
        hex::encode(nonce)
    }

    pub fn check(&self, nonce: &str, client: &str, now: Duration) -> Nonce {
        let Ok(bytes) = hex::decode(nonce) else { return Nonce::Foreign };
        let Some((stamped, tag)) = bytes.split_at_checked(16) else { return Nonce::Foreign };
        if !bool::from(self.tag(stamped, client).ct_eq(tag)) {
            return Nonce::Foreign;
        }
        let issued = stamped.first_chunk().map_or(0, |seconds| u64::from_be_bytes(*seconds));
        match now.as_secs().checked_sub(issued) {
            Some(age) if age <= self.lifetime.as_secs() => Nonce::Fresh,
            _ => Nonce::Stale,
        }
    }

    fn tag(&self, stamped: &[u8], client: &str) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(stamped);
        context.update(client.as_bytes());
        let mut tag = [0; TAG_BYTES];
        tag.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        tag
    }
}

/// The values of both `WWW-Authenticate` headers, the stronger first (RFC 7616 §3.7); clients that know one algorithm take theirs.
pub fn challenges(realm: &str, nonce: &str, stale: bool) -> [String; 2] {
    [Algorithm::Sha256, Algorithm::Md5].map(|algorithm| {
        let stale = if stale { ", stale=true" } else { "" };
        format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}", algorithm.name())
    })
}

/// What a client answered to a challenge.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub realm: String,
    pub nonce: String,
    pub uri: String,
    response: String,
    algorithm: Algorithm,
    /// `qop=auth` with its counter and client nonce; None is RFC 2069's way, which old clients use.
    auth: Option<(String, String)>,
}

impl Credentials {
    /// Reads what stands behind `Digest ` in an `Authorization` header.
    pub fn parse(text: &str) -> Option<Self> {
        let parameters = parse_parameters(text)?;
        let get = |name: &str| {
            parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        let algorithm = match get("algorithm") {
            None => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("MD5") => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Algorithm::Sha256,
            Some(_) => return None,
        };
        let auth = match get("qop") {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case("auth") => Some((get("nc")?.to_owned(), get("cnonce")?.to_owned())),
            Some(_) => return None,
        };
        Some(Self {
            username: get("username")?.to_owned(),
            realm: get("realm")?.to_owned(),
            nonce: get("nonce")?.to_owned(),
            uri: get("uri")?.to_owned(),
            response: get("response")?.to_ascii_lowercase(),
            algorithm,
            auth,
        })
    }

    /// Whether the response proves the password, compared in constant time.
    pub fn verify(&self, method: &str, password: &str) -> bool {
        let secret = self.algorithm.hex(&[&self.username, &self.realm, password]);
        let action = self.algorithm.hex(&[method, &self.uri]);
        let expected = match &self.auth {
            Some((count, client_nonce)) => {
                self.algorithm.hex(&[&secret, &self.nonce, count, client_nonce, "auth", &action])
            }
            None => self.algorithm.hex(&[&secret, &self.nonce, &action]),
        };
        expected.as_bytes().ct_eq(self.response.as_bytes()).into()
    }
}

/// `name=token` or `name="quoted \" text"`, separated by commas. None when it is not that.
fn parse_parameters(text: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        if found.len() == MAX_PARAMETERS {
            return None;
        }
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => split_quoted(quoted)?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                let (value, after) = after.split_at(end);
                (value.trim().to_owned(), after)
            }
        };
        found.push((name.trim().to_owned(), value));
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    Some(found)
}

fn split_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..).unwrap_or_default())),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7616 §3.9.1.
    const RFC_7616: &str = r#"username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html",
        nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001,
        cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth,
        opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS","#;

    fn credentials(text: &str) -> Credentials {
        Credentials::parse(&text.replace('\n', " ")).expect("readable")
    }

    #[test]
    fn the_examples_of_rfc_7616_verify() {
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let answer = credentials(&format!("{RFC_7616} algorithm={algorithm}, response=\"{response}\""));
            assert!(answer.verify("GET", "Circle of Life"), "{algorithm}");
            assert!(!answer.verify("GET", "Circle of Lif"), "{algorithm}");
            assert!(!answer.verify("DESCRIBE", "Circle of Life"), "{algorithm}");
        }
    }

    #[test]
    fn the_example_of_rfc_2617_verifies_with_and_without_qop() {
        let common = r#"username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html""#;
        let with = credentials(&format!(
            r#"{common}, qop=auth, nc=00000001, cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1""#
        ));
        assert!(with.verify("GET", "Circle Of Life"));
        let without = credentials(&format!(r#"{common}, response="670fd8c2df070c60b045671b8b24ff02""#));
        assert!(without.verify("GET", "Circle Of Life"));
    }

    #[test]
    fn a_nonce_is_fresh_then_stale_and_foreign_elsewhere() {
        let nonces = Nonces::new(&[7; 32], Duration::from_secs(60));
        let nonce = nonces.issue("192.0.2.1", Duration::from_secs(100), 5);
        assert_eq!(nonces.check(&nonce, "192.0.2.1", Duration::from_secs(160)), Nonce::Fresh);
        assert_eq!(nonces.check(&nonce, "192.0.2.1", Duration::from_secs(161)), Nonce::Stale);
        assert_eq!(nonces.check(&nonce, "192.0.2.2", Duration::from_secs(100)), Nonce::Foreign);
        let other = Nonces::new(&[8; 32], Duration::from_secs(60));
        assert_eq!(other.check(&nonce, "192.0.2.1", Duration::from_secs(100)), Nonce::Foreign);
        for forged in ["", "00", "zz", &nonce[..nonce.len() - 2], &format!("{nonce}00")] {
            assert_eq!(nonces.check(forged, "192.0.2.1", Duration::from_secs(100)), Nonce::Foreign);
        }
    }

    #[test]
    fn both_algorithms_are_offered_the_stronger_first() {
        let [first, second] = challenges("vidhub", "abc", true);
        assert_eq!(first, r#"Digest realm="vidhub", nonce="abc", algorithm=SHA-256, qop="auth", stale=true"#);
        assert!(second.contains("algorithm=MD5"));
    }

    #[test]
    fn unknown_algorithms_and_broken_lists_are_none() {
        for text in [
            "",
            "username",
            "username=\"a",
            "username=\"a\\",
            "algorithm=SHA-512-256, username=a, realm=b, nonce=c, uri=d, response=e",
            "qop=auth-int, username=a, realm=b, nonce=c, uri=d, response=e",
            "qop=auth, username=a, realm=b, nonce=c, uri=d, response=e",
        ] {
            assert!(Credentials::parse(text).is_none(), "{text}");
        }
        assert!(Credentials::parse("username=a,realm=b,nonce=c,uri=d,response=e").is_some());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[a-z=\\\\\", ]{0,80}", nonce in ".{0,80}") {
            let _ = Credentials::parse(&text);
            let nonces = Nonces::new(&[7; 32], Duration::from_secs(60));
            prop_assert_eq!(nonces.check(&nonce, "192.0.2.1", Duration::ZERO), Nonce::Foreign);
        }
    }
}
