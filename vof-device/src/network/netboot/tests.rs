//! The whole way, against servers of all kinds.

use super::mock::{CLIENT, FILE, MAC, Manners, MockNetwork, SERVER};
use super::*;
use crate::network::NetworkError;

/// Short enough for tests, and longer than any of these servers takes.
const SILENCE: Duration = Duration::from_secs(4);

fn file(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at ^ at >> 8) as u8).collect()
}

fn limits() -> Limits {
    Limits::default().with_image_bytes(1 << 20).with_silence(SILENCE)
}

fn fetch_from(manners: Manners, request: &Request) -> Result<Image, NetbootError> {
    fetch(Arc::new(MockNetwork::new(manners)), request, &limits(), &mut go_on)
}

fn go_on(_: &Event) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn a_file_is_fetched() {
    for bytes in [0, 1, 511, 512, 513, 1428, 100_000] {
        let mut lines = Vec::new();
        let network = Arc::new(MockNetwork::new(Manners::good(file(bytes))));
        let image = fetch(network, &Request::default(), &limits(), &mut |event| {
            if let Some(line) = event.line() {
                lines.push(line);
            }
            ControlFlow::Continue(())
        });
        let Image { bytes: came, loaded } = image.unwrap();
        assert_eq!(came, file(bytes), "{bytes}");
        assert_eq!((loaded.client, loaded.server, &*loaded.file), (CLIENT, SERVER, FILE));
        let arguments = "10.0.2.2,boot/program,10.0.2.15,10.0.2.2,5,5,255.255.255.0";
        assert_eq!(loaded.arguments(), arguments);
        // A BOOTP reply to this station.
        assert_eq!((loaded.reply[0], &loaded.reply[28..34]), (2, &MAC[..]));
        let line = "address 10.0.2.15; loading boot/program from 10.0.2.2 (TFTP)".to_owned();
        assert!(lines.contains(&line), "{lines:?}");
    }
}

#[test]
fn servers_differ() {
    let good = Manners::good(file(20_000));
    for manners in [
        Manners { knows_options: false, ..good.clone() },
        Manners { stutters: true, ..good.clone() },
        Manners { intruder: true, ..good.clone() },
        // Times that make no sense: one before which the lease is over.
        Manners { more_options: vec![(58, vec![0xff; 4])], ..good.clone() },
    ] {
        let image = fetch_from(manners, &Request::default()).unwrap();
        assert_eq!(image.bytes, file(20_000));
    }
}

#[test]
fn what_is_lost_is_sent_again() {
    let manners = Manners { loses: 4, ..Manners::good(file(5000)) };
    assert_eq!(fetch_from(manners, &Request::default()).unwrap().bytes, file(5000));
}

#[test]
fn a_file_may_be_asked_for() {
    let unnamed = Manners { names_file: false, ..Manners::good(file(10)) };
    let error = fetch_from(unnamed.clone(), &Request::default()).unwrap_err();
    assert_eq!(error, NetbootError::NoFile { server: SERVER });
    let image = fetch_from(unnamed, &Request::default().with_file(FILE)).unwrap();
    assert_eq!((image.bytes, image.loaded.server), (file(10), SERVER));
    // Instead of the one that is named.
    let other = Request::default().with_file("other");
    let error = fetch_from(Manners::good(file(10)), &other).unwrap_err();
    let told = "10.0.2.2 does not give other: error 1 of TFTP, \"no such file\"";
    assert_eq!(error.to_string(), told);
}

#[test]
fn servers_that_are_silent_are_named() {
    let nobody = Manners { gives_addresses: false, ..Manners::good(file(10)) };
    let error = fetch_from(nobody, &Request::default()).unwrap_err();
    assert!(matches!(error, NetbootError::NoAddress { tries: 3.., .. }), "{error}");
    let gone = Manners { silent_after: Some(3), ..Manners::good(file(100_000)) };
    let error = fetch_from(gone, &Request::default()).unwrap_err();
    let NetbootError::NoAnswer { server: SERVER, bytes: 1.., .. } = error else {
        panic!("{error}");
    };
    let nowhere = Request::default().with_server(Ipv4Addr::new(10, 0, 2, 99));
    let error = fetch_from(Manners::good(file(10)), &nowhere).unwrap_err();
    assert!(matches!(error, NetbootError::NoAnswer { bytes: 0, .. }), "{error}");
}

#[test]
fn a_file_that_never_ends_does() {
    let endless = Manners { endless: true, ..Manners::good(vec![]) };
    let network = Arc::new(MockNetwork::new(endless));
    let error = fetch(network.clone(), &Request::default(), &limits(), &mut go_on).unwrap_err();
    assert!(matches!(error, NetbootError::TooLarge { most: 0x10_0000, .. }), "{error}");
    assert_eq!(network.errors_told(), [3]);
    let large = Manners::good(file((1 << 20) + 1));
    let error = fetch_from(large, &Request::default()).unwrap_err();
    assert!(matches!(error, NetbootError::TooLarge { .. }), "{error}");
}

#[test]
fn who_wants_no_more_is_heard() {
    let endless = Manners { gives_addresses: false, ..Manners::good(vec![]) };
    let mut looks = 0;
    let network = Arc::new(MockNetwork::new(endless));
    let error = fetch(network, &Request::default(), &Limits::default(), &mut |_| {
        looks += 1;
        if looks < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!((error.unwrap_err(), looks), (NetbootError::Cancelled, 3));
}

#[test]
fn time_is_limited_whatever_comes() {
    let network = Arc::new(MockNetwork::new(Manners::good(file(10))));
    let limits = limits().with_total(Duration::ZERO);
    std::thread::sleep(Duration::from_millis(1));
    let error = fetch(network, &Request::default(), &limits, &mut go_on).unwrap_err();
    assert_eq!(error, NetbootError::TooLong(Duration::ZERO));
}

#[test]
fn without_a_network_there_is_nothing() {
    let network = Arc::new(MockNetwork::new(Manners::good(file(10))));
    for error in [NetworkError::Taken, NetworkError::Down] {
        network.set_error(Some(error));
        let told = fetch(network.clone(), &Request::default(), &limits(), &mut go_on).unwrap_err();
        assert_eq!(told, NetbootError::Network(error));
    }
}

/// Frames of all kinds, at each step: nothing is harmed, and the file still comes.
#[test]
fn hostile_frames_do_no_harm() {
    let network = Arc::new(MockNetwork::new(Manners::good(file(30_000))));
    let mut random = 1_u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize
    };
    let image = fetch(network.clone(), &Request::default(), &limits(), &mut |_| {
        for _ in 0..20 {
            let mut frame: Vec<u8> = (0..next() % 1515).map(|_| next() as u8).collect();
            // What looks like something for the station.
            let kinds: [&[u8]; 4] = [
                &[0x08, 0x00, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17],
                &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0],
                &[0x86, 0xdd, 0x60],
                &[0x08, 0x00, 0x4f, 0, 0xff, 0xff, 0, 0, 0x20, 0, 64, 1],
            ];
            let front = [&MAC[..], &[2; 6], kinds[next() % kinds.len()]].concat();
            let bytes = front.len().min(frame.len());
            frame[..bytes].copy_from_slice(&front[..bytes]);
            network.push(frame);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(image.unwrap().bytes, file(30_000));
}
