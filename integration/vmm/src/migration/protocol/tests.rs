use super::*;

const TOKEN: Token = Token(*b"0123456789abcdef");

fn all() -> Vec<Message> {
    let text = || "no room".to_owned();
    vec![
        Message::Hello { purpose: Purpose::Migrate, token: TOKEN },
        Message::Hello { purpose: Purpose::Ask, token: TOKEN },
        Message::Offer(b"{}".to_vec()),
        Message::Pages { at: 0x1_2345_6000, bytes: PAGES_BYTES_MAX },
        Message::Zeros { at: 0x1000, bytes: 1 << 40 },
        Message::RoundEnd { number: 7 },
        Message::State(vec![b' '; 200_000]),
        Message::Go,
        Message::Abandon(text()),
        Message::Known,
        Message::Welcome { seen: "unix:1:2".to_owned() },
        Message::Accepted,
        Message::RoundTaken { number: u32::MAX },
        Message::Ready,
        Message::Running,
        Message::NotRunning(text()),
        Message::Unknown,
    ]
}

fn written(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write(&mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_written_is_read() {
    let mut kinds = Vec::new();
    for message in all() {
        let bytes = written(&message);
        assert_eq!(Message::read(&mut &bytes[..]).unwrap(), message);
        kinds.push(message.encoded().0);
    }
    assert!(Kind::ALL.iter().all(|(kind, _)| kinds.contains(kind)));
    // One behind the other.
    let mut stream: Vec<u8> = all()
        .iter()
        .filter(|one| !matches!(one, Message::Pages { .. }))
        .flat_map(written)
        .collect();
    let mut rest = &stream[..];
    let mut count = 0;
    while !rest.is_empty() {
        Message::read(&mut rest).unwrap();
        count += 1;
    }
    assert_eq!(count, all().len() - 1);
    assert!(matches!(Message::read(&mut &stream[..0]), Err(WireError::Ended)));
    stream.truncate(3);
    assert!(matches!(Message::read(&mut &stream[..]), Err(WireError::Broken(_))));
}

/// Wherever a stream is cut, or a byte of it is another one, there is an answer.
#[test]
fn any_bytes_are_a_message_or_an_error() {
    for message in all() {
        let bytes = written(&message);
        let bytes = &bytes[..bytes.len().min(80)];
        for cut in 0..bytes.len() {
            if cut < bytes.len().min(HEADER_BYTES) {
                assert!(Message::read(&mut &bytes[..cut]).is_err());
            }
            let _ = Message::read(&mut &bytes[..cut]);
            for value in [0, 1, 0x7f, 0x80, 0xff, bytes[cut] ^ 1] {
                let mut other = bytes.to_vec();
                other[cut] = value;
                let _ = Message::read(&mut &other[..]);
            }
        }
    }
}

#[test]
fn limits_are_those_of_the_header() {
    for &(kind, limit) in Kind::ALL {
        let mut header = (kind as u16).to_le_bytes().to_vec();
        header.extend([0, 0]);
        header.extend((limit + 1).to_le_bytes());
        let error = Message::read(&mut &header[..]).unwrap_err();
        assert!(error.to_string().contains("longer"), "{kind:?}: {error}");
    }
    // A text that is too long is cut where it may be.
    let long = Message::NotRunning("ü".repeat(4096));
    let Message::NotRunning(text) = Message::read(&mut &written(&long)[..]).unwrap() else {
        panic!();
    };
    // A screen is not filled with it.
    assert!(text.starts_with("üü") && text.ends_with("üü") && text.len() < 4096, "{text}");
    let offer = Message::Offer(vec![0; OFFER_BYTES_MAX as usize + 1]);
    assert!(matches!(offer.write(&mut Vec::new()), Err(WireError::Nonsense(_))));
}

/// A peer that says that much follows has nothing made for it.
#[test]
fn room_is_made_for_what_comes() {
    let mut header = (Kind::State as u16).to_le_bytes().to_vec();
    header.extend([0, 0]);
    header.extend(STATE_BYTES_MAX.to_le_bytes());
    header.extend(vec![1; 100_000]);
    struct Counted<'a>(&'a [u8], usize);
    impl Read for Counted<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1.max(to.len());
            self.0.read(to)
        }
    }
    let mut counted = Counted(&header, 0);
    assert!(matches!(Message::read(&mut counted), Err(WireError::Broken(_))));
    assert!(counted.1 <= PIECE_BYTES);
}

#[test]
fn other_versions_and_other_programs_are_named() {
    let hello = written(&Message::Hello { purpose: Purpose::Migrate, token: TOKEN });
    let mut newer = hello.clone();
    newer[16] = 2;
    // Whatever else is new in it.
    newer.truncate(HEADER_BYTES + 12);
    newer[4..8].copy_from_slice(&12_u32.to_le_bytes());
    let error = Message::read(&mut &newer[..]).unwrap_err();
    assert!(matches!(error, WireError::Version { theirs: 2 }), "{error}");
    let mut other = hello;
    other[8] = b'q';
    assert!(matches!(Message::read(&mut &other[..]), Err(WireError::Foreign)));
    assert!(Message::read(&mut &b"GET / HTTP/1.1\r\n\r\n"[..]).is_err());
}

#[test]
fn reasons_are_plain_text() {
    let reason = Message::NotRunning("a\u{1b}[2Jb\nc\u{0}".to_owned());
    let Message::NotRunning(text) = Message::read(&mut &written(&reason)[..]).unwrap() else {
        panic!();
    };
    assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
}

#[test]
fn ram_is_as_long_as_its_message() {
    let pages = Message::Pages { at: 0, bytes: 4096 };
    let bytes = written(&pages);
    assert_eq!(bytes.len(), HEADER_BYTES + 16);
    let mut wrong = bytes;
    wrong[HEADER_BYTES + 8] = 1;
    assert!(Message::read(&mut &wrong[..]).is_err());
}
