//! Digest access authentication as a client does it: challenges read, and answered.

use super::{Algorithm, parse_parameters};

/// What a server wants for a login: one challenge of a `WWW-Authenticate` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    Digest(DigestChallenge),
}

/// A Digest challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestChallenge {
    pub nonce: String,
    /// The nonce was too old, and nothing is wrong with the login.
    pub stale: bool,
    realm: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// As the server wrote it, for old ones know no such parameter.
    algorithm_name: Option<String>,
    /// `-sess`: the secret depends on the nonces too.
    is_session: bool,
    /// `qop=auth` is offered; else RFC 2069's way.
    has_auth: bool,
}

impl Challenge {
    /// Reads the challenges of one header's value (RFC 7235 §4.1), the strongest first; those that can't be answered
    /// are left out.
    pub fn parse_all(value: &str) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        let mut of_one: Option<(&str, String)> = None;
        for part in split_unquoted(value) {
            // A new scheme is a word and a space, before any `=`.
            let word_end = part.find([' ', '\t', '=']).unwrap_or(part.len());
            let (word, rest) = part.split_at(word_end);
            let rest = rest.trim_start();
            match &mut of_one {
                Some((_, parameters)) if rest.starts_with('=') => {
                    parameters.push(',');
                    parameters.push_str(part);
                }
                _ => {
                    found.extend(of_one.take().and_then(|(scheme, parameters)| Self::parse(scheme, &parameters)));
                    of_one = Some((word, rest.to_owned()));
                }
            }
        }
        found.extend(of_one.and_then(|(scheme, parameters)| Self::parse(scheme, &parameters)));
        found.sort_by_key(|challenge| std::cmp::Reverse(challenge.strength()));
        found
    }

    fn parse(scheme: &str, parameters: &str) -> Option<Self> {
        if scheme.eq_ignore_ascii_case("Basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let parameters = parse_parameters(parameters)?;
        let get = |name: &str| {
            parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        let algorithm_name = get("algorithm").filter(|name| !name.is_empty());
        let (algorithm, is_session) = match algorithm_name.unwrap_or("MD5").to_ascii_uppercase().as_str() {
            "MD5" => (Algorithm::Md5, false),
            "MD5-SESS" => (Algorithm::Md5, true),
            "SHA-256" => (Algorithm::Sha256, false),
            "SHA-256-SESS" => (Algorithm::Sha256, true),
            _ => return None,
        };
        let has_auth = match get("qop").filter(|qop| !qop.is_empty()) {
            None => false,
            // `auth-int` alone can't be answered.
            Some(offered) => offered.split(',').any(|qop| qop.trim().eq_ignore_ascii_case("auth")).then_some(true)?,
        };
        Some(Self::Digest(DigestChallenge {
            nonce: get("nonce")?.to_owned(),
            stale: get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
            realm: get("realm").unwrap_or_default().to_owned(),
            opaque: get("opaque").map(str::to_owned),
            algorithm,
            algorithm_name: algorithm_name.map(str::to_owned),
            is_session,
            has_auth,
        }))
    }

    /// The larger the better.
    pub fn strength(&self) -> u8 {
        match self {
            Self::Basic => 0,
            Self::Digest(DigestChallenge { algorithm: Algorithm::Md5, .. }) => 1,
            Self::Digest(DigestChallenge { algorithm: Algorithm::Sha256, .. }) => 2,
        }
    }
}

impl DigestChallenge {
    /// The `Authorization` header's value. `count`: which request with this nonce it is, from 1; `client_nonce` is
    /// random. User names and passwords may hold any character.
    pub fn answer(
        &self,
        (username, password): (&str, &str),
        method: &str,
        uri: &str,
        count: u32,
        client_nonce: &str,
    ) -> String {
        let mut secret = self.algorithm.hex(&[username, &self.realm, password]);
        if self.is_session {
            secret = self.algorithm.hex(&[&secret, &self.nonce, client_nonce]);
        }
        let action = self.algorithm.hex(&[method, uri]);
        let count = format!("{count:08x}");
        let response = if self.has_auth {
            self.algorithm.hex(&[&secret, &self.nonce, &count, client_nonce, "auth", &action])
        } else {
            self.algorithm.hex(&[&secret, &self.nonce, &action])
        };
        let (username, realm, nonce) = (escaped(username), escaped(&self.realm), escaped(&self.nonce));
        let mut answer = format!(
            "Digest username=\"{username}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\""
        );
        if let Some(name) = &self.algorithm_name {
            answer.push_str(&format!(", algorithm={name}"));
        }
        if let Some(opaque) = &self.opaque {
            answer.push_str(&format!(", opaque=\"{}\"", escaped(opaque)));
        }
        if self.has_auth {
            answer.push_str(&format!(", qop=auth, nc={count}"));
        }
        if self.has_auth || self.is_session {
            answer.push_str(&format!(", cnonce=\"{client_nonce}\""));
        }
        answer
    }
}

/// The nonce that a server wants from now on (`Authentication-Info`, RFC 7616 §3.5).
pub fn next_nonce(authentication_info: &str) -> Option<String> {
    let parameters = parse_parameters(authentication_info)?;
    parameters.into_iter().find(|(key, _)| key.eq_ignore_ascii_case("nextnonce")).map(|(_, value)| value)
}

/// The inside of a quoted string; line ends would end the header.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// What stands between commas outside of quotes.
fn split_unquoted(text: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character| {
        match character {
            _ if std::mem::take(&mut is_escaped) => {}
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            ',' => return !is_quoted,
            _ => {}
        }
        false
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use md5::{Digest as _, Md5};
    use proptest::prelude::*;

    use super::super::{Credentials, challenges};
    use super::*;

    #[test]
    fn challenges_are_read_from_one_header_or_many_the_strongest_first() {
        let one = r#"Basic realm="a, b", Digest realm="IP Camera(C12)", nonce="n1", stale="FALSE",Digest realm="c", qop="auth-int,auth", algorithm=SHA-256, nonce="n2", opaque="", NTLM"#;
        let challenges = Challenge::parse_all(one);
        assert_eq!(challenges.iter().map(Challenge::strength).collect::<Vec<_>>(), [2, 1, 0]);
        assert!(matches!(&challenges[0], Challenge::Digest(digest) if digest.nonce == "n2" && digest.has_auth));
        assert!(
            matches!(&challenges[1], Challenge::Digest(digest) if digest.realm == "IP Camera(C12)" && !digest.stale)
        );
        assert_eq!(Challenge::parse_all("Basic"), [Challenge::Basic]);
        for unanswerable in [
            "",
            ",,",
            "Bearer",
            "Digest",
            "Digest realm=\"a\"",
            "Digest nonce=\"a",
            "Digest nonce=a, algorithm=SHA-512-256",
            "Digest nonce=a, qop=auth-int",
        ] {
            assert_eq!(Challenge::parse_all(unanswerable), [], "{unanswerable}");
        }
    }

    #[test]
    fn an_answer_proves_the_password_to_the_server_side_whatever_characters_it_has() {
        for (username, password) in [("admin", "12345"), ("Bob \"the\" \\", "p:w#€ 1,=\\\""), ("管理员", "")] {
            for challenge in challenges("realm", "abc", false) {
                let challenges = Challenge::parse_all(&challenge);
                let Some(Challenge::Digest(digest)) = challenges.first() else { panic!("{challenge}") };
                let answer = digest.answer((username, password), "SETUP", "rtsp://h/live?a=b", 12, "cnonce");
                let credentials = Credentials::parse(answer.strip_prefix("Digest ").unwrap()).expect("readable");
                assert_eq!(credentials.username, username);
                assert!(credentials.verify("SETUP", password) && !credentials.verify("PLAY", password), "{answer}");
                assert!(!answer.contains("stale") && answer.contains("nc=0000000c"));
            }
        }
    }

    #[test]
    fn the_examples_of_rfc_7616_and_rfc_2617_are_answered() {
        let challenge = |text: &str| match Challenge::parse_all(text).first() {
            Some(Challenge::Digest(digest)) => digest.clone(),
            other => panic!("{other:?}"),
        };
        let mufasa = ("Mufasa", "Circle of Life");
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let answer = challenge(&format!(
                r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#
            ))
            .answer(mufasa, "GET", "/dir/index.html", 1, "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ");
            assert!(answer.contains(&format!("response=\"{response}\"")), "{answer}");
            assert!(answer.contains(&format!("algorithm={algorithm}, opaque=\"FQhe/")), "{answer}");
        }
        let old = challenge(r#"Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093""#);
        let answer = old.answer(("Mufasa", "Circle Of Life"), "GET", "/dir/index.html", 1, "unused");
        assert!(
            answer.contains("response=\"670fd8c2df070c60b045671b8b24ff02\"") && !answer.contains("unused"),
            "{answer}"
        );
    }

    #[test]
    fn session_algorithms_mix_the_nonces_into_the_secret() {
        let text = r#"Digest realm="r", nonce="n", algorithm=MD5-sess, qop="auth""#;
        let Some(Challenge::Digest(digest)) = Challenge::parse_all(text).into_iter().next() else { panic!() };
        let answer = digest.answer(("u", "p"), "PLAY", "/", 1, "c");
        // By hand: md5(md5(u:r:p):n:c), md5(PLAY:/), md5(A1:n:00000001:c:auth:A2).
        let hash = |text: &str| hex::encode(Md5::digest(text));
        let secret = hash(&format!("{}:n:c", hash("u:r:p")));
        let expected = hash(&format!("{secret}:n:00000001:c:auth:{}", hash("PLAY:/")));
        assert!(answer.contains(&expected) && answer.contains("algorithm=MD5-sess"), "{answer}");
        assert_eq!(next_nonce("qop=auth, nextnonce=\"n2\"").as_deref(), Some("n2"));
        assert_eq!(next_nonce("rspauth=\"x\""), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[a-z=\\\\\", ]{0,80}", nonce in ".{0,80}") {
            let challenges = Challenge::parse_all(&format!("Digest nonce={nonce}, {text}"));
            for challenge in challenges.iter().chain(&Challenge::parse_all(&text)) {
                if let Challenge::Digest(digest) = challenge {
                    let answer = digest.answer((&nonce, &text), "PLAY", "rtsp://h", 1, "c");
                    prop_assert!(!answer.contains(['\r', '\n']));
                }
            }
        }
    }
}
