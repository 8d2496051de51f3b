//! What the device tree says of hashed page tables in the node of each core (LoPAPR §B.6.2.1).

use super::order::Order;

/// The size of the table: `ibm,pft-size`.
pub(crate) const PFT_SIZE: &str = "ibm,pft-size";

/// The value of [`PFT_SIZE`]: log2 of the number of NUMA nodes that tables are in, which is one, and
/// that of its size in bytes; 0 where there is none.
pub(crate) fn pft_size(order: Option<Order>) -> [u32; 2] {
    [0, order.map_or(0, Order::get)]
}
