//! SRTP and SRTCP (RFC 3711, RFC 7714): packets sealed in place, reports opened in place; keys as DTLS-SRTP gives them
//! (RFC 5764 §4.2).
//!
//! Who seals sees to it that no index is used twice for different octets: with GCM a second use would give the key away.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use smallvec::SmallVec;

use super::rtp::HEADER_LEN;

/// A master or session salt, as long as AES-CM wants it; that of GCM is shorter and ends in zeros.
const SALT_LEN: usize = 14;
const GCM_SALT_LEN: usize = 12;
const GCM_TAG_LEN: usize = 16;
const SHA1_KEY_LEN: usize = 20;
const SHA1_TAG_LEN: usize = 10;
/// First word and SSRC, which SRTCP leaves in clear.
const RTCP_HEADER_LEN: usize = 8;
/// The encryption flag and the 31-bit index.
const RTCP_INDEX_LEN: usize = 4;
const ENCRYPTED: u32 = 1 << 31;
/// Peers report under one source each, some under one per track; the reports of more are refused.
const MAX_REPORTERS: usize = 8;

// Labels of key derivation (RFC 3711 §4.3.1, §4.3.2).
const RTP_LABELS: [u8; 3] = [0, 1, 2];
const RTCP_LABELS: [u8; 3] = [3, 4, 5];

/// How packets are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// SRTP_AES128_CM_HMAC_SHA1_80 (RFC 5764 §4.1.2).
    Aes128CmSha1_80,
    /// SRTP_AEAD_AES_128_GCM (RFC 7714 §14.2).
    AeadAes128Gcm,
    /// SRTP_AEAD_AES_256_GCM.
    AeadAes256Gcm,
}

impl Profile {
    const fn key_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    const fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => SALT_LEN,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => GCM_SALT_LEN,
        }
    }

    /// Octets that a packet grows by when it is sealed.
    pub const fn tag_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => SHA1_TAG_LEN,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => GCM_TAG_LEN,
        }
    }
}

/// A key that could not be used, or a packet that is not what it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What both directions of one DTLS association need.
pub struct Contexts {
    pub rtp: RtpSealer,
    pub reports: RtcpSealer,
    pub feedback: RtcpOpener,
}

impl Contexts {
    /// From the exported keying material: the client's key, the server's, the client's salt, the server's (RFC 5764
    /// §4.2). `is_client`: we have been the client of the handshake.
    pub fn new(profile: Profile, material: &[u8], is_client: bool) -> Result<Self, Refused> {
        let (key, salt) = (profile.key_len(), profile.salt_len());
        if material.len() != 2 * (key + salt) {
            return Err(Refused);
        }
        let (keys, salts) = material.split_at(2 * key);
        let client = (keys.get(..key).ok_or(Refused)?, salts.get(..salt).ok_or(Refused)?);
        let server = (keys.get(key..).ok_or(Refused)?, salts.get(salt..).ok_or(Refused)?);
        let (ours, theirs) = if is_client { (client, server) } else { (server, client) };
        let derive = |(key, salt), labels| SessionKeys::derive(profile, key, salt, labels)?.transform();
        Ok(Self {
            rtp: RtpSealer { transform: derive(ours, RTP_LABELS)? },
            reports: RtcpSealer { transform: derive(ours, RTCP_LABELS)?, next_index: 0 },
            feedback: RtcpOpener { transform: derive(theirs, RTCP_LABELS)?, seen: SmallVec::new() },
        })
    }
}

/// What is derived from a master key for one direction of RTP or RTCP (RFC 3711 §4.3).
struct SessionKeys {
    profile: Profile,
    cipher: SmallVec<[u8; 32]>,
    authentication: [u8; SHA1_KEY_LEN],
    salt: [u8; SALT_LEN],
}

impl SessionKeys {
    fn derive(profile: Profile, master: &[u8], master_salt: &[u8], labels: [u8; 3]) -> Result<Self, Refused> {
        let generator = counter_mode(master)?;
        let fill = |label: u8, out: &mut [u8]| {
            let mut iv = [0; 16];
            iv.iter_mut().zip(master_salt).for_each(|(to, from)| *to = *from);
            iv[7] ^= label;
            encrypt_ctr(&generator, iv, out)
        };
        let [cipher_label, authentication_label, salt_label] = labels;
        let mut keys = Self {
            profile,
            cipher: SmallVec::from_elem(0, profile.key_len()),
            authentication: [0; SHA1_KEY_LEN],
            salt: [0; SALT_LEN],
        };
        fill(cipher_label, &mut keys.cipher)?;
        fill(authentication_label, &mut keys.authentication)?;
        fill(salt_label, keys.salt.get_mut(..profile.salt_len()).ok_or(Refused)?)?;
        Ok(keys)
    }

    fn transform(&self) -> Result<Transform, Refused> {
        let cipher = match self.profile {
            Profile::Aes128CmSha1_80 => Cipher::Counter(Box::new(Counter {
                key: counter_mode(&self.cipher)?,
                authentication: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.authentication),
            })),
            Profile::AeadAes128Gcm => Cipher::Gcm(gcm(&AES_128_GCM, &self.cipher)?),
            Profile::AeadAes256Gcm => Cipher::Gcm(gcm(&AES_256_GCM, &self.cipher)?),
        };
        Ok(Transform { profile: self.profile, cipher, salt: self.salt })
    }
}

fn counter_mode(key: &[u8]) -> Result<EncryptingKey, Refused> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    UnboundCipherKey::new(algorithm, key).and_then(EncryptingKey::ctr).map_err(|_| Refused)
}

fn gcm(algorithm: &'static aws_lc_rs::aead::Algorithm, key: &[u8]) -> Result<LessSafeKey, Refused> {
    UnboundKey::new(algorithm, key).map(LessSafeKey::new).map_err(|_| Refused)
}

fn encrypt_ctr(key: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) -> Result<(), Refused> {
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    key.less_safe_encrypt(data, context).map(|_| ()).map_err(|_| Refused)
}

/// Key objects, made once: setting them up for each packet would cost more than the packet.
enum Cipher {
    Counter(Box<Counter>),
    Gcm(LessSafeKey),
}

struct Counter {
    key: EncryptingKey,
    authentication: hmac::Key,
}

struct Transform {
    profile: Profile,
    cipher: Cipher,
    salt: [u8; SALT_LEN],
}

impl Transform {
    /// RFC 3711 §4.1.1: the SSRC 64 bits from the right, the index 16.
    fn counter_iv(&self, ssrc: u32, index: u64) -> [u8; 16] {
        let value = u128::from(ssrc) << 64 ^ u128::from(index) << 16;
        let mut iv = value.to_be_bytes();
        iv.iter_mut().zip(self.salt).for_each(|(to, from)| *to ^= from);
        iv
    }

    /// RFC 7714 §8.1 and §9.1: SSRC and 48-bit index behind two zero octets. An SRTCP index has 31 bits.
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let value = (u128::from(ssrc) << 48 ^ u128::from(index)) << 32;
        let mut nonce = [0; NONCE_LEN];
        for ((to, from), salt) in nonce.iter_mut().zip(value.to_be_bytes()).zip(self.salt) {
            *to = from ^ salt;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Seals RTP packets of all our sources.
pub struct RtpSealer {
    transform: Transform,
}

impl RtpSealer {
    /// Octets that a packet grows by.
    pub fn tag_len(&self) -> usize {
        self.transform.profile.tag_len()
    }

    /// Seals the packet that begins at `start` of `buffer` and ends with it; `header_len` of its octets stay in clear.
    /// `index` is its sequence number with the rollover counter above the low 16 bits.
    pub fn seal(
        &self,
        buffer: &mut Vec<u8>,
        start: usize,
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), Refused> {
        let packet = buffer.get_mut(start..).filter(|packet| packet.len() >= header_len).ok_or(Refused)?;
        let (header, payload) = packet.split_at_mut(header_len);
        debug_assert!(header.len() >= HEADER_LEN);
        match &self.transform.cipher {
            Cipher::Counter(counter) => {
                let Counter { key, authentication } = &**counter;
                encrypt_ctr(key, self.transform.counter_iv(ssrc, index), payload)?;
                let mut tag = hmac::Context::with_key(authentication);
                tag.update(packet);
                tag.update(&((index >> 16) as u32).to_be_bytes());
                let tag = tag.sign();
                buffer.extend_from_slice(tag.as_ref().get(..SHA1_TAG_LEN).ok_or(Refused)?);
            }
            Cipher::Gcm(key) => {
                let nonce = self.transform.nonce(ssrc, index);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload).map_err(|_| Refused)?;
                buffer.extend_from_slice(tag.as_ref());
            }
        }
        Ok(())
    }
}

/// Seals compound RTCP packets.
pub struct RtcpSealer {
    transform: Transform,
    /// 31 bits; one for all sources.
    next_index: u32,
}

impl RtcpSealer {
    /// Seals a compound packet. Refused when the indexes are used up, after some decades.
    pub fn seal(&mut self, packet: &mut Vec<u8>) -> Result<(), Refused> {
        let index = self.next_index;
        if index >= ENCRYPTED {
            return Err(Refused);
        }
        self.next_index += 1;
        let ssrc = ssrc_of(packet).ok_or(Refused)?;
        let word = (ENCRYPTED | index).to_be_bytes();
        let (header, payload) = packet.split_at_mut_checked(RTCP_HEADER_LEN).ok_or(Refused)?;
        match &self.transform.cipher {
            Cipher::Counter(counter) => {
                let Counter { key, authentication } = &**counter;
                encrypt_ctr(key, self.transform.counter_iv(ssrc, index.into()), payload)?;
                packet.extend_from_slice(&word);
                let tag = hmac::sign(authentication, packet);
                packet.extend_from_slice(tag.as_ref().get(..SHA1_TAG_LEN).ok_or(Refused)?);
            }
            Cipher::Gcm(key) => {
                let aad = Aad::from(associated(header, word));
                let nonce = self.transform.nonce(ssrc, index.into());
                let tag = key.seal_in_place_separate_tag(nonce, aad, payload).map_err(|_| Refused)?;
                packet.extend_from_slice(tag.as_ref());
                packet.extend_from_slice(&word);
            }
        }
        Ok(())
    }
}

/// Opens what the peer reports; each packet once (RFC 3711 §3.3.2).
pub struct RtcpOpener {
    transform: Transform,
    seen: SmallVec<[Window; 1]>,
}

/// The newest index of one reporter and which of the 64 up to it have been seen.
struct Window {
    ssrc: u32,
    newest: u32,
    seen: u64,
}

impl Window {
    fn is_new(&self, index: u32) -> bool {
        match self.newest.checked_sub(index) {
            None => true,
            Some(age) => age < u64::BITS && self.seen >> age & 1 == 0,
        }
    }

    fn note(&mut self, index: u32) {
        match index.checked_sub(self.newest) {
            Some(step) if step > 0 => {
                self.seen = self.seen.checked_shl(step).unwrap_or_default() | 1;
                self.newest = index;
            }
            _ => self.seen |= 1u64.checked_shl(self.newest.wrapping_sub(index)).unwrap_or_default(),
        }
    }
}

impl RtcpOpener {
    /// Opens a packet in place and gives the compound packet in it. Refused: forged, damaged, seen before, not encrypted.
    pub fn open<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a [u8], Refused> {
        let ssrc = ssrc_of(packet).ok_or(Refused)?;
        let tag_len = self.transform.profile.tag_len();
        let sealed = packet.len().checked_sub(RTCP_INDEX_LEN + tag_len).ok_or(Refused)?;
        if sealed < RTCP_HEADER_LEN {
            return Err(Refused);
        }
        let word_at = match self.transform.cipher {
            Cipher::Counter(_) => sealed,
            Cipher::Gcm(_) => sealed + tag_len,
        };
        let word = *packet.get(word_at..).and_then(|rest| rest.first_chunk::<RTCP_INDEX_LEN>()).ok_or(Refused)?;
        let flagged = u32::from_be_bytes(word);
        let index = flagged & !ENCRYPTED;
        let known = self.seen.iter().position(|window| window.ssrc == ssrc);
        let is_new = known.and_then(|place| self.seen.get(place)).is_none_or(|window| window.is_new(index));
        if flagged & ENCRYPTED == 0 || !is_new || (known.is_none() && self.seen.len() == MAX_REPORTERS) {
            return Err(Refused);
        }
        match &self.transform.cipher {
            Cipher::Counter(counter) => {
                let Counter { key, authentication } = &**counter;
                let (signed, tag) = packet.split_at_mut_checked(sealed + RTCP_INDEX_LEN).ok_or(Refused)?;
                let wanted = hmac::sign(authentication, signed);
                verify_slices_are_equal(wanted.as_ref().get(..SHA1_TAG_LEN).ok_or(Refused)?, tag)
                    .map_err(|_| Refused)?;
                let payload = signed.get_mut(RTCP_HEADER_LEN..sealed).ok_or(Refused)?;
                encrypt_ctr(key, self.transform.counter_iv(ssrc, index.into()), payload)?;
            }
            Cipher::Gcm(key) => {
                let (header, rest) = packet.split_at_mut_checked(RTCP_HEADER_LEN).ok_or(Refused)?;
                let payload = rest.get_mut(..sealed + tag_len - RTCP_HEADER_LEN).ok_or(Refused)?;
                let aad = Aad::from(associated(header, word));
                key.open_in_place(self.transform.nonce(ssrc, index.into()), aad, payload).map_err(|_| Refused)?;
            }
        }
        match known.and_then(|place| self.seen.get_mut(place)) {
            Some(window) => window.note(index),
            None => self.seen.push(Window { ssrc, newest: index, seen: 1 }),
        }
        packet.get(..sealed).ok_or(Refused)
    }
}

/// What SRTCP authenticates beside the sealed octets (RFC 7714 §9.2).
fn associated(header: &[u8], word: [u8; RTCP_INDEX_LEN]) -> [u8; RTCP_HEADER_LEN + RTCP_INDEX_LEN] {
    let mut data = [0; RTCP_HEADER_LEN + RTCP_INDEX_LEN];
    data.iter_mut().zip(header.iter().chain(&word)).for_each(|(to, from)| *to = *from);
    data
}

fn ssrc_of(packet: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*packet.get(4..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROFILES: [Profile; 3] = [Profile::Aes128CmSha1_80, Profile::AeadAes128Gcm, Profile::AeadAes256Gcm];

    fn bytes(hex: &str) -> Vec<u8> {
        hex::decode(hex.replace([' ', '\n'], "")).unwrap()
    }

    fn material(profile: Profile) -> Vec<u8> {
        (0..2 * (profile.key_len() + profile.salt_len())).map(|place| place as u8).collect()
    }

    /// The contexts of both ends of one handshake.
    fn ends(profile: Profile) -> (Contexts, Contexts) {
        let material = material(profile);
        (Contexts::new(profile, &material, true).unwrap(), Contexts::new(profile, &material, false).unwrap())
    }

    /// RFC 7714 §16 and §17: session keys and packets.
    fn rfc_7714(profile: Profile) -> Transform {
        let mut salt = [0; SALT_LEN];
        salt[..12].copy_from_slice(&bytes("51756964 2070726f 2071756f"));
        let cipher = (0..profile.key_len() as u8).collect();
        SessionKeys { profile, cipher, authentication: [0; SHA1_KEY_LEN], salt }.transform().unwrap()
    }

    #[test]
    fn keys_are_derived_as_in_rfc_3711_b_3() {
        let master = bytes("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = bytes("0EC675AD498AFEEBB6960B3AABE6");
        let keys = SessionKeys::derive(Profile::Aes128CmSha1_80, &master, &salt, RTP_LABELS).unwrap();
        assert_eq!(keys.cipher[..], bytes("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(keys.salt[..], bytes("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(keys.authentication[..], bytes("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }

    #[test]
    fn the_keystream_is_that_of_rfc_3711_b_2() {
        let transform = Transform {
            profile: Profile::Aes128CmSha1_80,
            cipher: Cipher::Gcm(gcm(&AES_128_GCM, &[0; 16]).unwrap()),
            salt: bytes("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap(),
        };
        let key = counter_mode(&bytes("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
        let mut stream = [0; 32];
        encrypt_ctr(&key, transform.counter_iv(0, 0), &mut stream).unwrap();
        assert_eq!(stream[..], bytes("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB"));
    }

    #[test]
    fn packets_are_sealed_as_in_rfc_7714_16() {
        let header = "8040f17b 8041f8d3 5501a0b2";
        let plain = "47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573";
        for (profile, sealed) in [
            (
                Profile::AeadAes128Gcm,
                "f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 \
                 6a9152cf 765ee439 0cce",
            ),
            (
                Profile::AeadAes256Gcm,
                "32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff \
                 d6b0f9bb 7878d7a7 6c13",
            ),
        ] {
            let mut packet = bytes(&format!("ffff{header}{plain}"));
            RtpSealer { transform: rfc_7714(profile) }.seal(&mut packet, 2, 12, 0x5501_a0b2, 0xf17b).unwrap();
            assert_eq!(packet, bytes(&format!("ffff{header}{sealed}")), "{profile:?}");
        }
    }

    #[test]
    fn reports_are_sealed_and_opened_as_in_rfc_7714_17() {
        let plain = bytes(
            "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef \
             deadbeef deadbeef",
        );
        let sealed = bytes(
            "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 \
             86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
        );
        let mut packet = plain.clone();
        let transform = || rfc_7714(Profile::AeadAes128Gcm);
        RtcpSealer { transform: transform(), next_index: 0x5d4 }.seal(&mut packet).unwrap();
        assert_eq!(packet, sealed);
        let mut opener = RtcpOpener { transform: transform(), seen: SmallVec::new() };
        assert_eq!(opener.open(&mut packet).unwrap(), plain);
    }

    #[test]
    fn a_report_is_taken_once_and_in_any_order() {
        for profile in PROFILES {
            let (mut client, mut server) = ends(profile);
            let sealed: Vec<Vec<u8>> = (0..70u8)
                .map(|number| {
                    let mut packet = vec![0x80, 201, 0, 2, 1, 2, 3, 4, number, 5, 6, 7];
                    client.reports.seal(&mut packet).unwrap();
                    packet
                })
                .collect();
            let mut open = |number: usize| {
                let mut packet = sealed[number].clone();
                server.feedback.open(&mut packet).map(|report| report[8])
            };
            assert_eq!([open(2), open(0), open(1)], [Ok(2), Ok(0), Ok(1)], "{profile:?}");
            assert_eq!([open(2), open(0), open(1)], [Err(Refused); 3]);
            assert_eq!((open(69), open(5), open(6)), (Ok(69), Err(Refused), Ok(6)), "the window holds 64");
            assert_eq!(open(6), Err(Refused));
        }
    }

    #[test]
    fn reports_of_many_sources_are_refused_and_those_of_the_first_go_on() {
        let (mut client, mut server) = ends(Profile::AeadAes128Gcm);
        let mut report = |ssrc: u8| {
            let mut packet = vec![0x80, 201, 0, 1, 0, 0, 0, ssrc];
            client.reports.seal(&mut packet).unwrap();
            server.feedback.open(&mut packet).is_ok()
        };
        let taken = (0..20).filter(|ssrc| report(*ssrc)).count();
        assert_eq!(taken, MAX_REPORTERS);
        assert!(report(0));
    }

    #[test]
    fn keys_of_the_wrong_length_are_refused() {
        assert!(Contexts::new(Profile::AeadAes128Gcm, &[0; 55], false).is_err());
        assert!(Contexts::new(Profile::Aes128CmSha1_80, &[], false).is_err());
    }

    proptest! {
        #[test]
        fn whatever_comes_is_refused_without_panic(
            data in proptest::collection::vec(any::<u8>(), 0..96),
            profile in proptest::sample::select(PROFILES.to_vec()),
        ) {
            let (_, mut server) = ends(profile);
            prop_assert!(server.feedback.open(&mut data.clone()).is_err());
        }

        #[test]
        fn a_bit_turned_over_is_noticed(
            place in 0usize..64, bit in 0u8..8, profile in proptest::sample::select(PROFILES.to_vec()),
        ) {
            let (mut client, mut server) = ends(profile);
            let mut packet = vec![0x80, 201, 0, 6, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2];
            client.reports.seal(&mut packet).unwrap();
            let place = place % packet.len();
            packet[place] ^= 1 << bit;
            prop_assert!(server.feedback.open(&mut packet).is_err());
        }
    }
}
