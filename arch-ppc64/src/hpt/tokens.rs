//! Which hypercalls are about hashed page tables.

use crate::hypercall::token;

/// The hypercalls about a hashed page table.
pub const TOKENS: [u64; 10] = [
    token::REMOVE,
    token::ENTER,
    token::READ,
    token::CLEAR_MOD,
    token::CLEAR_REF,
    token::PROTECT,
    token::BULK_REMOVE,
    token::CLEAR_HPT,
    token::RESIZE_HPT_PREPARE,
    token::RESIZE_HPT_COMMIT,
];

/// The sets that they make (`ibm,hypertas-functions`, LoPAPR table 171), whoever answers them.
pub const FUNCTION_SETS: [&str; 3] = ["hcall-pft", "hcall-bulk", "hcall-hpt-resize"];
