//! What a request is about.

/// `rtsp://host:port/{camera}[?ticket=…][/trackID=N]`, the query also in the middle or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// For `Content-Base`: as the client wrote it, without credentials, query and track, with a slash at the end.
    pub base: String,
    pub camera: String,
    pub ticket: Option<String>,
    pub track: Option<usize>,
}

impl Target {
    /// `None` when it is no such address. A bare path is one too, for the `uri` of Digest credentials.
    pub fn parse(uri: &str) -> Option<Self> {
        let (origin, rest) = match uri.split_once("://") {
            Some((scheme, rest)) => {
                if !["rtsp", "rtsps", "rtspu"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
                    return None;
                }
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                let (authority, path) = rest.split_at(end);
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                (format!("{}://{host}", scheme.to_ascii_lowercase()), path)
            }
            None if uri.starts_with('/') => (String::new(), uri),
            None => return None,
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (path, track_in_path) = split_track(path);
        let (query, track_in_query) = split_track(query);
        let ticket = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == "ticket")
            .map(|(_, value)| decode_percent(value));
        let raw = path.trim_matches('/');
        let camera = decode_percent(raw);
        if camera.len() > 256 || camera.chars().any(char::is_control) {
            return None;
        }
        let base = if raw.is_empty() { format!("{origin}/") } else { format!("{origin}/{raw}/") };
        Some(Self { base, camera, ticket, track: track_in_query.or(track_in_path) })
    }
}

/// Takes `/trackID=N` off the end.
fn split_track(text: &str) -> (&str, Option<usize>) {
    let trimmed = text.trim_end_matches('/');
    let (rest, segment) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
    match segment.split_once('=') {
        Some((key, number)) if key.eq_ignore_ascii_case("trackID") => match number.parse() {
            Ok(track) => (rest, Some(track)),
            Err(_) => (text, None),
        },
        _ => (text, None),
    }
}

fn decode_percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = (*byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match pair.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_query_may_stand_at_the_end_in_the_middle_or_nowhere() {
        for uri in [
            "rtsp://h:8554/cam%201/trackID=1?ticket=a.b",
            "rtsp://h:8554/cam%201?ticket=a.b/trackID=1",
            "rtsp://user:p%40ss@h:8554/cam%201/?x=y&ticket=a.b/trackid=1/",
            "RTSP://h:8554/cam%201/?ticket=a%2Eb/trackID=1",
        ] {
            let target = Target::parse(uri).expect(uri);
            assert_eq!(target.base, "rtsp://h:8554/cam%201/", "{uri}");
            assert_eq!(target.camera, "cam 1", "{uri}");
            assert_eq!(target.ticket.as_deref(), Some("a.b"), "{uri}");
            assert_eq!(target.track, Some(1), "{uri}");
        }
        let plain = Target::parse("rtsp://[::1]:8554/cam/trackID=0").expect("plain");
        assert_eq!((plain.base.as_str(), plain.ticket, plain.track), ("rtsp://[::1]:8554/cam/", None, Some(0)));
        assert_eq!(Target::parse("/cam").expect("path").camera, "cam");
        assert_eq!(Target::parse("rtsp://h").expect("host").camera, "");
        for uri in ["*", "http://h/cam", "cam", "rtsp://h/%0d%0aX"] {
            assert_eq!(Target::parse(uri), None, "{uri}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_target_or_none(text in ".{0,200}") {
            let _ = Target::parse(&text);
            let _ = Target::parse(&format!("rtsp://{text}"));
        }
    }
}
