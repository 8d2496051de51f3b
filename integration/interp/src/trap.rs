//! Why an instruction does not complete, or is not followed by the next one.

/// What ends the straight run of instructions.
///
/// Without fields, so that a result is returned in registers; what belongs to it is in
/// [`crate::state::State`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trap {
    /// Data storage interrupt: `fault_address` and `fault_dsisr` tell why.
    DataStorage,
    /// Data segment interrupt at `fault_address`.
    DataSegment,
    /// Instruction storage interrupt: `fault_dsisr` holds the bits for SRR1.
    InstructionStorage,
    /// Instruction segment interrupt.
    InstructionSegment,
    /// Alignment interrupt at `fault_address`.
    Alignment,
    /// Program interrupt: illegal instruction.
    Illegal,
    /// Program interrupt: privileged instruction in problem state.
    Privileged,
    /// Program interrupt: the condition of a trap instruction.
    Condition,
    /// Program interrupt: an enabled floating-point exception.
    Float,
    /// MSR.FP is 0.
    FpUnavailable,
    /// MSR.VEC is 0.
    VmxUnavailable,
    /// MSR.VSX is 0.
    VsxUnavailable,
    /// FSCR does not have the facility whose code is in `fault_dsisr`.
    FacilityUnavailable,
    /// `sc`; `pc` is already the next instruction.
    SystemCall,
    /// `scv` of the level in `fault_dsisr`; `pc` is already the next instruction.
    SystemCallVectored,
    /// `sc 1`; `pc` is already the next instruction.
    Hypercall,
    /// An access outside RAM, described in `device`.
    Mmio,
    /// An instruction of the architecture that this processor should have and this core has not.
    Unimplemented,
    /// No interrupt: what the core keeps for speed has to be looked at anew. `pc` is already
    /// where to go on.
    Resync,
}
