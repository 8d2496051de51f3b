//! The calls as a guest makes them.

mod events;
mod guest;
mod registration;
#[cfg(feature = "serde")]
mod saved;

use std::time::Duration;

use super::*;
use crate::StopReason;
use crate::topology::CpuTopology;
use guest::{BUFFER, DATA, FixedTime, Guest, RAM_BYTES, UNTOUCHED, parameters};

#[test]
fn cpus_are_queried_and_started() {
    let guest = Guest::new();
    let state = |cpu| guest.call("query-cpu-stopped-state", &[cpu], 2);
    assert_eq!(state(0), (0, vec![2]));
    assert_eq!(state(1), (0, vec![0]));
    assert_eq!(state(2), (-3, vec![0]));
    assert_eq!(guest.status("start-cpu", &[1, 0x60, 0x8000_0001]), 0);
    assert_eq!(
        *guest.cpus.started.lock().unwrap(),
        [(CpuIndex(1), GuestAddress(0x60), 0x8000_0001)]
    );
    assert_eq!(state(1), (0, vec![1]));
    // "The processor thread specified by the CPU_id parameter must be in the RTAS stopped state"
    // (LoPAPR R1-7.3.8.2-2).
    assert_eq!(guest.status("start-cpu", &[1, 0x60, 0]), -1);
    assert_eq!(guest.status("start-cpu", &[7, 0x60, 0]), -3);
}

/// The guest's numbers are those of servers.
#[test]
fn cpus_are_named_by_their_server_numbers() {
    let sparse = CpuTopology::new(8).with_threads(1, 8).unwrap();
    let parameters = SystemParameters::new(2, &sparse, 512 << 20);
    let guest = Guest::with(parameters, AfterOsTerm::Stop);
    let state = |cpu| guest.call("query-cpu-stopped-state", &[cpu], 2);
    assert_eq!(state(8), (0, vec![0]));
    assert_eq!(state(1), (-3, vec![0]));
    // There may be one of this number, but there is none.
    assert_eq!(state(16), (-3, vec![0]));
    assert_eq!(guest.status("start-cpu", &[1, 0x60, 7]), -3);
    assert_eq!(guest.status("start-cpu", &[8, 0x60, 7]), 0);
    assert_eq!(*guest.cpus.started.lock().unwrap(), [(CpuIndex(1), GuestAddress(0x60), 7)]);
}

#[test]
fn cpus_start_only_where_there_is_ram() {
    let guest = Guest::new();
    for entry in [RAM_BYTES as u32, 0xffff_fffc, 0x62] {
        assert_eq!(guest.status("start-cpu", &[1, entry, 0]), -3);
    }
    assert!(guest.cpus.started.lock().unwrap().is_empty());
}

/// "If this call succeeds, it does not return" (§7.3.8.1), and so for the others: the buffer is
/// left alone, as another CPU may be using it.
#[test]
fn calls_that_end_do_not_return() {
    let guest = Guest::new();
    for (name, inputs, next) in [
        ("stop-self", vec![], Next::Park),
        ("power-off", vec![u32::MAX, u32::MAX], Next::Stop(StopReason::PowerOff)),
        ("system-reboot", vec![], Next::Stop(StopReason::Reset)),
    ] {
        assert_eq!(guest.raw(token_of(name).unwrap(), &inputs, 1), (next, vec![UNTOUCHED]));
    }
}

#[test]
fn time_of_day_is_that_of_the_clock() {
    let guest = Guest::new();
    let time = guest.call("get-time-of-day", &[], 8);
    assert_eq!(time, (0, vec![2024, 2, 29, 12, 34, 56, 789]));
}

#[test]
fn set_time_is_that_of_the_clock() {
    let guest = Guest::new();
    assert_eq!(guest.status("set-time-of-day", &[2038, 1, 19, 3, 14, 8, 5]), 0);
    let time = guest.call("get-time-of-day", &[], 8);
    assert_eq!(time, (0, vec![2038, 1, 19, 3, 14, 8, 5]));
    assert_eq!(guest.clock.now(), Duration::new(1 << 31, 5));
}

/// "RTAS must return a Status of -3 (Parameter Error) to the set-time-of-day RTAS call when the
/// specified date is outside the range supported by the platform" (R1-7.3.2.3-3).
#[test]
fn impossible_time_is_refused() {
    let guest = Guest::new();
    assert_eq!(guest.status("set-time-of-day", &[2023, 2, 29, 0, 0, 0, 0]), -3);
    assert_eq!(guest.clock.now(), FixedTime.now());
}

#[test]
fn characters_are_displayed_or_the_device_is_busy() {
    let guest = Guest::new();
    for character in "ok".bytes() {
        assert_eq!(guest.status("display-character", &[character.into()]), 0);
    }
    // Cells are sign-extended: a character with its high bit set.
    assert_eq!(guest.status("display-character", &[0xffff_ffe4]), 0);
    assert_eq!(guest.page.0.lock().unwrap().0, b"ok\xe4");
    guest.page.0.lock().unwrap().1 = 0;
    // "-2: Device busy, try again later".
    assert_eq!(guest.status("display-character", &[0x21]), -2);
}

#[test]
fn os_term_stops_a_crashed_machine() {
    let guest = Guest::new();
    guest.ram().write(GuestAddress(DATA.into()), b"OS panic: \x1b[2Jhung\n\0").unwrap();
    let answer = guest.raw(token_of("ibm,os-term").unwrap(), &[DATA], 1);
    assert_eq!(answer, (Next::Stop(StopReason::Crash), vec![0]));
}

/// "The ibm,os-term call must always return" (R1-7.3.9.1-5).
#[test]
fn os_term_returns_where_that_is_wanted() {
    let guest = Guest::with(parameters(), AfterOsTerm::Return);
    guest.ram().write(GuestAddress(RAM_BYTES - 4), b"long").unwrap();
    // In RAM, at its end without a NUL, outside.
    for string in [DATA, RAM_BYTES as u32 - 4, RAM_BYTES as u32, u32::MAX] {
        for _ in 0..20 {
            assert_eq!(guest.status("ibm,os-term", &[string]), 0);
        }
    }
}

#[test]
fn splpar_characteristics_describe_the_machine() {
    let guest = Guest::new();
    assert_eq!(guest.status("ibm,get-system-parameter", &[20, DATA, 1026]), 0);
    let expected = b"MaxEntCap=800,MaxPlatProcs=8,DesEntCap=200,DesMem=512,DesProcs=2\0".as_slice();
    // "The first two (2) bytes of the data in the buffer are the length of the returned data, not
    // counting these first two (2) bytes. The length of string data includes the length of the
    // NULL" (§7.3.16.1).
    let mut data = (expected.len() as u16).to_be_bytes().to_vec();
    data.extend_from_slice(expected);
    assert_eq!(guest.bytes(DATA, data.len()), data);
}

/// "If the buffer length is less than the returned data length, the data is truncated at the end
/// of the buffer" (§7.3.16.1).
#[test]
fn system_parameter_is_cut_at_the_end_of_the_buffer() {
    let guest = Guest::new();
    guest.ram().write(GuestAddress(DATA.into()), &[0xaa; 16]).unwrap();
    assert_eq!(guest.status("ibm,get-system-parameter", &[20, DATA, 5]), 0);
    let data = guest.bytes(DATA, 16);
    assert_eq!(data[2..], [b"Max".as_slice(), &[0xaa; 11]].concat());
}

/// "A buffer length of zero (0) must return a Status of 0 (success) if the parameter is supported
/// and authorized, a Status of -3 if not supported" (R1-7.3.16-10).
#[test]
fn no_buffer_asks_whether_there_is_a_parameter() {
    let guest = Guest::new();
    assert_eq!(guest.status("ibm,get-system-parameter", &[20, u32::MAX, 0]), 0);
    for parameter in [0, 43, 44, 45, 48, 50, 55, u32::MAX] {
        assert_eq!(guest.status("ibm,get-system-parameter", &[parameter, u32::MAX, 0]), -3);
    }
}

/// `ppc64_cpu --run-mode` and `serv_config` ask for these, with buffers of 3 and 5000 bytes. They
/// tell apart 0, -3 (not there), -9002 (not allowed) and -9999; the "librtas I/O error" that they
/// know besides is about files of the guest's own, such as a missing `/var/lock`.
#[test]
fn tools_get_an_answer_about_every_system_parameter() {
    let guest = Guest::new();
    for parameter in 0..64 {
        let expected = if matches!(parameter, 20 | 42) { 0 } else { -3 };
        for length in [3, 5000] {
            let status = guest.status("ibm,get-system-parameter", &[parameter, DATA, length]);
            assert_eq!(status, expected, "parameter {parameter}");
        }
        let expected = if expected == 0 { -9002 } else { -3 };
        let status = guest.status("ibm,set-system-parameter", &[parameter, DATA]);
        assert_eq!(status, expected, "parameter {parameter}");
    }
    // The diagnostics' run mode is one byte: off.
    assert_eq!(guest.status("ibm,get-system-parameter", &[42, DATA, 3]), 0);
    assert_eq!(guest.bytes(DATA, 3), [0, 1, 0]);
}

#[test]
fn system_parameter_needs_a_buffer_in_ram() {
    let guest = Guest::new();
    for buffer in [RAM_BYTES as u32 - 1, RAM_BYTES as u32, u32::MAX] {
        assert_eq!(guest.status("ibm,get-system-parameter", &[20, buffer, 1026]), -9999);
    }
}

#[test]
fn name_and_uuid_are_told_where_there_are_any() {
    let uuid = *b"0123456789abcdef";
    let named = parameters().with_name("guest\0x").with_uuid(uuid);
    let guest = Guest::with(named, AfterOsTerm::Stop);
    assert_eq!(guest.status("ibm,get-system-parameter", &[55, DATA, 100]), 0);
    assert_eq!(guest.bytes(DATA, 8), b"\0\x06guest\0");
    assert_eq!(guest.status("ibm,get-system-parameter", &[48, DATA, 100]), 0);
    assert_eq!(guest.bytes(DATA, 18), [b"\0\x10".as_slice(), &uuid].concat());
    assert_eq!(guest.status("ibm,get-system-parameter", &[42, DATA, 100]), 0);
    assert_eq!(guest.bytes(DATA, 3), [0, 1, 0]);
}

/// "Output strings from ibm,get-system-parameters not to exceed 4000 bytes" (R1-7.3.16-12).
#[test]
fn long_name_is_cut() {
    let guest = Guest::with(parameters().with_name("n".repeat(70_000)), AfterOsTerm::Stop);
    assert_eq!(guest.status("ibm,get-system-parameter", &[55, DATA, u32::MAX]), 0);
    assert_eq!(guest.bytes(DATA, 2), 4000_u16.to_be_bytes());
    assert_eq!(guest.bytes(DATA + 4000, 3), b"n\0\0");
}

/// "A system parameter, which is not supported by the system, must return a Status of -3"; one
/// "for which access is not authorized […] -9002" (R1-7.3.16-7, -8).
#[test]
fn system_parameters_cannot_be_set() {
    let guest = Guest::new();
    assert_eq!(guest.status("ibm,set-system-parameter", &[20, DATA]), -9002);
    assert_eq!(guest.status("ibm,set-system-parameter", &[43, u32::MAX]), -3);
}

/// "The appropriate return code for invalid parameters is -3" (§7.2.7).
#[test]
fn unknown_calls_and_wrong_counts_are_parameter_errors() {
    let guest = Guest::new();
    for token in [0, 0x18, 0x2000, u32::MAX] {
        assert_eq!(guest.raw(token, &[], 1), (Next::Resume, vec![-3_i32 as u32]));
    }
    let power_off = token_of("power-off").unwrap();
    for (inputs, outputs) in [(0, 1), (1, 1), (3, 1), (2, 2)] {
        let (next, results) = guest.raw(power_off, &vec![0; inputs], outputs);
        assert_eq!((next, results[0] as i32), (Next::Resume, -3));
    }
}

#[test]
fn buffer_has_to_be_in_ram_and_to_have_a_status() {
    let guest = Guest::new();
    let refused = (Next::Resume, Status::PARAMETER);
    for at in [RAM_BYTES, RAM_BYTES - 4, 1 << 40, u64::MAX, u64::MAX - 11] {
        assert_eq!(guest.hypercall(at), refused);
    }
    let stop_self = token_of("stop-self").unwrap();
    let write = |at: u64, header: [u32; 3]| {
        for (cell, at) in header.iter().zip((at..).step_by(4)) {
            guest.ram().write_be_u32(GuestAddress(at), *cell).unwrap();
        }
    };
    // No place for a status, and more cells than any call has.
    for header in [[stop_self, 0, 0], [stop_self, 17, 1], [stop_self, 0, 17], [u32::MAX; 3]] {
        write(BUFFER.0, header);
        assert_eq!(guest.hypercall(BUFFER.0), refused);
    }
    // The header is in RAM, the status is not: the call has no effect.
    write(RAM_BYTES - 12, [stop_self, 0, 1]);
    assert_eq!(guest.hypercall(RAM_BYTES - 12), refused);
    write(RAM_BYTES - 16, [stop_self, 0, 1]);
    assert_eq!(guest.hypercall(RAM_BYTES - 16).0, Next::Park);
}

/// Whatever the guest passes: an answer, and no panic.
#[test]
fn arbitrary_buffers_are_answered() {
    let guest = Guest::with(parameters(), AfterOsTerm::Return);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let calls: Vec<_> = calls().collect();
    let interesting = [0, 1, 2, 7, 0x1000, 0x7fff_ffff, RAM_BYTES as u32 - 1, u32::MAX];
    let mut successes = 0;
    for round in 0..100_000 {
        if round % 64 == 0 {
            guest.events.power_button().press();
        }
        let (_, token) = calls[random() as usize % calls.len()];
        let at = match random() % 4 {
            0 => RAM_BYTES - random() % 64,
            _ => random() % (RAM_BYTES - 256),
        };
        let mut cells = [0; 20];
        for cell in &mut cells {
            *cell = match random() % 2 {
                0 => interesting[random() as usize % interesting.len()],
                _ => random() as u32,
            };
        }
        cells[0] = if random() % 16 == 0 { random() as u32 } else { token };
        cells[1] = random() as u32 % 9;
        cells[2] = random() as u32 % 9;
        for (cell, at) in cells.iter().zip((at..).step_by(4)) {
            let _ = guest.ram().write_be_u32(GuestAddress(at), *cell);
        }
        successes += u32::from(guest.hypercall(at).1 == Status::SUCCESS);
    }
    assert!(successes > 50_000, "{successes}");
}

#[test]
fn rtas_is_put_where_the_guest_wants_it() {
    let guest = Guest::new();
    let ram = guest.ram();
    assert_eq!(instantiate(ram, GuestAddress(0x2000)), Ok(GuestAddress(0x2000)));
    let shim: &[u8] = vof_firmware::RTAS_SHIM.as_ref();
    assert_eq!(guest.bytes(0x2000, shim.len()), shim);
    let last = GuestAddress(RAM_BYTES - u64::from(SIZE_BYTES));
    assert_eq!(instantiate(ram, last), Ok(last));
}

#[test]
fn rtas_is_not_put_where_it_cannot_run() {
    let guest = Guest::new();
    for base in [0x2002, u64::MAX - 3, 0xffff_f004, 1 << 32].map(GuestAddress) {
        assert_eq!(instantiate(guest.ram(), base), Err(InstantiateError::Base { base }));
    }
    let before = guest.bytes(RAM_BYTES as u32 - 0x800, 0x800);
    for base in [RAM_BYTES, RAM_BYTES - 0x800].map(GuestAddress) {
        let error = instantiate(guest.ram(), base).unwrap_err();
        assert!(matches!(error, InstantiateError::Memory(_)), "{error}");
    }
    assert_eq!(guest.bytes(RAM_BYTES as u32 - 0x800, 0x800), before);
}
