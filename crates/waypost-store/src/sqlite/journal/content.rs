//! A record's payload: a request that is being accepted, as bytes, and back.
//!
//! Numbers are variable in length (seven bits a byte, the lowest first), texts and bytes follow their length, what may
//! be absent follows a byte that says whether it is there. The first byte is the form's number: a journal outlives the
//! program that wrote it, so that a form that was ever released stays readable.

use std::sync::Arc;

use waypost_domain::{HeaderBlock, Priority, UnixMillis};

use super::super::identity::Identity;
use super::record::{Draft, HEADER_BYTES, TooLong};
use crate::{Accept, Covers, NewContact, NewDelivery, NewEvent};

/// The form that is written.
const FORM: u8 = 1;
/// What an event without its texts takes up at most, roughly, and with them usually: so much room is made at first.
const EVENT_BYTES: usize = 384;
/// Items that room is made for before they are read.
const ROOM_MAX: usize = 1_024;

/// Writes a request down, with the identities of its events.
pub(in super::super) fn encode(accept: &Accept, identities: &[Identity]) -> Result<Draft, TooLong> {
    let Accept {
        source,
        scope,
        received_at,
        target,
        headers,
        body,
        body_sha256,
        proved_by,
        events,
        deliveries,
    } = accept;
    let headers = headers.as_bytes();
    let room = 256 + target.len() + headers.len() + body.len() + events.len() * EVENT_BYTES;
    let mut out = Writer(Vec::with_capacity(HEADER_BYTES + room));
    out.0.resize(HEADER_BYTES, 0);
    out.0.push(FORM);
    out.bytes(source.as_bytes());
    out.bytes(scope.as_bytes());
    out.signed(received_at.0);
    out.bytes(target.as_bytes());
    out.bytes(headers);
    out.bytes(body);
    out.0.extend_from_slice(body_sha256);
    out.maybe(proved_by.as_deref());
    out.number(events.len() as u64);
    for (event, identity) in events.iter().zip(identities) {
        out.event(event, *identity);
    }
    out.number(deliveries.len() as u64);
    for NewDelivery { destination, covers, priority } in deliveries {
        out.bytes(destination.as_bytes());
        out.number(match covers {
            Covers::Request => 0,
            Covers::Event(place) => u64::from(*place) + 1,
        });
        out.0.push(*priority as u8);
    }
    Draft::new(out.0)
}

/// A record without content, to find out whether the journal can be written.
pub(in super::super) fn nothing() -> Result<Draft, TooLong> {
    Draft::new(vec![0; HEADER_BYTES])
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn maybe(&mut self, text: Option<&str>) {
        self.0.push(u8::from(text.is_some()));
        if let Some(text) = text {
            self.bytes(text.as_bytes());
        }
    }

    fn event(&mut self, event: &NewEvent, identity: Identity) {
        let NewEvent {
            kind,
            class,
            field,
            r#type,
            phone_number_id,
            display_phone_number,
            waba_id,
            conversation,
            contact,
            wamid,
            key,
            occurred_at,
            once,
            quarantined,
        } = event;
        self.0.extend_from_slice(&identity.subject.to_le_bytes());
        self.0.extend_from_slice(&identity.key.to_le_bytes());
        for text in [kind, class] {
            self.bytes(text.as_bytes());
        }
        for text in [field, r#type, key] {
            self.bytes(text.as_bytes());
        }
        for text in [phone_number_id, display_phone_number, waba_id, conversation, wamid] {
            self.maybe(text.as_deref());
        }
        self.0.push(u8::from(occurred_at.is_some()));
        if let Some(at) = occurred_at {
            self.signed(at.0);
        }
        self.0.push(u8::from(*once) | u8::from(*quarantined) << 1);
        self.0.push(u8::from(contact.is_some()));
        if let Some(contact) = contact {
            self.contact(contact);
        }
    }

    fn contact(&mut self, contact: &NewContact) {
        let NewContact { number, parent, user, phone, former, name, username } = contact;
        self.bytes(number.as_bytes());
        for text in [parent, user, phone, name, username] {
            self.maybe(text.as_deref());
        }
        self.number(former.len() as u64);
        for former in former {
            self.bytes(former.as_bytes());
        }
    }
}

/// Reads back what [`encode`] wrote. `None` where the bytes are no such thing.
pub(in super::super) fn decode(payload: &[u8]) -> Option<(Accept, Vec<Identity>)> {
    let mut from = Reader(payload);
    if from.byte()? != FORM {
        return None;
    }
    let source = from.text()?.into();
    let scope = from.text()?.into();
    let received_at = UnixMillis(from.signed()?);
    let target = from.text()?.to_owned();
    let headers = HeaderBlock::from_bytes(from.bytes()?.to_vec());
    let body = bytes::Bytes::copy_from_slice(from.bytes()?);
    let body_sha256 = from.fixed()?;
    let proved_by = from.maybe()?.map(Arc::from);
    let count = from.count()?;
    let room = count.min(ROOM_MAX);
    let (mut events, mut identities) = (Vec::with_capacity(room), Vec::with_capacity(room));
    for _ in 0..count {
        let (event, identity) = from.event()?;
        events.push(event);
        identities.push(identity);
    }
    let count = from.count()?;
    let mut deliveries: Vec<NewDelivery> = Vec::with_capacity(count.min(ROOM_MAX));
    for _ in 0..count {
        let name = from.text()?;
        // Nearly always one destination, or the same few in turns.
        let known = deliveries.last().filter(|last| &*last.destination == name);
        let destination = known.map_or_else(|| Arc::from(name), |known| Arc::clone(&known.destination));
        let covers = match from.number()? {
            0 => Covers::Request,
            place => Covers::Event(u32::try_from(place - 1).ok()?),
        };
        if matches!(covers, Covers::Event(place) if place as usize >= events.len()) {
            return None;
        }
        deliveries.push(NewDelivery { destination, covers, priority: Priority::from_number(from.byte()?) });
    }
    let accept = Accept {
        source,
        scope,
        received_at,
        target,
        headers,
        body,
        body_sha256,
        proved_by,
        events,
        deliveries,
    };
    from.0.is_empty().then_some((accept, identities))
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
    }

    /// How many items follow, each of a byte at least.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.0.len()).then_some(count)
    }

    fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'b str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn maybe(&mut self) -> Option<Option<&'b str>> {
        if self.flag()? { self.text().map(Some) } else { Some(None) }
    }

    fn boxed(&mut self) -> Option<Box<str>> {
        self.text().map(Box::from)
    }

    fn maybe_boxed(&mut self) -> Option<Option<Box<str>>> {
        Some(self.maybe()?.map(Box::from))
    }

    fn event(&mut self) -> Option<(NewEvent, Identity)> {
        let identity =
            Identity { subject: i64::from_le_bytes(self.fixed()?), key: i64::from_le_bytes(self.fixed()?) };
        let kind = self.text()?.to_owned().into();
        let class = self.text()?.to_owned().into();
        let (field, r#type, key) = (self.boxed()?, self.boxed()?, self.boxed()?);
        let phone_number_id = self.maybe_boxed()?;
        let display_phone_number = self.maybe_boxed()?;
        let waba_id = self.maybe_boxed()?;
        let conversation = self.maybe_boxed()?;
        let wamid = self.maybe_boxed()?;
        let occurred_at = if self.flag()? { Some(UnixMillis(self.signed()?)) } else { None };
        let flags = self.byte().filter(|flags| *flags < 4)?;
        let contact = if self.flag()? { Some(self.contact()?) } else { None };
        let event = NewEvent {
            kind,
            class,
            field,
            r#type,
            phone_number_id,
            display_phone_number,
            waba_id,
            conversation,
            contact,
            wamid,
            key,
            occurred_at,
            once: flags & 1 == 1,
            quarantined: flags & 2 == 2,
        };
        Some((event, identity))
    }

    fn contact(&mut self) -> Option<NewContact> {
        let number = self.boxed()?;
        let (parent, user, phone) = (self.maybe_boxed()?, self.maybe_boxed()?, self.maybe_boxed()?);
        let (name, username) = (self.maybe_boxed()?, self.maybe_boxed()?);
        let former = (0..self.count()?).map(|_| self.boxed()).collect::<Option<_>>()?;
        Some(NewContact { number, parent, user, phone, former, name, username })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::Header;
    use super::*;

    fn text() -> impl Strategy<Value = Box<str>> {
        ".{0,12}".prop_map(String::into_boxed_str)
    }

    fn maybe() -> impl Strategy<Value = Option<Box<str>>> {
        prop::option::of(text())
    }

    fn contact() -> impl Strategy<Value = NewContact> {
        let former = prop::collection::vec(text(), 0..4);
        (text(), maybe(), maybe(), maybe(), former, maybe(), maybe()).prop_map(
            |(number, parent, user, phone, former, name, username)| NewContact {
                number,
                parent,
                user,
                phone,
                former,
                name,
                username,
            },
        )
    }

    fn event() -> impl Strategy<Value = (NewEvent, Identity)> {
        let texts = (text(), text(), text(), text(), text());
        let ids = (maybe(), maybe(), maybe(), maybe(), maybe());
        let rest = (prop::option::of(contact()), prop::option::of(any::<i64>()), any::<(bool, bool)>());
        (texts, ids, rest, any::<(i64, i64)>()).prop_map(|(texts, ids, rest, (subject, key))| {
            let event = NewEvent {
                kind: texts.0.into_string().into(),
                class: texts.1.into_string().into(),
                field: texts.2,
                r#type: texts.3,
                key: texts.4,
                phone_number_id: ids.0,
                display_phone_number: ids.1,
                waba_id: ids.2,
                conversation: ids.3,
                wamid: ids.4,
                contact: rest.0,
                occurred_at: rest.1.map(UnixMillis),
                once: rest.2.0,
                quarantined: rest.2.1,
            };
            (event, Identity { subject, key })
        })
    }

    fn accept() -> impl Strategy<Value = (Accept, Vec<Identity>)> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..200);
        let events = prop::collection::vec(event(), 0..4);
        let deliveries = prop::collection::vec((text(), any::<prop::sample::Index>(), any::<bool>()), 0..4);
        let head = (text(), text(), any::<i64>(), ".{0,40}", bytes(), bytes(), any::<[u8; 32]>(), maybe());
        (head, events, deliveries).prop_map(|(head, events, deliveries)| {
            let (events, identities): (Vec<_>, Vec<_>) = events.into_iter().unzip();
            let delivery = |(name, at, whole): (Box<str>, prop::sample::Index, bool)| NewDelivery {
                destination: name.into(),
                covers: match events.len() {
                    0 => Covers::Request,
                    _ if whole => Covers::Request,
                    count => Covers::Event(at.index(count) as u32),
                },
                priority: Priority::from_number(at.index(4) as u8),
            };
            let accept = Accept {
                source: head.0.into(),
                scope: head.1.into(),
                received_at: UnixMillis(head.2),
                target: head.3,
                headers: HeaderBlock::from_bytes(head.4),
                body: head.5.into(),
                body_sha256: head.6,
                proved_by: head.7.map(Into::into),
                deliveries: deliveries.into_iter().map(delivery).collect(),
                events,
            };
            (accept, identities)
        })
    }

    fn payload(accept: &Accept, identities: &[Identity]) -> Vec<u8> {
        let mut record = Vec::new();
        encode(accept, identities).unwrap().write(&mut record, 1, 1, 1);
        Header::read(&record, 1).unwrap().payload(&record).unwrap().to_vec()
    }

    proptest! {
        #[test]
        fn a_request_reads_back_as_it_was((accept, identities) in accept()) {
            let payload = payload(&accept, &identities);
            let (read, found) = decode(&payload).unwrap();
            prop_assert_eq!(found, identities);
            // Everything that is in it, as bytes: what differed would be written differently.
            prop_assert_eq!(&read.events, &accept.events);
            prop_assert_eq!(&read.body, &accept.body);
            prop_assert_eq!(self::payload(&read, &decode(&payload).unwrap().1), payload);
        }

        #[test]
        fn a_cut_request_is_none((accept, identities) in accept(), cut: prop::sample::Index) {
            let payload = payload(&accept, &identities);
            prop_assert!(decode(&payload[..cut.index(payload.len())]).is_none());
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = bytes;
            bytes.insert(0, FORM);
            decode(&bytes);
        }
    }

    #[test]
    fn the_form_on_disk_never_changes() {
        let event = NewEvent {
            kind: "message".into(),
            class: "message".into(),
            field: "messages".into(),
            r#type: "text".into(),
            phone_number_id: Some("2".into()),
            display_phone_number: None,
            waba_id: Some("3".into()),
            conversation: None,
            contact: Some(NewContact {
                number: "2".into(),
                phone: Some("49".into()),
                ..NewContact::default()
            }),
            wamid: Some("w".into()),
            key: "k".into(),
            occurred_at: Some(UnixMillis(-1)),
            once: true,
            quarantined: false,
        };
        let accept = Accept {
            source: "s".into(),
            scope: "c".into(),
            received_at: UnixMillis(300),
            target: "/t".to_owned(),
            headers: HeaderBlock::new(),
            body: b"{}"[..].into(),
            body_sha256: [9; 32],
            proved_by: None,
            events: vec![event],
            deliveries: vec![NewDelivery {
                destination: "d".into(),
                covers: Covers::Event(0),
                priority: Priority::Message,
            }],
        };
        let written = payload(&accept, &[Identity { subject: 5, key: -6 }]);
        let mut expected = b"\x01\x01s\x01c\xd8\x04\x02/t\x00\x02{}".to_vec();
        expected.extend_from_slice(&[9; 32]);
        expected.extend_from_slice(b"\x00\x01\x05\0\0\0\0\0\0\0\xfa\xff\xff\xff\xff\xff\xff\xff");
        expected.extend_from_slice(b"\x07message\x07message\x08messages\x04text\x01k");
        expected.extend_from_slice(b"\x01\x012\x00\x01\x013\x00\x01\x01w\x01\x01\x01");
        expected.extend_from_slice(b"\x01\x012\x00\x00\x01\x0249\x00\x00\x00");
        expected.extend_from_slice(b"\x01\x01d\x01\x01");
        assert_eq!(written, expected);
    }
}
