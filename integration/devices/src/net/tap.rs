//! A network interface of the host (tap), which carries what the guest sends and receives.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use libc::{c_int, c_uint};
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6,
};

use super::backend::{Backend, Expected, FRAME_BYTES_MAX, HEADER_BYTES, Lost, Received, Sent};
use super::{OFFLOADS, bits};
use crate::iovec::{Gather, Scatter};

const TUN: &str = "/dev/net/tun";

/// The longest name of an interface, in bytes.
pub const INTERFACE_BYTES_MAX: usize = libc::IFNAMSIZ - 1;

/// What of a received frame is left to whom, by feature of the guest.
const RECEIVE_OFFLOADS: [(u32, c_uint); 4] = [
    (VIRTIO_NET_F_GUEST_CSUM, libc::TUN_F_CSUM),
    (VIRTIO_NET_F_GUEST_TSO4, libc::TUN_F_TSO4),
    (VIRTIO_NET_F_GUEST_TSO6, libc::TUN_F_TSO6),
    (VIRTIO_NET_F_GUEST_ECN, libc::TUN_F_TSO_ECN),
];

/// A frame of an Ethernet without special lengths, with a VLAN's tag.
const PLAIN_FRAME_BYTES: usize = 1518;

/// A tap interface.
///
/// Frames come from the kernel with the `virtio_net_hdr` that the guest gets, and checksums and
/// segments are whose the driver took them to be.
#[derive(Debug)]
pub struct Tap {
    name: String,
    file: Option<File>,
    offloads: u64,
    /// How much room is held for the next frame, in bytes without its header.
    room: usize,
}

/// An interface that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// It has no name of an interface.
    #[error(
        "{0:?} is no name of an interface: that has 1 to {INTERFACE_BYTES_MAX} bytes, no spaces and \
         no slashes"
    )]
    Name(String),
    /// The host has none of this name.
    #[error(
        "interface {name}: this host has none; `ip tuntap add {name} mode tap` makes one, and \
         `ip link set {name} up` has it carry frames"
    )]
    Missing {
        /// What it would be called.
        name: String,
    },
    /// The host has no tap interfaces that do.
    #[error("interface {name}: the host's tap interfaces have no headers for virtio")]
    Headers {
        /// The interface.
        name: String,
    },
    /// The host refuses.
    #[error("interface {name}: cannot {what}")]
    Host {
        /// The interface.
        name: String,
        /// What was tried.
        what: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

impl Tap {
    /// Attaches to the interface of this name. Where there is none, the host's kernel makes one, if
    /// it lets us; that is gone with us. Addresses, and whether it is up, are its owner's affair:
    /// frames for an interface that is down are lost.
    ///
    /// # Errors
    /// [`TapError`] names the interface and the reason.
    pub fn open(name: &str) -> Result<Self, TapError> {
        let is_possible = (1..=INTERFACE_BYTES_MAX).contains(&name.len())
            && !name.contains(|c: char| c == '/' || c == '\0' || c.is_whitespace());
        if !is_possible {
            return Err(TapError::Name(name.to_owned()));
        }
        let failed = |what| {
            let name = name.to_owned();
            move |source| TapError::Host { name, what, source }
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open(TUN).map_err(failed("open /dev/net/tun"))?;
        let known = features(&file).map_err(failed("ask what interfaces can do"))?;
        if known & libc::IFF_VNET_HDR as c_uint == 0 {
            return Err(TapError::Headers { name: name.to_owned() });
        }
        let name = attach(&file, name).map_err(failed("attach to it"))?;
        let header = c_int::try_from(HEADER_BYTES).unwrap_or_default();
        set(&file, libc::TUNSETVNETHDRSZ, header).map_err(failed("set the length of headers"))?;
        // On a host that is big-endian, they would be so, too.
        set(&file, libc::TUNSETVNETLE, 1).map_err(failed("set the order of bytes"))?;
        let all = RECEIVE_OFFLOADS.iter().fold(0, |all, (_, flag)| all | flag);
        // One that does none does neither: the kernel is the same.
        let offloads = if leave_to_guest(&file, all).is_ok() { OFFLOADS } else { 0 };
        leave_to_guest(&file, 0).map_err(failed("have checksums made"))?;
        Ok(Self { name, file: Some(file), offloads, room: PLAIN_FRAME_BYTES })
    }

    /// The same of an interface that is there already, so that a wrong name is no network of its own.
    ///
    /// # Errors
    /// [`TapError::Missing`] where there is none; else as [`open`](Self::open).
    pub fn open_existing(name: &str) -> Result<Self, TapError> {
        let tap = Self::open(name)?;
        let stays = is_persistent(tap.file.as_ref());
        let failed = |source| TapError::Host { name: name.to_owned(), what: "ask for it", source };
        // One that goes with its last user is there while it has one, and has one at most: ours.
        match stays.map_err(failed)? {
            true => Ok(tap),
            false => Err(TapError::Missing { name: name.to_owned() }),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn connected(&self) -> Result<&File, Lost> {
        self.file.as_ref().ok_or(Lost::Closed)
    }
}

impl Backend for Tap {
    fn offloads(&self) -> u64 {
        self.offloads
    }

    fn start(&mut self, features: u64) -> Result<(), Lost> {
        let left = RECEIVE_OFFLOADS.iter().filter(|(bit, _)| features & bits(&[*bit]) != 0);
        let flags = left.fold(0, |flags, (_, flag)| flags | flag);
        self.room = PLAIN_FRAME_BYTES;
        Ok(leave_to_guest(self.connected()?, flags)?)
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(File::as_fd)
    }

    fn expected(&mut self) -> Result<Option<Expected>, Lost> {
        Ok(Some(Expected::AtMost(HEADER_BYTES + self.room)))
    }

    fn receive(&mut self, to: &mut Scatter<'_>) -> Result<Received, Lost> {
        match to.read(self.connected()?) {
            Ok(bytes) => {
                self.room = room_behind(self.room, bytes.saturating_sub(HEADER_BYTES));
                Ok(Received::End(bytes))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    fn send(&mut self, mut frame: Gather<'_>) -> Result<Sent, Lost> {
        match frame.write(self.connected()?) {
            Ok(_) => Ok(Sent::Taken),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => Ok(Sent::Full),
                // The interface was taken away.
                Some(libc::EBADFD | libc::ENODEV) => Err(error.into()),
                // It is down, has no memory, or the header makes no sense.
                _ => Ok(Sent::LeftOut),
            },
        }
    }

    fn disconnect(&mut self) {
        self.file = None;
    }
}

/// How much room to hold behind a frame of so many bytes, for which there was `room`: as much as
/// frames have lately. To take many buffers for each acknowledgement, as there could be a segment of
/// 64 KiB, is what takes long; what of a frame finds no room is copied.
fn room_behind(room: usize, frame: usize) -> usize {
    let less = room - room.saturating_sub(frame) / 8;
    less.max(frame).clamp(PLAIN_FRAME_BYTES, FRAME_BYTES_MAX)
}

/// Flags of interfaces that the kernel knows.
fn features(tun: &File) -> io::Result<c_uint> {
    let mut flags: c_uint = 0;
    // SAFETY: the call writes one such number, which is borrowed for it.
    checked(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNGETFEATURES, &raw mut flags) })?;
    Ok(flags)
}

/// Makes `tun` the interface of this name, and gives the name that it has.
fn attach(tun: &File, name: &str) -> io::Result<String> {
    // SAFETY: zeroes are such a structure.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // There is a zero behind it.
    for (to, from) in request.ifr_name[..INTERFACE_BYTES_MAX].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the call reads and writes one such structure, which is borrowed for it.
    checked(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    // Characters have a sign on some hosts.
    let name = request.ifr_name.map(|character| character.to_ne_bytes()[0]);
    let name = CStr::from_bytes_until_nul(&name).map_err(io::Error::other)?;
    Ok(name.to_string_lossy().into_owned())
}

/// Whether the interface is there without us.
fn is_persistent(tun: Option<&File>) -> io::Result<bool> {
    let Some(tun) = tun else { return Ok(false) };
    // SAFETY: zeroes are such a structure.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // SAFETY: the call writes one such structure, which is borrowed for it.
    checked(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    // SAFETY: it was zeroes, or the kernel wrote flags there: numbers both.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(c_int::from(flags) & libc::IFF_PERSIST != 0)
}

/// Sets a number by its address.
fn set(tun: &File, request: libc::Ioctl, value: c_int) -> io::Result<()> {
    // SAFETY: the call reads one such number, which is borrowed for it.
    checked(unsafe { libc::ioctl(tun.as_raw_fd(), request, &raw const value) })
}

/// Has the kernel leave to the guest what these flags say, of the frames that it receives.
fn leave_to_guest(tun: &File, flags: c_uint) -> io::Result<()> {
    // SAFETY: the argument is a number.
    checked(unsafe {
        libc::ioctl(tun.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags))
    })
}

fn checked(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel's headers have them: on POWER, directions have other bits (`asm/ioctl.h`).
    #[test]
    fn numbers_are_the_hosts() {
        let is_power = cfg!(any(target_arch = "powerpc64", target_arch = "powerpc"));
        let (write, read) =
            if is_power { (0x8004_5400, 0x4004_5400) } else { (0x4004_5400, 0x8004_5400) };
        assert_eq!(libc::TUNSETIFF, write | 202);
        assert_eq!(libc::TUNGETFEATURES, read | 207);
        assert_eq!(libc::TUNSETOFFLOAD, write | 208);
        assert_eq!(libc::TUNGETIFF, read | 210);
        assert_eq!(libc::TUNSETVNETHDRSZ, write | 216);
        assert_eq!(libc::TUNSETVNETLE, write | 220);
    }

    #[test]
    fn room_follows_what_comes() {
        let mut room = PLAIN_FRAME_BYTES;
        for frame in [65550, 66, 65550, 100_000] {
            room = room_behind(room, frame);
            assert!(room >= 56_000, "{room}");
        }
        assert_eq!(room, FRAME_BYTES_MAX);
        for _ in 0..100 {
            room = room_behind(room, 66);
        }
        assert_eq!(room, PLAIN_FRAME_BYTES);
        assert_eq!(room_behind(room, 0), PLAIN_FRAME_BYTES);
    }

    #[test]
    fn what_is_no_name_is_told() {
        for name in ["", "a/b", "tap 0", "tap0\n", "a\0b", "sixteen-bytes-xx"] {
            let error = Tap::open(name).unwrap_err();
            assert!(matches!(error, TapError::Name(_)), "{error}");
        }
    }
}
