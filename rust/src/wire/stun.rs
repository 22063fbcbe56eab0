//! STUN (RFC 8489): as much as it takes to see whom a datagram is for. The checks themselves are str0m's.

const HEADER: usize = 20;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const MAGIC_COOKIE: u32 = 0x2112_A442;
const USERNAME: u16 = 0x0006;
const USE_CANDIDATE: u16 = 0x0025;

/// Whether the datagram is STUN at all (RFC 7983 §7: its first byte is 0 to 3).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first < 4)
}

/// Whether the message grants a connectivity check: the peer has proved that it knows our ICE password.
pub fn is_binding_success(message: &[u8]) -> bool {
    message_type(message) == Some(BINDING_SUCCESS)
}

/// The ICE username fragment of the side that a connectivity check is sent to (RFC 8445 §7.2.2: the part of USERNAME
/// before the colon). None for anything that is not a well-formed Binding request.
pub fn local_ufrag(message: &[u8]) -> Option<&str> {
    let (ufrag, _) = std::str::from_utf8(attribute(message, USERNAME)?).ok()?.split_once(':')?;
    (!ufrag.is_empty()).then_some(ufrag)
}

/// Whether a connectivity check says that its way is the one to be taken (RFC 8445 §7.1.2).
pub fn nominates(message: &[u8]) -> bool {
    attribute(message, USE_CANDIDATE).is_some()
}

/// The value of a Binding request's attribute.
fn attribute(message: &[u8], wanted: u16) -> Option<&[u8]> {
    if message_type(message)? != BINDING_REQUEST {
        return None;
    }
    let length = usize::from(be16(message, 2)?);
    let mut attributes = message.get(HEADER..HEADER.checked_add(length)?)?;
    while let (Some(kind), Some(size)) = (be16(attributes, 0), be16(attributes, 2)) {
        let size = usize::from(size);
        let value = attributes.get(4..4 + size)?;
        if kind == wanted {
            return Some(value);
        }
        // Attributes are padded to four bytes (§14); the last one's padding may be missing.
        attributes = attributes.get(4 + size.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

fn message_type(message: &[u8]) -> Option<u16> {
    let cookie = message.get(4..8)?;
    (message.len() >= HEADER && cookie == MAGIC_COOKIE.to_be_bytes()).then(|| be16(message, 0))?
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Binding request with SOFTWARE in front of USERNAME, as Chromium and aiortc send them.
    fn request(username: &str) -> Vec<u8> {
        let mut attributes = vec![0x80, 0x22, 0, 5];
        attributes.extend(b"abcde\0\0\0");
        attributes.extend(USERNAME.to_be_bytes());
        attributes.extend((username.len() as u16).to_be_bytes());
        attributes.extend(username.as_bytes());
        attributes.resize(attributes.len().next_multiple_of(4), 0);
        let mut message = BINDING_REQUEST.to_be_bytes().to_vec();
        message.extend((attributes.len() as u16).to_be_bytes());
        message.extend(MAGIC_COOKIE.to_be_bytes());
        message.extend([7; 12]);
        message.extend(attributes);
        message
    }

    #[test]
    fn the_ufrag_is_what_stands_before_the_colon() {
        assert_eq!(local_ufrag(&request("ours:theirs")), Some("ours"));
        assert_eq!(local_ufrag(&request("no colon")), None);
        assert_eq!(local_ufrag(&request(":theirs")), None);
    }

    #[test]
    fn a_request_cut_anywhere_or_with_any_byte_changed_is_read_without_a_panic() {
        let whole = request("ours:theirs");
        for end in 0..whole.len() - 4 {
            assert_eq!(local_ufrag(&whole[..end]), None, "cut at {end}");
        }
        for place in 0..whole.len() {
            for value in 0..=255 {
                let mut changed = whole.clone();
                changed[place] = value;
                local_ufrag(&changed);
                is_binding_success(&changed);
            }
        }
    }

    #[test]
    fn a_check_may_name_its_way_as_the_one_to_be_taken() {
        let mut message = request("us:them");
        assert!(!nominates(&message));
        message.extend(USE_CANDIDATE.to_be_bytes());
        message.extend([0, 0]);
        let length = message.len() - HEADER;
        message[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        assert!(nominates(&message));
        assert_eq!(local_ufrag(&message), Some("us"));
    }

    #[test]
    fn other_datagrams_are_not_requests() {
        let mut answer = request("ours:theirs");
        answer[..2].copy_from_slice(&BINDING_SUCCESS.to_be_bytes());
        assert!(is_stun(&answer) && is_binding_success(&answer));
        assert_eq!(local_ufrag(&answer), None);
        assert!(!is_stun(&[22, 254, 253]) && !is_stun(&[]));
    }
}
