//! How the guest of a VM translates its addresses: by radix trees, whose process table KVM is told
//! of, or by a hashed page table, which KVM keeps.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arch_ppc64::cas::{Mmu, Support};
use arch_ppc64::hpt::Order;
use arch_ppc64::hypercall::token;

use crate::error::KvmError;
use crate::hpt::{self, NO_HASH, Prepared, Run};
use crate::memory::host_page_bytes;
use crate::sys;

/// KVM's mark of a radix process table, in the partition table entry (Power ISA 3.0B, Book III
/// §5.7.6.1, bit 0 "Host Radix").
const PROCESS_TABLE_RADIX: u64 = 1 << 63;

/// How much memory a guest uses in real mode at most: Linux no more than this of the first range of
/// RAM, wherever that ends.
const REAL_MODE_BYTES_MAX: u64 = 1 << 30;

/// What a VM can have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    pub(crate) mmu: Support<Mmu>,
    /// The size of the table that suits the machine.
    pub(crate) hpt_order: Order,
    /// RAM from address 0 on, in one piece.
    pub(crate) real_mode_bytes: u64,
}

impl Offer {
    /// As everywhere, unless something else is said.
    pub(crate) const RADIX: Self =
        Self { mmu: Support::Only(Mmu::Radix), hpt_order: Order::MIN, real_mode_bytes: 0 };

    /// The smallest table with which the guest can start.
    fn least_order(&self) -> Order {
        let bytes = self.real_mode_bytes.min(REAL_MODE_BYTES_MAX);
        hpt::least_for_real_mode(bytes, host_page_bytes())
    }
}

/// How addresses are translated.
#[derive(Debug)]
pub(crate) struct Translation {
    vm: Arc<OwnedFd>,
    offer: Offer,
    /// The sizes that a table may have when the guest agrees on one.
    orders: RangeInclusive<Order>,
    now: Mutex<Way>,
}

/// How they are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// With the table as KVM was told: it does not tell it again.
    Radix(Option<MmuConfig>),
    Hash(Order),
}

impl Way {
    /// Whether there is a table of this size. A boot loader may have agreed on another one than its
    /// kernel does; of neither there is an entry yet: who has made some negotiates no more.
    fn has_table(self, order: Order) -> bool {
        self == Self::Hash(order)
    }
}

/// A process table, in KVM's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MmuConfig {
    /// Guest Translation Shootdown Enable: the guest may invalidate translations by itself.
    pub(crate) gtse: bool,
    /// Address and size, as in the partition table.
    pub(crate) table: u64,
}

/// The translation as it is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "serde"), allow(dead_code))]
pub(crate) enum Snapshot {
    Radix(Option<MmuConfig>),
    Hash { order: Order, runs: Vec<Run> },
}

impl Translation {
    /// That of a new VM. A guest that has no choice but a hashed page table has one from its start
    /// on, a smaller one where the host has no room for that of the offer.
    pub(crate) fn new(vm: Arc<OwnedFd>, offer: Offer) -> Result<Self, KvmError> {
        let least = offer.least_order();
        let (orders, way) = match offer.mmu {
            Support::Only(Mmu::Hash) => {
                let order = allocate(&vm, offer.hpt_order.max(least), least)?;
                (order..=order, Way::Hash(order))
            }
            _ => (least..=Order::MAX, Way::Radix(None)),
        };
        Ok(Self { vm, offer, orders, now: Mutex::new(way) })
    }

    /// Has the kernel answer those of a table's hypercalls that it leaves alone by default.
    pub(crate) fn enable_calls(&self) -> Result<(), KvmError> {
        if !self.offer.mmu.includes(&Mmu::Hash) {
            return Ok(());
        }
        [token::CLEAR_MOD, token::CLEAR_REF].into_iter().try_for_each(|call| {
            let mut request = sys::EnableCap::new(sys::CAP_PPC_ENABLE_HCALL, call, 1);
            sys::with_struct(&self.vm, sys::ENABLE_CAP, &mut request)
                .map(drop)
                .map_err(KvmError::kernel("have a hypercall answered in the kernel"))
        })
    }

    pub(crate) fn offered(&self) -> Support<Mmu> {
        self.offer.mmu
    }

    pub(crate) fn orders(&self) -> RangeInclusive<Order> {
        self.orders.clone()
    }

    /// Takes up what a guest and its platform agreed on: while no CPU but the caller's runs.
    pub(crate) fn agree(&self, mmu: Mmu, order: Option<Order>) -> Result<(), KvmError> {
        if !self.offer.mmu.includes(&mmu) {
            return Err(KvmError::Refused(format!(
                "this virtual machine has no {mmu} translation"
            )));
        }
        let mut now = self.lock();
        match (mmu, *now) {
            (Mmu::Radix, Way::Radix(_)) => {}
            (Mmu::Radix, Way::Hash(_)) => {
                self.configure(&RADIX_AT_START).map_err(KvmError::kernel(
                    "have the guest's addresses translated by radix trees again",
                ))?;
                *now = Way::Radix(None);
            }
            (Mmu::Hash, way) => {
                let (least, most) = (*self.orders.start(), *self.orders.end());
                let order = order.unwrap_or(self.offer.hpt_order).max(least).min(most);
                if !way.has_table(order) {
                    *now = Way::Hash(allocate(&self.vm, order, order)?);
                }
            }
        }
        Ok(())
    }

    /// Whether the guest's addresses are translated by a hashed page table.
    pub(crate) fn is_hash(&self) -> bool {
        matches!(*self.lock(), Way::Hash(_))
    }

    /// Tells KVM where the process table is. Only of a guest with radix trees.
    pub(crate) fn set_process_table(&self, config: MmuConfig) -> io::Result<()> {
        let mut now = self.lock();
        if matches!(*now, Way::Hash(_)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.configure(&config)?;
        *now = Way::Radix(Some(config));
        Ok(())
    }

    fn configure(&self, config: &MmuConfig) -> io::Result<()> {
        let flags = sys::MMUV3_RADIX | if config.gtse { sys::MMUV3_GTSE } else { 0 };
        let mut told = sys::MmuV3Config { flags, process_table: config.table };
        sys::with_struct(&self.vm, sys::PPC_CONFIGURE_V3_MMU, &mut told).map(drop)
    }

    /// Has a table of another size prepared; `None` for a size that the guest may not have.
    pub(crate) fn prepare(&self, flags: u64, order: u32) -> Option<io::Result<Prepared>> {
        (order == 0 || self.may_be(order)).then(|| hpt::prepare(&self.vm, flags, order))
    }

    /// Puts it in place.
    pub(crate) fn commit(&self, flags: u64, order: u32) -> io::Result<()> {
        let mut now = self.lock();
        hpt::commit(&self.vm, flags, order)?;
        if let Some(order) = Order::new(order.into()) {
            *now = Way::Hash(order);
        }
        Ok(())
    }

    /// Whether a guest may have such a table.
    fn may_be(&self, order: u32) -> bool {
        order <= largest_order(self.offer.hpt_order.max(*self.orders.start()))
    }

    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(crate) fn snapshot(&self) -> Result<Snapshot, KvmError> {
        Ok(match *self.lock() {
            Way::Radix(table) => Snapshot::Radix(table),
            Way::Hash(order) => Snapshot::Hash {
                order,
                runs: hpt::read(&self.vm)
                    .map_err(KvmError::kernel("read the guest's hashed page table"))?,
            },
        })
    }

    /// Refuses what cannot be restored here.
    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(crate) fn check(&self, saved: &Snapshot) -> Result<(), KvmError> {
        let (mmu, refusal) = match saved {
            Snapshot::Radix(Some(MmuConfig { table, .. })) if table & PROCESS_TABLE_RADIX == 0 => {
                (Mmu::Radix, Some(format!("{table:#x} is no radix process table")))
            }
            Snapshot::Radix(_) => (Mmu::Radix, None),
            Snapshot::Hash { order, .. } if !self.may_be(order.get()) => {
                let own = self.offer.hpt_order;
                let refusal =
                    format!("a hashed page table of order {order}; the machine's is {own}");
                (Mmu::Hash, Some(refusal))
            }
            Snapshot::Hash { .. } => (Mmu::Hash, None),
        };
        let refusal = match self.offer.mmu.includes(&mmu) {
            true => refusal,
            false => Some(format!("a guest with {mmu} translation, which this machine has not")),
        };
        refusal.map_or(Ok(()), |refusal| Err(KvmError::State(refusal)))
    }

    /// Takes up what was saved, which has been [checked](Self::check), with RAM in place.
    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(crate) fn restore(&self, saved: &Snapshot) -> Result<(), KvmError> {
        match saved {
            Snapshot::Radix(table) => {
                self.agree(Mmu::Radix, None)?;
                match table {
                    Some(config) => self
                        .set_process_table(*config)
                        .map_err(KvmError::kernel("set the guest's process table")),
                    None => Ok(()),
                }
            }
            Snapshot::Hash { order, runs } => {
                let mut now = self.lock();
                *now = Way::Hash(allocate(&self.vm, *order, *order)?);
                hpt::write(&self.vm, runs).map_err(|error| {
                    KvmError::State(format!("the guest's hashed page table: {error}"))
                })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Way> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The largest table that a guest may have whose memory takes one of `own`: twice that. More of the
/// host's memory is not for its sake.
fn largest_order(own: Order) -> u32 {
    own.get() + 1
}

/// As KVM has it for a new VM.
const RADIX_AT_START: MmuConfig = MmuConfig { gtse: true, table: PROCESS_TABLE_RADIX };

/// Makes a table, the largest from `most` down to `least` that the host has room for.
fn allocate(vm: &OwnedFd, most: Order, least: Order) -> Result<Order, KvmError> {
    let mut order = most;
    loop {
        match hpt::allocate(vm, order) {
            Ok(()) => break,
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                return Err(KvmError::Unsuitable(NO_HASH.to_owned()));
            }
            Err(error) => return Err(KvmError::kernel("make a hashed page table")(error)),
        }
        let smaller = Order::new(u64::from(order.get()) - 1).filter(|&smaller| smaller >= least);
        order = smaller.ok_or_else(|| no_room(most, least))?;
    }
    if order < most {
        log::warn!(
            "this host has no {} for the guest's hashed page table, which is of {} instead: the guest \
             will be slower",
            size(most),
            size(order)
        );
    }
    Ok(order)
}

fn no_room(most: Order, least: Order) -> KvmError {
    let least = if least < most { format!(" (nor {})", size(least)) } else { String::new() };
    KvmError::Unsuitable(format!(
        "this host has no {}{least} in one piece for the guest's hashed page table: it takes that from \
         memory which it keeps for such tables (kvm_cma_resv_ratio), and less for guests of less memory",
        size(most)
    ))
}

fn size(order: Order) -> String {
    match order.bytes() {
        bytes if bytes < 1 << 20 => format!("{} KiB", bytes >> 10),
        bytes if bytes < 1 << 30 => format!("{} MiB", bytes >> 20),
        bytes => format!("{} GiB", bytes >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(order: u64) -> Order {
        Order::new(order).unwrap()
    }

    /// The tree says the size that was agreed on last.
    #[test]
    fn each_agreement_has_its_table() {
        assert!(Way::Hash(order(22)).has_table(order(22)));
        for way in [Way::Hash(order(23)), Way::Radix(None)] {
            assert!(!way.has_table(order(22)), "{way:?}");
        }
    }

    #[test]
    fn what_is_needed_is_said() {
        let said = no_room(order(27), order(19)).to_string();
        assert!(said.contains("no 128 MiB (nor 512 KiB) in one piece"), "{said}");
        assert!(no_room(order(30), order(30)).to_string().contains("no 1 GiB in one piece"));
    }

    #[test]
    fn tables_are_of_twice_the_size_at_most() {
        assert_eq!(largest_order(order(22)), 23);
        assert_eq!(largest_order(Order::MAX), 47);
    }

    #[test]
    fn real_mode_ends_at_a_gibibyte() {
        let least = |real_mode_bytes| Offer { real_mode_bytes, ..Offer::RADIX }.least_order();
        assert_eq!(least(1 << 40), least(1 << 30));
        assert!(least(1 << 30) > least(256 << 20));
    }
}
