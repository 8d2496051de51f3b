//! Threads of a core, as hosts can have them.

use arch_ppc64::topology::CpuTopology;

/// Checks CPUs against what a host says: the most there can be, and a bit n for each 2^n interrupt
/// servers a core can have (KVM_CAP_PPC_SMT_POSSIBLE). What is wrong, in words.
///
/// On POWER9 and later that is any power of two up to 8, whatever the processor has: each thread runs
/// on a core of its own, and the kernel does for guests what siblings do (`msgsndp`). A kernel that
/// does not know the question can have one.
pub(crate) fn check(topology: &CpuTopology, most: i32, modes: i32) -> Result<(), String> {
    let cpus = topology.cpus();
    if most > 0 && cpus > most.unsigned_abs() {
        return Err(format!("KVM of this host can have {most} CPUs in a machine, not {cpus}"));
    }
    let modes = if modes > 0 { modes.unsigned_abs() } else { 1 };
    let servers = topology.servers_per_core();
    if servers.is_power_of_two() && modes >> servers.trailing_zeros() & 1 != 0 {
        return Ok(());
    }
    let possible: Vec<String> = (0..u32::BITS)
        .filter(|bit| modes >> bit & 1 != 0)
        .map(|bit| (1_u64 << bit).to_string())
        .collect();
    Err(format!(
        "KVM of this host cannot have {servers} threads a core; it can have {}",
        possible.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_say_what_they_can() {
        let cpus = |threads| CpuTopology::new(64).with_threads(threads, threads).unwrap();
        for threads in [1, 2, 4, 8] {
            assert_eq!(check(&cpus(threads), 2048, 0b1111), Ok(()));
        }
        let said = check(&cpus(8), 2048, 0b101).unwrap_err();
        assert!(said.contains("8 threads a core") && said.ends_with("can have 1, 4"), "{said}");
        // It knows nothing of them.
        assert_eq!(check(&cpus(1), 0, 0), Ok(()));
        assert!(check(&cpus(2), 0, 0).unwrap_err().ends_with("can have 1"));
        let said = check(&cpus(1), 63, 0b1111).unwrap_err();
        assert!(said.contains("can have 63 CPUs") && said.contains("not 64"), "{said}");
        // It is the numbers of servers that count.
        let sparse = CpuTopology::new(64).with_threads(1, 8).unwrap();
        assert!(check(&sparse, 2048, 0b0111).is_err());
    }
}
