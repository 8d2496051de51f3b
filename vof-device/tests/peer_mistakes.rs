//! What the best-known client interface in a VMM does wrong, each with a test that ours does not.

use std::time::{Duration, Instant};

use arch_ppc64::{Next, Status};
use vof_device::DeviceTree;
use vof_device::test_utils::{Client, FIRMWARE_BYTES, TestMachine, UNTOUCHED, sample_tree};

const NONE: u32 = u32::MAX;
const RAM_BYTES: u64 = 16 << 20;

fn machine() -> TestMachine {
    TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder)
}

fn claim(client: &Client<'_>, virt: u32, size: u32, align: u32) -> u32 {
    client.one("claim", &[virt.into(), size.into(), align.into()])
}

fn available(client: &Client<'_>) -> Vec<u8> {
    let memory = client.finddevice("/memory@0").unwrap();
    client.getprop(memory, "available").unwrap()
}

// 1. A guest ends the VMM.

#[test]
fn exact_claim_of_2_gib_or_more_fails() {
    let machine = machine();
    let client = machine.client();
    for (virt, size) in [(0, 0x8000_0000), (0x8000_0000, 0x8000_0000), (0x10_0000, NONE)] {
        assert_eq!(claim(&client, virt, size, 0), NONE);
        assert_eq!(claim(&client, virt, size, 1), NONE);
    }
}

#[test]
fn releasing_the_firmware_is_refused() {
    let machine = machine();
    let client = machine.client();
    let before = available(&client);
    let outcome = client.call("release", &[0.into(), (FIRMWARE_BYTES as u32).into()], 1);
    assert_eq!((outcome.status, outcome.next), (Status::SUCCESS, Next::Resume));
    assert_eq!(available(&client), before);
    assert_eq!(claim(&client, 0, 0x1000, 0), NONE);
}

#[test]
fn cells_of_the_root_cannot_be_changed_under_a_claim() {
    let machine = machine();
    let client = machine.client();
    for name in ["#address-cells", "#size-cells"] {
        let arguments = [1.into(), name.into(), (&[0, 0, 0, 3][..]).into(), 4.into()];
        assert_eq!(client.one("setprop", &arguments), NONE);
    }
    assert_eq!(claim(&client, 0x40_0000, 0x1000, 0), 0x40_0000);
    assert_eq!(available(&client).len(), 32);
}

#[test]
fn claims_work_after_quiesce() {
    let machine = machine();
    let client = machine.client();
    client.call("quiesce", &[], 0);
    assert_eq!(claim(&client, 0x40_0000, 0x1000, 0), 0x40_0000);
    assert_ne!(claim(&client, 0, 0x1000, 0x1000), NONE);
    assert!(client.finddevice("/rtas").is_some());
}

#[test]
fn instantiate_rtas_with_any_address_returns() {
    let machine = machine();
    let client = machine.client();
    let rtas = client.one("open", &["/rtas".into()]);
    for base in [0, 1, 4, 0x40_0000, RAM_BYTES as u32 - 4, 0x8000_0000, 0xffff_fffc, NONE] {
        let outcome =
            client.call("call-method", &["instantiate-rtas".into(), rtas.into(), base.into()], 2);
        assert_eq!(outcome.next, Next::Resume);
        let expected = match base {
            0 | 4 | 0x40_0000 => [0, base],
            _ => [NONE, UNTOUCHED],
        };
        assert_eq!(outcome.results, expected, "{base:#x}");
    }
}

// 2. Claims outside RAM; one high claim makes the others fail; alignment lost after a collision.

#[test]
fn claims_outside_ram_fail() {
    let machine = machine();
    let client = machine.client();
    let end = RAM_BYTES as u32;
    for (virt, size) in [(end, 0x1000), (end - 0x1000, 0x1001), (0xffff_f000, 0x1000)] {
        assert_eq!(claim(&client, virt, size, 0), NONE);
    }
    assert_eq!(claim(&client, 0, end, 0x1000), NONE);
}

#[test]
fn a_high_claim_leaves_room_for_others() {
    let machine = machine();
    let client = machine.client();
    assert_eq!(claim(&client, RAM_BYTES as u32 - 0x1000, 0x1000, 0), 0xff_f000);
    assert_eq!(claim(&client, 0, 0x1000, 0x10_0000), 0x10_0000);
}

#[test]
fn collisions_keep_the_alignment() {
    let machine = machine();
    let client = machine.client();
    assert_eq!(claim(&client, 0x10_0000, 0x1234, 0), 0x10_0000);
    assert_eq!(claim(&client, 0, 0x1000, 0x10_0000), 0x20_0000);
    assert_eq!(claim(&client, 0, 0x1000, 0x10_0000), 0x30_0000);
}

// 3. Buffer lengths ignored; arguments read that were not passed.

#[test]
fn path_services_keep_to_the_buffer() {
    let machine = machine();
    let client = machine.client();
    let buffer = client.buffer();
    let ihandle = client.one("open", &["/vdevice/vty".into()]);
    let phandle = client.finddevice("/vdevice/vty").unwrap();
    for (service, handle) in [("instance-to-path", ihandle), ("package-to-path", phandle)] {
        client.poke(buffer, &[0xaa; 16]);
        assert_eq!(client.one(service, &[handle.into(), buffer.into(), 8.into()]), 21);
        assert_eq!(client.peek(buffer, 9), b"/vdevice\xaa");
    }
}

#[test]
fn call_method_reads_only_what_was_passed() {
    let machine = machine();
    let client = machine.client();
    let rtas = client.one("open", &["/rtas".into()]);
    // The cell behind the two arguments is a result, not a base address.
    let outcome = client.call("call-method", &["instantiate-rtas".into(), rtas.into()], 2);
    assert_eq!(outcome.results, [-4_i32 as u32, UNTOUCHED]);
    assert_eq!(client.call("call-method", &["instantiate-rtas".into()], 1).results, [NONE]);
    assert_eq!(client.call("call-method", &[], 1).results, [NONE]);
}

// 4. `available` with empty entries and underflow.

#[test]
fn available_has_no_empty_entries() {
    let machine = machine();
    let client = machine.client();
    let start = u64::from_be_bytes(available(&client)[..8].try_into().unwrap()) as u32;
    // At the start of free memory, at its end, and side by side.
    assert_eq!(claim(&client, start, 0x1000, 0), start);
    assert_eq!(claim(&client, 0xff_f000, 0x1000, 0), 0xff_f000);
    assert_eq!(claim(&client, start + 0x1000, 0x1000, 0), start + 0x1000);
    assert_eq!(claim(&client, 0x40_0000, 0x1000, 0), 0x40_0000);
    assert_eq!(claim(&client, 0x40_1000, 0x1000, 0), 0x40_1000);
    let value = available(&client);
    let words: Vec<u64> =
        value.chunks(8).map(|word| u64::from_be_bytes(word.try_into().unwrap())).collect();
    let low = u64::from(start) + 0x2000;
    assert_eq!(words, [low, 0x40_0000 - low, 0x40_2000, 0xff_f000 - 0x40_2000]);
}

// 5. Growth without bound.

#[test]
fn open_and_close_for_ever_cost_nothing() {
    let machine = machine();
    let client = machine.client();
    let mut last = 0;
    for _ in 0..5000 {
        let ihandle = client.one("open", &["/cpus".into()]);
        assert!(ihandle != 0 && ihandle != last);
        client.call("close", &[ihandle.into()], 0);
        last = ihandle;
    }
}

// 6. Handles that change under negotiation: see `services::negotiation_changes_the_tree_and_…`.
// 7. State that migration loses: see `saved::the_next_calls_get_the_same_answers_in_another_process`.

// 8. Lookups that scan the tree. `cargo xtask bench tree` has the figures.

/// A hundred times the nodes, and the same time, or nearly: the shortest of several, taken in turns,
/// is far below ten times, where a scan would take a hundred.
#[test]
fn lookups_do_not_scan_the_tree() {
    let counts = [200, 20_000];
    let machines = counts.map(|count: u32| {
        // Siblings that share units and, but for the manufacturer, names.
        let mut fdt = vm_fdt::FdtWriter::new().unwrap();
        let root = fdt.begin_node("").unwrap();
        fdt.property_phandle(1).unwrap();
        for number in 0..count {
            let manufacturer = if number % 2 == 0 { "x,one" } else { "y,other" };
            let node = fdt.begin_node(&format!("{manufacturer}@{:x}", number / 2)).unwrap();
            fdt.property_phandle(number + 2).unwrap();
            fdt.property_u32("reg", number).unwrap();
            fdt.end_node(node).unwrap();
        }
        fdt.end_node(root).unwrap();
        let tree = DeviceTree::from_blob(&fdt.finish().unwrap()).unwrap();
        TestMachine::new(tree, RAM_BYTES, |builder| builder)
    });
    let lookups = |machine: &TestMachine, count: u32| {
        let client = machine.client();
        let last = count / 2 - 1;
        for (path, phandle) in [
            (format!("/y,other@{last:x}"), count + 1),
            (format!("/other@{last:x}"), count + 1),
            (format!("/one@{last:x}"), count),
            (format!("/@{last:x}"), count),
            ("/other".to_owned(), 3),
        ] {
            assert_eq!(client.finddevice(&path), Some(phandle), "{path}");
        }
        assert_eq!(client.finddevice(&format!("/two@{last:x}")), None);
        let reg = client.getprop(count + 1, "reg").unwrap();
        assert_eq!(reg, (count - 1).to_be_bytes());
        assert_eq!(client.one("parent", &[(count + 1).into()]), 1);
        assert_eq!(client.one("peer", &[count.into()]), count + 1);
    };
    let mut shortest = [Duration::MAX; 2];
    for _ in 0..50 {
        for ((machine, count), shortest) in machines.iter().zip(counts).zip(&mut shortest) {
            let start = Instant::now();
            lookups(machine, count);
            *shortest = start.elapsed().min(*shortest);
        }
    }
    let [few, many] = shortest;
    assert!(many < few * 10, "{few:?}, then {many:?}");
}

// And what is a matter of its semantics.

#[test]
fn open_of_nothing_is_0_and_child_of_nothing_is_none() {
    let machine = machine();
    let client = machine.client();
    assert_eq!(client.one("open", &["/nothing".into()]), 0);
    assert_eq!(client.one("child", &[0xdead_beef.into()]), 0);
}

#[test]
fn paths_with_arguments_aliases_and_zeros_are_found() {
    let machine = machine();
    let client = machine.client();
    let vty = client.finddevice("/vdevice/vty@71000000");
    for path in ["/vdevice/vty@71000000:0", "hvterm", "/vdevice/vty@071000000"] {
        assert_eq!(client.finddevice(path), vty);
    }
}

#[test]
fn arrays_and_names_may_end_where_ram_does() {
    let machine = machine();
    let client = machine.client();
    let end = RAM_BYTES as u32;
    client.poke(0x10_0000, b"peer\0");
    client.poke_cells(end - 20, &[0x10_0000, 1, 1, 0, UNTOUCHED]);
    let outcome = client.call_array(u64::from(end) - 20, 1, 1);
    assert_eq!((outcome.status, outcome.results), (Status::SUCCESS, vec![1]));

    client.poke(end - 5, b"peer\0");
    client.poke_cells(0x10_0000, &[end - 5, 1, 1, 0, UNTOUCHED]);
    assert_eq!(client.call_array(0x10_0000, 1, 1).results, [1]);
}
