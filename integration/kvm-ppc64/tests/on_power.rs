//! Guests of a few instructions on a POWER host. On another host, none of this runs.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};

use arch_ppc64::cas::{Decision, InterruptMode, Mmu, Negotiated, Platform, Support};
use arch_ppc64::config::{AddressTranslation, Boot, Cpus, Interrupts, MachineConfig, Memory};
use arch_ppc64::hpt::Order;
use arch_ppc64::hypercall::token as calls;
use arch_ppc64::layout::TIMEBASE_HZ;
use arch_ppc64::platform::{
    Device, InterruptController, InterruptKind, SaveState, Signal, SourceNumber,
};
use arch_ppc64::topology::CpuTopology;
use arch_ppc64::{CpuIndex, EntryRegisters, Hypercall, Machine, Status, VcpuExit};
use kvm_ppc64::{
    Kvm, KvmError, MemoryFlags, RegisterValue, Segment, Vcpu, VcpuState, Vm, VmOptions,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

const RAM_BYTES: u64 = 4 << 20;
const CODE: GuestAddress = GuestAddress(0x1000);
/// Where there is no memory.
const DEVICE: GuestAddress = GuestAddress(0x4000_0000);
/// A hypercall that nobody answers in the kernel.
const TOKEN: u32 = 0xf100;
const SOURCE: SourceNumber = SourceNumber(0x1000);
const LEVEL: SourceNumber = SourceNumber(0x1001);
const POWER9: u32 = 0x0f00_0005;

/// The instructions that the guests are made of (Power ISA 3.0B, Book I).
#[allow(dead_code)]
mod isa {
    pub(crate) const SC_1: u32 = 0x4400_0022;
    /// `bdnz` to itself.
    pub(crate) const BDNZ_SELF: u32 = 0x4200_0000;
    pub(crate) const B_SELF: u32 = 0x4800_0000;

    pub(crate) fn li(t: u32, value: u16) -> u32 {
        14 << 26 | t << 21 | u32::from(value)
    }
    pub(crate) fn addi(t: u32, a: u32, value: u16) -> u32 {
        14 << 26 | t << 21 | a << 16 | u32::from(value)
    }
    pub(crate) fn lis(t: u32, value: u16) -> u32 {
        15 << 26 | t << 21 | u32::from(value)
    }
    pub(crate) fn ori(a: u32, s: u32, value: u16) -> u32 {
        24 << 26 | s << 21 | a << 16 | u32::from(value)
    }
    pub(crate) fn oris(a: u32, s: u32, value: u16) -> u32 {
        25 << 26 | s << 21 | a << 16 | u32::from(value)
    }
    pub(crate) fn mr(a: u32, s: u32) -> u32 {
        31 << 26 | s << 21 | a << 16 | s << 11 | 444 << 1
    }
    pub(crate) fn stw(s: u32, a: u32, offset: u16) -> u32 {
        36 << 26 | s << 21 | a << 16 | u32::from(offset)
    }
    pub(crate) fn lwz(t: u32, a: u32, offset: u16) -> u32 {
        32 << 26 | t << 21 | a << 16 | u32::from(offset)
    }
    pub(crate) fn b(instructions: i32) -> u32 {
        18 << 26 | (instructions * 4) as u32 & 0x03ff_fffc
    }
    pub(crate) fn mfmsr(t: u32) -> u32 {
        31 << 26 | t << 21 | 83 << 1
    }
    pub(crate) fn mtmsrd(s: u32) -> u32 {
        31 << 26 | s << 21 | 178 << 1
    }
    pub(crate) fn mtctr(s: u32) -> u32 {
        31 << 26 | s << 21 | 9 << 16 | 467 << 1
    }
    pub(crate) fn slbmte(s: u32, b: u32) -> u32 {
        31 << 26 | s << 21 | b << 11 | 402 << 1
    }
    pub(crate) fn mfctr(t: u32) -> u32 {
        31 << 26 | t << 21 | 9 << 16 | 339 << 1
    }
    pub(crate) fn mfdec(t: u32) -> u32 {
        0x7c16_02a6 | t << 21
    }
    pub(crate) fn mftb(t: u32) -> u32 {
        31 << 26 | t << 21 | (268 & 31) << 16 | (268 >> 5) << 11 | 339 << 1
    }
    /// To the upper half of VSR `t`.
    pub(crate) fn mtvsrd(t: u32, a: u32) -> u32 {
        31 << 26 | (t & 31) << 21 | a << 16 | 179 << 1 | t >> 5
    }
    pub(crate) fn mfvsrd(a: u32, s: u32) -> u32 {
        31 << 26 | (s & 31) << 21 | a << 16 | 51 << 1 | s >> 5
    }
}
use isa::*;

/// A VM with one CPU, and the memory that both use.
struct Guest {
    // Before its memory.
    vcpu: Vcpu,
    vm: Arc<Vm>,
    ram: Arc<GuestMemoryMmap>,
    mmu: Support<Mmu>,
}

impl Guest {
    /// `None` where there is no KVM for pseries guests.
    fn new(code: &[u32]) -> Option<Self> {
        Self::with(code, Support::Only(Mmu::Radix))
    }

    /// The same that is offered this, where the host has it.
    fn with(code: &[u32], mmu: Support<Mmu>) -> Option<Self> {
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM_BYTES as usize)]).unwrap();
        for (nth, instruction) in (0..).zip(code) {
            ram.write_slice(&instruction.to_be_bytes(), GuestAddress(CODE.0 + nth * 4)).unwrap();
        }
        let mut guest = Self::around(Arc::new(ram), mmu)?;
        guest.vcpu.start(&EntryRegisters::at(CODE)).unwrap();
        Some(guest)
    }

    fn around(ram: Arc<GuestMemoryMmap>, mmu: Support<Mmu>) -> Option<Self> {
        Self::of(ram, mmu, Support::Only(InterruptMode::Xics))
    }

    /// One with these interrupt controllers, and radix trees.
    fn by(ram: Arc<GuestMemoryMmap>, modes: Support<InterruptMode>) -> Option<Self> {
        Self::of(ram, Support::Only(Mmu::Radix), modes)
    }

    /// `None`, too, where the host has no such.
    fn of(
        ram: Arc<GuestMemoryMmap>,
        mmu: Support<Mmu>,
        modes: Support<InterruptMode>,
    ) -> Option<Self> {
        extern "C" fn nothing(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| register_signal_handler(SIGRTMIN(), nothing).unwrap());
        let kvm = match Kvm::open() {
            Ok(kvm) => kvm,
            Err(KvmError::Unsuitable(why)) => {
                eprintln!("skipped: {why}");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let there_is = kvm.mmu(AddressTranslation::Auto).unwrap();
        if there_is != Support::Either && there_is != mmu {
            eprintln!("skipped: the host has {there_is}");
            return None;
        }
        if modes != Support::Only(InterruptMode::Xics) {
            if let Err(error) = kvm.interrupts(Interrupts::Xive) {
                eprintln!("skipped: {error}");
                return None;
            }
        }
        let options = VmOptions::new(&CpuTopology::new(2), SIGRTMIN())
            .with_mmu(mmu, Order::MIN, RAM_BYTES)
            .with_interrupts(modes);
        let vm = kvm.create_vm(options).unwrap();
        let host = NonNull::new(ram.get_host_address(GuestAddress(0)).unwrap()).unwrap();
        // SAFETY: mapped as long as `ram`, which is dropped after the CPU; vm-memory accesses it
        // by volatile operations only.
        unsafe {
            vm.set_memory_region(0, GuestAddress(0), host, RAM_BYTES, MemoryFlags::PLAIN).unwrap();
        }
        let vcpu = vm.create_vcpu(CpuIndex(0)).unwrap();
        vm.interrupts().claim(SOURCE, InterruptKind::Edge).unwrap();
        vm.interrupts().claim(LEVEL, InterruptKind::Level).unwrap();
        Some(Self { vcpu, vm, ram, mmu })
    }

    /// Runs to the next hypercall, and gives its first two arguments.
    fn call(&mut self) -> (u64, u64) {
        call(&mut self.vcpu)
    }

    /// All that is saved of it, as text; then another VM with the same, on the same memory.
    fn moved(self) -> Self {
        self.moved_after(Duration::ZERO)
    }

    fn moved_after(mut self, pause: Duration) -> Self {
        assert!(self.vcpu.complete().unwrap().is_none());
        let vm = self.vm.save().unwrap();
        let sources = controller(&self.vm).state().unwrap().save().unwrap();
        let saved = serde_json::to_string(&(vm, self.vcpu.save().unwrap(), sources)).unwrap();
        let (ram, mmu) = (self.ram.clone(), self.mmu);
        let modes = self.vm.interrupts().modes();
        drop(self);
        thread::sleep(pause);

        let mut guest = Self::of(ram, mmu, modes).unwrap();
        let (vm, cpu, sources): (_, VcpuState, _) = serde_json::from_str(&saved).unwrap();
        guest.vm.restore(1, &vm).unwrap();
        guest.vcpu.restore(&cpu).unwrap();
        controller(&guest.vm).state().unwrap().restore(2, &sources).unwrap();
        guest
    }
}

/// The device that the sources are the state of, in any platform.
fn controller(vm: &Vm) -> Arc<dyn Device> {
    let mut devices = vm.devices().into_iter();
    devices.find(|device| device.id() == "interrupt-controller").unwrap()
}

fn call(vcpu: &mut Vcpu) -> (u64, u64) {
    loop {
        match vcpu.run().unwrap() {
            VcpuExit::Hypercall(Hypercall { token, status, args }) => {
                assert_eq!(*token, u64::from(TOKEN));
                *status = 7;
                return (args[0], args[1]);
            }
            VcpuExit::Interrupted => {}
            other => panic!("{other:?}"),
        }
    }
}

/// r3 = the token.
fn token() -> [u32; 2] {
    [li(3, 0), ori(3, 3, TOKEN as u16)]
}

fn registers(state: &VcpuState) -> &BTreeMap<String, RegisterValue> {
    &state.registers
}

#[test]
fn a_saved_guest_goes_on_in_another_vm() {
    // r31 counts; r30 is in a vector register as well, and goes up in it.
    let code = [
        mfmsr(5),
        oris(5, 5, 0x0280),
        ori(5, 5, 0x2000),
        mtmsrd(5),
        li(30, 100),
        mtvsrd(63, 30),
        mtvsrd(20, 30),
        addi(31, 31, 1),
        mfvsrd(5, 63),
        li(3, 0),
        ori(3, 3, TOKEN as u16),
        mr(4, 31),
        SC_1,
        mr(29, 3),
        b(-7),
    ];
    let Some(mut guest) = Guest::new(&code) else { return };
    assert_eq!(guest.call(), (1, 100));
    assert_eq!(guest.call(), (2, 100));
    let refused = guest.vcpu.save().unwrap_err().to_string();
    assert_eq!(refused, "the last exit of vcpu0 was not completed");
    for count in 3..6 {
        guest.vm.interrupts().signal(SOURCE, Signal::Pulse);
        guest = guest.moved();
        let state = guest.vcpu.save().unwrap();
        // The call was completed before the CPU was saved: its status is in r3, and the CPU behind.
        assert_eq!((state.core.gpr[3], state.core.pc), (7, CODE.0 + 13 * 4));
        assert_eq!(registers(&state)["VR31"].0 >> 64, 100);
        assert_eq!(registers(&state)["VSR20"].0 >> 64, 100);
        assert_eq!(guest.call(), (count, 100));
    }
}

/// Makes an entry of its hashed page table and one of its segment lookaside buffer, and reads the former
/// again.
#[test]
fn a_hashed_page_table_goes_along() {
    const H_ENTER: u16 = 0x8;
    const H_READ: u16 = 0xc;
    /// An entry that is valid, of a page of 4 KiB at 0x2000, which is memory (WIMG 2) that may be written.
    const ENTRY: (u16, u16) = (1, 0x2012);
    const NUMBER: u16 = 16;
    /// R and C are the processor's to set.
    const RECORDED: u64 = 0x180;
    let enter = [li(3, H_ENTER), li(4, 0), li(5, NUMBER), li(6, ENTRY.0), li(7, ENTRY.1), SC_1];
    let segment = [mr(31, 4), lis(8, 0x0800), ori(8, 8, 3), lis(9, 1), slbmte(9, 8)];
    let first = [token().as_slice(), &[mr(4, 31), SC_1]].concat();
    let read = [li(3, H_READ), li(4, 0), mr(5, 31), SC_1];
    let second = [token().as_slice(), &[SC_1]].concat();
    let code = [enter.as_slice(), &segment, &first, &read, &second].concat();
    let Some(mut guest) = Guest::with(&code, Support::Only(Mmu::Hash)) else { return };
    assert_eq!(guest.call().0, u64::from(NUMBER));
    assert!(guest.vcpu.complete().unwrap().is_none());
    let segments = guest.vcpu.save().unwrap().segments;
    assert_eq!(segments, [Segment { esid: 0x0800_0003, vsid: 0x1_0000 }]);
    let mut guest = guest.moved();
    assert_eq!(guest.vcpu.save().unwrap().segments, segments);
    let (first, second) = guest.call();
    assert_eq!((first, second & !RECORDED), (u64::from(ENTRY.0), u64::from(ENTRY.1)));
}

/// As the guest runs, and back.
#[test]
fn translation_changes_as_agreed() {
    struct Small;
    impl MachineConfig for Small {
        fn memory(&self) -> Memory {
            Memory::of_size(64 << 20)
        }
        fn cpus(&self) -> Cpus {
            Cpus::new(1, Default::default())
        }
        fn boot(&self) -> Boot<'_> {
            Boot::new("")
        }
        fn x_vof(&self) -> bool {
            true
        }
    }
    let code = [li(31, 0), addi(31, 31, 1), token()[0], token()[1], mr(4, 31), SC_1, b(-5)];
    let Some(mut guest) = Guest::with(&code, Support::Either) else { return };
    let machine = guest.vm.fit(Machine::new(&Small).unwrap().with_mmu(Support::Either));
    let usual = Decision::default_for(&Platform::of(&machine));
    assert_eq!((usual.mmu, usual.hpt_order), (Mmu::Radix, None));
    for (nth, mmu) in (1..).zip([Mmu::Radix, Mmu::Hash, Mmu::Hash, Mmu::Radix, Mmu::Hash]) {
        let mut decision = usual;
        (decision.mmu, decision.hpt_order) = (mmu, (mmu == Mmu::Hash).then_some(Order::MIN));
        assert_eq!(guest.vm.negotiated(&decision), Negotiated::Live, "{nth}");
        assert_eq!(guest.call().0, nth);
    }
    let Some(radix) = Guest::new(&code) else { return };
    let mut decision = usual;
    decision.mmu = Mmu::Hash;
    assert_eq!(radix.vm.negotiated(&decision), Negotiated::Refused);
}

/// A guest that was not there for a second has not seen it pass, and its time did not go back.
#[test]
fn time_stands_still_while_a_guest_is_saved() {
    let code = [li(3, 0), ori(3, 3, TOKEN as u16), mftb(4), SC_1, b(-4)];
    let Some(mut guest) = Guest::new(&code) else { return };
    let pause = Duration::from_secs(1);
    // The kernel's clock and the time base are one.
    let ns = |ticks: u64| u128::from(ticks) * 1_000_000_000 / u128::from(TIMEBASE_HZ);
    let begin = Instant::now();
    let (before, _) = guest.call();
    guest = guest.moved_after(pause);
    let (after, _) = guest.call();
    let at_most = begin.elapsed() - pause + Duration::from_millis(34);
    assert!(after > before, "{before} {after}");
    assert!(ns(after - before) <= at_most.as_nanos(), "{} {at_most:?}", ns(after - before));
}

/// "Its time base, and with it all that CPUs count from it", and all CPUs have the same.
#[test]
fn time_stands_still_while_a_guest_is_paused() {
    let code = [li(3, 0), ori(3, 3, TOKEN as u16), mftb(4), mfdec(5), SC_1, b(-5)];
    let Some(mut guest) = Guest::new(&code) else { return };
    let pause = Duration::from_secs(2);
    let ns = |ticks: u64| u128::from(ticks) * 1_000_000_000 / u128::from(TIMEBASE_HZ);
    for _ in 0..2 {
        let begin = Instant::now();
        let (before, down_before) = guest.call();
        assert!(guest.vcpu.complete().unwrap().is_none());
        guest.vm.pause_clock();
        thread::sleep(pause);
        guest.vm.pause_clock();
        guest.vm.resume_clock();
        let (after, down_after) = guest.call();
        let at_most = begin.elapsed() - pause + Duration::from_millis(34);
        assert!(after > before, "{before} {after}");
        assert!(ns(after - before) <= at_most.as_nanos(), "{} {at_most:?}", ns(after - before));
        // The decrementer, of 32 bits, has gone down by as much.
        let down = (down_before as u32).wrapping_sub(down_after as u32);
        let apart = down.wrapping_sub((after - before) as u32) as i32;
        assert!(apart.unsigned_abs() < TIMEBASE_HZ / 2, "{down} {}", after - before);
    }
    // Of one that comes later, and what is saved of one that has not run since.
    let mut second = guest.vm.create_vcpu(CpuIndex(1)).unwrap();
    second.start(&EntryRegisters::at(CODE)).unwrap();
    let (first, _) = guest.call();
    let (its, _) = call(&mut second);
    let (last, _) = guest.call();
    assert!((first..=last).contains(&its), "{first} {its} {last}");
    assert!(guest.vcpu.complete().unwrap().is_none() && second.complete().unwrap().is_none());
    guest.vm.pause_clock();
    thread::sleep(Duration::from_millis(100));
    guest.vm.resume_clock();
    let offset = |vcpu: &Vcpu| registers(&vcpu.save().unwrap())["TB_OFFSET"];
    assert_eq!(offset(&guest.vcpu), offset(&second));
}

#[test]
fn what_cannot_be_restored_is_refused_by_name() {
    let Some(mut guest) = Guest::new(&[B_SELF]) else { return };
    let good = guest.vcpu.save().unwrap();
    let mut state = good.clone();
    state.registers.insert("GONE".to_owned(), RegisterValue(0));
    let said = guest.vcpu.restore(&state).unwrap_err().to_string();
    assert_eq!(said, "there is no register \"GONE\"");
    let mut state = good.clone();
    // The host's KVM knows no level of that number.
    state.registers.insert("ARCH_COMPAT".to_owned(), RegisterValue(0x0f00_00ff));
    let said = guest.vcpu.restore(&state).unwrap_err().to_string();
    assert_eq!(said, "cannot set the register ARCH_COMPAT of vcpu0");
    guest.vcpu.restore(&good).unwrap();
}

/// The hypercalls of XIVE, which a guest's kernel makes.
impl Guest {
    fn int(&self, token: u64, args: &[u64]) -> Hypercall {
        let mut call = Hypercall::new(token, args);
        let controller = controller(&self.vm);
        let _ = controller.hypercalls().unwrap().handle(CpuIndex(0), &*self.ram, &mut call);
        call
    }

    fn sets(&self, token: u64, args: &[u64]) {
        assert_eq!(self.int(token, args).status(), Status::SUCCESS, "{token:#x} {args:x?}");
    }

    /// A load of a source's management page.
    fn esb(&self, source: SourceNumber, offset: u64) -> u64 {
        let call = self.int(calls::INT_ESB, &[0, source.0.into(), offset, 0]);
        assert_eq!(call.status(), Status::SUCCESS);
        call.args[0]
    }

    /// An entry of the one queue.
    fn entry(&self, index: u64) -> u32 {
        self.ram.read_obj::<u32>(GuestAddress(QUEUE + index * 4)).unwrap().to_be()
    }

    /// The queue of CPU 0, and both sources for it, on.
    fn takes_interrupts(&self) {
        self.sets(calls::INT_SET_SOURCE_CONFIG, &[2, SOURCE.0.into(), 0, 6, 0x123]);
        // Where there is no queue yet, nothing comes, and nobody complains.
        self.esb(SOURCE, 0xc00);
        self.vm.interrupts().signal(SOURCE, Signal::Pulse);
        self.esb(SOURCE, 0xd00);
        self.sets(calls::INT_SET_QUEUE_CONFIG, &[1, 0, 6, QUEUE, 16]);
        self.sets(calls::INT_SET_SOURCE_CONFIG, &[2, LEVEL.0.into(), 0, 6, 0x456]);
        self.esb(SOURCE, 0xc00);
        self.esb(LEVEL, 0xc00);
    }
}

/// Where the queue is.
const QUEUE: u64 = 0x10_0000;
const EITHER: Support<InterruptMode> = Support::Either;

#[test]
fn a_guest_gets_xive_while_its_hypercall_is_open() {
    let [a, b_] = token();
    let Some(plain) = Guest::new(&[a, b_, SC_1, b(-3)]) else { return };
    assert!(!plain.vm.interrupts().switch(InterruptMode::Xive).unwrap());
    let ram = plain.ram.clone();
    drop(plain);
    let Some(mut guest) = Guest::by(ram, EITHER) else { return };
    let mut second = guest.vm.create_vcpu(CpuIndex(1)).unwrap();
    guest.vcpu.start(&EntryRegisters::at(CODE)).unwrap();
    second.start(&EntryRegisters::at(CODE).with_arguments([0, 9, 0])).unwrap();
    let controller = guest.vm.interrupts().clone();
    assert_eq!(controller.mode(), InterruptMode::Xics);
    let refused = guest.int(calls::INT_RESET, &[0]).status();
    assert_eq!(refused, Status::FUNCTION);
    // One that runs all the time is got out of guest code for it.
    thread::scope(|scope| {
        let (done, is_done) = std::sync::mpsc::channel();
        scope.spawn(move || {
            while is_done.try_recv().is_err() {
                call(&mut second);
            }
        });
        for mode in [InterruptMode::Xive, InterruptMode::Xics, InterruptMode::Xive] {
            guest.call();
            assert!(controller.switch(mode).unwrap());
            assert_eq!(controller.mode(), mode);
            guest.call();
        }
        done.send(()).unwrap();
    });
    guest.takes_interrupts();
    controller.signal(SOURCE, Signal::Pulse);
    guest.sets(calls::INT_SYNC, &[0, SOURCE.0.into()]);
    assert_eq!(guest.entry(0), 0x8000_0123);
    // P is set until the end of it.
    assert_eq!(guest.esb(SOURCE, 0x800), 2);
    controller.signal(SOURCE, Signal::Pulse);
    assert_eq!((guest.esb(SOURCE, 0x800), guest.entry(1)), (3, 0));
    assert_eq!(guest.esb(SOURCE, 0), 1);
    guest.sets(calls::INT_SYNC, &[0, SOURCE.0.into()]);
    assert_eq!(guest.entry(1), 0x8000_0123);
    // A file, as well.
    guest.esb(SOURCE, 0xc00);
    controller.irqfd(SOURCE).unwrap().unwrap().write(1).unwrap();
    while guest.entry(2) == 0 {
        thread::yield_now();
    }
    guest.sets(calls::INT_RESET, &[0]);
    let queue = guest.int(calls::INT_GET_QUEUE_CONFIG, &[0, 0, 6]);
    assert_eq!((queue.status(), queue.args[1]), (Status::SUCCESS, 0));
}

#[test]
fn a_level_comes_again_until_it_is_low() {
    let Some(guest) = Guest::new(&[B_SELF]) else { return };
    let ram = guest.ram.clone();
    drop(guest);
    let Some(guest) = Guest::by(ram, Support::Only(InterruptMode::Xive)) else { return };
    let info = guest.int(calls::INT_GET_SOURCE_INFO, &[0, LEVEL.0.into()]);
    assert_eq!(info.args[..4], [0xc, u64::MAX, u64::MAX, 16]);
    guest.takes_interrupts();
    let controller = guest.vm.interrupts();
    controller.signal(LEVEL, Signal::High);
    for index in 0..3 {
        guest.sets(calls::INT_SYNC, &[0, LEVEL.0.into()]);
        assert_eq!((guest.entry(index), guest.entry(index + 1)), (0x8000_0456, 0));
        assert_eq!(guest.esb(LEVEL, 0), 1);
    }
    controller.signal(LEVEL, Signal::Low);
    assert_eq!(guest.esb(LEVEL, 0), 0);
    guest.sets(calls::INT_SYNC, &[0, LEVEL.0.into()]);
    assert_eq!(guest.entry(4), 0);
}

#[test]
fn what_a_guest_passes_to_xive_is_answered() {
    let Some(guest) = Guest::new(&[B_SELF]) else { return };
    let ram = guest.ram.clone();
    drop(guest);
    let Some(mut guest) = Guest::by(ram, Support::Only(InterruptMode::Xive)) else { return };
    let refused = |token, args: &[u64]| guest.int(token, args).status();
    for (token, args, status) in [
        // There is no CPU 1 yet; none of server 2 ever.
        (calls::INT_SET_QUEUE_CONFIG, [1, 1, 6, QUEUE, 16], Status::P2),
        (calls::INT_SET_QUEUE_CONFIG, [1, 2, 6, QUEUE, 16], Status::P2),
        (calls::INT_SET_QUEUE_CONFIG, [1, 0, 7, QUEUE, 16], Status::P3),
        (calls::INT_SET_QUEUE_CONFIG, [1, 0, 6, QUEUE, 12], Status::P5),
        (calls::INT_SET_QUEUE_CONFIG, [1, 0, 6, RAM_BYTES, 16], Status::P4),
        (calls::INT_SET_QUEUE_CONFIG, [0, 0, 6, QUEUE, 16], Status::PARAMETER),
        (calls::INT_SET_SOURCE_CONFIG, [0, 0x1002, 0, 6, 1], Status::P2),
        (calls::INT_SET_SOURCE_CONFIG, [2, 0x1000, 0, 6, 1 << 31], Status::P5),
        (calls::INT_ESB, [0, 0x1002, 0, 0, 0], Status::P2),
        (calls::INT_SET_OS_REPORTING_LINE, [0, 0, 0, 0, 0], Status::FUNCTION),
    ] {
        assert_eq!(refused(token, &args), status, "{token:#x} {args:x?}");
    }
    // A queue is set over one that there is, as a kernel does that another one has started.
    for _ in 0..3 {
        guest.sets(calls::INT_SET_QUEUE_CONFIG, &[1, 0, 6, QUEUE, 16]);
    }
    guest.sets(calls::INT_SET_QUEUE_CONFIG, &[1, 0, 6, 0, 0]);
    // A CPU that comes again has none of its queues.
    guest.takes_interrupts();
    guest.vcpu.reset().unwrap();
    assert_eq!(guest.int(calls::INT_GET_QUEUE_CONFIG, &[0, 0, 6]).args[1], 0);
}

#[test]
fn a_xive_that_is_saved_goes_on_in_another_vm() {
    let code = [token()[0], token()[1], SC_1, b(-3)];
    let Some(guest) = Guest::new(&code) else { return };
    let ram = guest.ram.clone();
    drop(guest);
    let Some(mut guest) = Guest::by(ram, EITHER) else { return };
    guest.vcpu.start(&EntryRegisters::at(CODE)).unwrap();
    guest.call();
    assert!(guest.vm.interrupts().switch(InterruptMode::Xive).unwrap());
    guest.takes_interrupts();
    guest.vm.interrupts().signal(LEVEL, Signal::High);
    // One is in its queue, another waits for its end, and CPU 0 takes none yet.
    guest.vm.interrupts().signal(SOURCE, Signal::Pulse);
    guest.vm.interrupts().signal(SOURCE, Signal::Pulse);
    let presented = |guest: &Guest| {
        let state = serde_json::to_value(controller(&guest.vm).state().unwrap().save().unwrap());
        let state = state.unwrap()["state"].clone();
        (state["servers"].clone(), state["sources"].clone())
    };
    let before = presented(&guest);
    assert_eq!(before.0[0]["pending"], 2, "{before:?}");
    assert_eq!(before.0[0]["queues"][0]["index"], 2);
    guest = guest.moved();
    assert_eq!(guest.vm.interrupts().mode(), InterruptMode::Xive);
    assert_eq!(presented(&guest), before);
    guest.call();
    // The entries of both go behind those of before.
    assert_eq!((guest.esb(SOURCE, 0x800), guest.esb(LEVEL, 0x800)), (3, 2));
    assert_eq!(guest.esb(SOURCE, 0), 1);
    assert_eq!(guest.esb(LEVEL, 0), 1);
    guest.sets(calls::INT_SYNC, &[0, LEVEL.0.into()]);
    assert_eq!([2, 3, 4].map(|at| guest.entry(at)), [0x8000_0123, 0x8000_0456, 0]);
    guest.vcpu.complete().unwrap();
    let state = guest.vcpu.save().unwrap();
    assert!(!registers(&state).contains_key("ICP"));
}

#[test]
fn a_level_holds_from_the_next_entry_on() {
    let [a, b_] = token();
    let Some(mut guest) = Guest::new(&[a, b_, SC_1, b(-3)]) else { return };
    guest.call();
    let said = guest.vm.set_compat(Some(0x0f00_00ff)).unwrap_err().to_string();
    assert!(said.contains("0x0f0000ff"), "{said}");
    guest.vm.set_compat(Some(POWER9)).unwrap();
    guest.call();
    guest.vcpu.complete().unwrap();
    let level = |guest: &Guest| registers(&guest.vcpu.save().unwrap())["ARCH_COMPAT"].0 as u32;
    assert_eq!(level(&guest), POWER9);
    guest.vm.set_compat(None).unwrap();
    guest.call();
    guest.vcpu.complete().unwrap();
    assert_eq!(level(&guest), 0);
}

#[test]
fn an_access_completes_its_instruction_without_running_on() {
    let [a, b_] = token();
    let code = [lis(9, (DEVICE.0 >> 16) as u16), lwz(4, 9, 8), a, b_, SC_1];
    let Some(mut guest) = Guest::new(&code) else { return };
    match guest.vcpu.run().unwrap() {
        VcpuExit::MmioRead(at, data) => {
            assert_eq!(at.0, DEVICE.0 + 8);
            data.copy_from_slice(&[0, 0, 0x12, 0x34]);
        }
        other => panic!("{other:?}"),
    }
    let kicker = guest.vcpu.kicker();
    // For the next run, not for what completes this.
    kicker.kick();
    assert!(guest.vcpu.complete().unwrap().is_none());
    let core = guest.vcpu.save().unwrap().core;
    assert_eq!((core.gpr[4], core.pc), (0x1234, CODE.0 + 8));
    assert!(matches!(guest.vcpu.run().unwrap(), VcpuExit::Interrupted));
    assert_eq!(guest.call().0, 0x1234);
}

#[test]
fn a_kick_ends_a_run() {
    let Some(mut guest) = Guest::new(&[B_SELF]) else { return };
    let kicker = guest.vcpu.kicker();
    for _ in 0..20 {
        thread::scope(|scope| {
            scope.spawn(|| kicker.kick());
            assert!(matches!(guest.vcpu.run().unwrap(), VcpuExit::Interrupted));
        });
    }
}

#[test]
fn the_kernel_writes_and_reads_eventfds() {
    let [a, b_] = token();
    let code = [lis(9, (DEVICE.0 >> 16) as u16), li(5, 3), stw(5, 9, 0), a, b_, SC_1];
    let Some(mut guest) = Guest::new(&code) else { return };
    let file = EventFd::new(EFD_NONBLOCK).unwrap();
    // SAFETY: open as long as `file`.
    let borrowed = unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) };
    guest.vm.register_ioeventfd(borrowed, DEVICE, 4, None).unwrap();
    guest.call();
    assert_eq!(file.read().unwrap(), 1);
    guest.vm.unregister_ioeventfd(borrowed, DEVICE, 4, None).unwrap();

    let irqfd = guest.vm.interrupts().irqfd(SOURCE).unwrap().unwrap();
    irqfd.write(1).unwrap();
    let unclaimed = guest.vm.interrupts().irqfd(SourceNumber(0x1009)).unwrap_err();
    assert_eq!(
        unclaimed.to_string(),
        "the interrupt controller cannot have interrupt source 0x1009"
    );
    guest.vm.register_irqfd(borrowed, SOURCE).unwrap();
    guest.vm.unregister_irqfd(borrowed, SOURCE).unwrap();
    let controller = guest.vm.interrupts();
    assert!(controller.attach(SourceNumber(0x1009), &file).is_err());
    for _ in 0..2 {
        assert!(controller.attach(SOURCE, &file).unwrap());
        controller.detach(SOURCE, &file).unwrap();
    }
}

#[test]
fn the_dirty_log_has_what_the_guest_wrote() {
    let [a, b_] = token();
    let Some(mut guest) = Guest::new(&[lis(9, 0x20), stw(5, 9, 0), a, b_, SC_1, b(-4)]) else {
        return;
    };
    assert!(guest.vm.dirty_log(0).is_err());
    guest.vm.set_dirty_log(0, true).unwrap();
    guest.vm.dirty_log(0).unwrap();
    guest.call();
    let pages = guest.vm.dirty_log(0).unwrap();
    assert!(pages.offsets().any(|offset| offset == 0x20_0000), "{pages:?}");
    assert_eq!(guest.vm.dirty_log(0).unwrap().count(), 0);
    guest.call();
    assert_eq!(guest.vm.dirty_log(0).unwrap().count(), 1);
    guest.vm.set_dirty_log(0, false).unwrap();
    guest.vm.remove_memory_region(0).unwrap();
    assert!(guest.vm.remove_memory_region(0).is_err());
}

#[test]
fn a_cpu_that_comes_later_runs_beside_the_first() {
    let [a, b_] = token();
    let Some(mut guest) = Guest::new(&[a, b_, SC_1, b(-3)]) else { return };
    guest.call();
    let mut second = guest.vm.create_vcpu(CpuIndex(1)).unwrap();
    second.start(&EntryRegisters::at(CODE).with_arguments([0, 9, 0])).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(call(&mut second).0, 9));
        guest.call();
    });
    let said = guest.vm.create_vcpu(CpuIndex(2)).unwrap_err().to_string();
    assert_eq!(said, "vcpu2: the VM has at most 2 CPUs");
}

/// KVM leaves the guest's values in the registers that the caller of a function keeps.
#[cfg(all(target_arch = "powerpc64", target_env = "gnu"))]
#[test]
fn a_run_keeps_the_threads_own_registers() {
    use std::sync::atomic::{AtomicBool, Ordering};

    /// glibc's `ucontext_t`: f0 to f31 and FPSCR from byte 616 on, the vector registers where the
    /// pointer at byte 880 says.
    #[repr(C, align(16))]
    struct Context([u64; 180]);

    impl Context {
        fn kept(&self) -> (Vec<u64>, Vec<u128>) {
            let floats = self.0[77 + 14..77 + 33].to_vec();
            let vectors = self.0[880 / 8] as *const u128;
            // SAFETY: getcontext made it point into `self`, to 32 vector registers.
            let vectors = (20..32).map(|nth| unsafe { vectors.add(nth).read_unaligned() });
            (floats, vectors.collect())
        }
    }

    unsafe extern "C" {
        fn getcontext(context: *mut Context) -> libc::c_int;
    }

    let mut code = vec![mfmsr(5), oris(5, 5, 0x0280), ori(5, 5, 0x2000), mtmsrd(5)];
    code.extend([lis(6, 0x5a5a), ori(6, 6, 0x5a5a)]);
    code.extend((0..64).map(|register| mtvsrd(register, 6)));
    // Long enough for the thread to be switched out.
    code.extend([lis(7, 0x0400), mtctr(7), BDNZ_SELF, mfctr(4)]);
    code.extend(token());
    code.extend([SC_1]);
    let Some(mut guest) = Guest::new(&code) else { return };
    // Something that is runnable meanwhile.
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                thread::yield_now();
            }
        });
        let (mut before, mut after) = (Context([0; 180]), Context([0; 180]));
        // SAFETY: as large as what glibc fills.
        unsafe { getcontext(&raw mut before) };
        let exit = matches!(guest.vcpu.run(), Ok(VcpuExit::Hypercall(_)));
        // SAFETY: as above.
        unsafe { getcontext(&raw mut after) };
        done.store(true, Ordering::Relaxed);
        assert!(exit);
        assert_eq!(before.kept(), after.kept());
    });
}
