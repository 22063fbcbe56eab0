//! The `Transport` header, read with patience.

const MAX_TRANSPORTS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lower {
    Tcp,
    Udp,
    /// A profile that we don't speak, such as RTP/SAVP or RAW.
    Other,
}

/// One offer of a `Transport` header (RFC 2326 §12.39).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    pub lower: Lower,
    pub multicast: bool,
    pub interleaved: Option<(u8, u8)>,
    pub client_port: Option<(u16, u16)>,
    pub server_port: Option<(u16, u16)>,
    /// Where the server says that it sends from.
    pub source: Option<String>,
    pub ssrc: Option<u32>,
    pub record: bool,
}

impl Transport {
    /// Every offer of the header in the client's order; what can't be read is left out.
    pub fn parse_all(value: &str) -> Vec<Self> {
        value.split(',').filter_map(Self::parse).take(MAX_TRANSPORTS).collect()
    }

    fn parse(offer: &str) -> Option<Self> {
        let mut parts = offer.split(';').map(str::trim);
        let profile = parts.next().filter(|profile| !profile.is_empty())?.to_ascii_uppercase();
        let mut transport = Self {
            lower: match profile.as_str() {
                "RTP/AVP/TCP" | "RTP/AVPF/TCP" => Lower::Tcp,
                "RTP/AVP" | "RTP/AVP/UDP" | "RTP/AVPF" | "RTP/AVPF/UDP" => Lower::Udp,
                _ => Lower::Other,
            },
            multicast: false,
            interleaved: None,
            client_port: None,
            server_port: None,
            source: None,
            ssrc: None,
            record: false,
        };
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "multicast" => transport.multicast = true,
                "interleaved" => transport.interleaved = parse_pair(value),
                "client_port" => transport.client_port = parse_pair(value),
                "server_port" => transport.server_port = parse_pair(value),
                "source" => transport.source = Some(value.to_owned()).filter(|source| !source.is_empty()),
                "ssrc" => transport.ssrc = u32::from_str_radix(value, 16).ok(),
                "mode" => transport.record = value.trim_matches('"').eq_ignore_ascii_case("record"),
                _ => {}
            }
        }
        // Some clients name the profile without /TCP and mean the channels that they list.
        if transport.interleaved.is_some() && transport.lower == Lower::Udp {
            transport.lower = Lower::Tcp;
        }
        Some(transport)
    }
}

/// `a-b`, or `a` alone for `a` and the next.
fn parse_pair<T: std::str::FromStr + Copy + Into<u32> + TryFrom<u32>>(value: &str) -> Option<(T, T)> {
    let (first, second) = match value.split_once('-') {
        Some((first, second)) => (first.trim().parse::<T>().ok()?, second.trim().parse::<T>().ok()?),
        None => {
            let first = value.trim().parse::<T>().ok()?;
            (first, T::try_from(first.into() + 1).ok()?)
        }
    };
    Some((first, second))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn transports_are_read_in_any_case_and_with_spaces() {
        let offers = Transport::parse_all(
            "rtp/avp;UNICAST; Client_Port=5000-5001, RTP/AVP/TCP; unicast ;INTERLEAVED=2 - 3;ssrc=DEADBEEF;mode=\"RECORD\",RTP/SAVP,,",
        );
        assert_eq!(offers.len(), 3);
        assert_eq!((offers[0].lower, offers[0].client_port), (Lower::Udp, Some((5000, 5001))));
        assert_eq!((offers[1].lower, offers[1].interleaved), (Lower::Tcp, Some((2, 3))));
        assert_eq!((offers[1].ssrc, offers[1].record), (Some(0xDEAD_BEEF), true));
        assert_eq!(offers[2].lower, Lower::Other);
        let answer =
            &Transport::parse_all("RTP/AVP/UDP;unicast;Source=10.0.0.7;client_port=5000-5001;server_port=8000")[0];
        assert_eq!((answer.source.as_deref(), answer.server_port), (Some("10.0.0.7"), Some((8000, 8001))));
        assert_eq!(Transport::parse_all("RTP/AVP;interleaved=4")[0].lower, Lower::Tcp);
        assert_eq!(Transport::parse_all("RTP/AVP/TCP;interleaved=255")[0].interleaved, None);
        assert!(Transport::parse_all("RTP/AVP;multicast")[0].multicast);
    }

    proptest! {
        #[test]
        fn any_text_is_a_list(text in ".{0,200}") {
            prop_assert!(Transport::parse_all(&text).len() <= MAX_TRANSPORTS);
        }
    }
}
