//! The same services over the flat blob by libfdt, as a firmware without a tree of its own makes
//! them: every handle is looked up in the blob.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use crate::walk::{ClientInterface, Name};

#[link(name = "fdt")]
unsafe extern "C" {
    fn fdt_check_full(fdt: *const c_void, bytes: usize) -> c_int;
    fn fdt_node_offset_by_phandle(fdt: *const c_void, phandle: u32) -> c_int;
    fn fdt_get_phandle(fdt: *const c_void, node: c_int) -> u32;
    fn fdt_first_subnode(fdt: *const c_void, node: c_int) -> c_int;
    fn fdt_next_subnode(fdt: *const c_void, node: c_int) -> c_int;
    fn fdt_first_property_offset(fdt: *const c_void, node: c_int) -> c_int;
    fn fdt_next_property_offset(fdt: *const c_void, property: c_int) -> c_int;
    fn fdt_getprop_by_offset(
        fdt: *const c_void,
        property: c_int,
        name: *mut *const c_char,
        len: *mut c_int,
    ) -> *const c_void;
    fn fdt_getprop(
        fdt: *const c_void,
        node: c_int,
        name: *const c_char,
        len: *mut c_int,
    ) -> *const c_void;
    fn fdt_get_path(fdt: *const c_void, node: c_int, path: *mut c_char, room: c_int) -> c_int;
}

const NAME: &CStr = c"name";
const NAME_BYTES: usize = 64;
const NONE: u32 = u32::MAX;

/// A blob that libfdt has checked, and the buffers of a client.
#[derive(Debug)]
pub struct Libfdt {
    blob: Vec<u64>,
    names: [[u8; NAME_BYTES]; 2],
    buffer: Vec<u8>,
}

impl Libfdt {
    /// # Panics
    /// If libfdt finds something wrong with the blob.
    pub fn new(blob: &[u8]) -> Self {
        // The format's alignment is 8 bytes.
        let mut aligned = vec![0_u64; blob.len().div_ceil(8)];
        for (place, bytes) in aligned.iter_mut().zip(blob.chunks(8)) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            *place = u64::from_ne_bytes(word);
        }
        // SAFETY: there are so many bytes.
        let verdict = unsafe { fdt_check_full(aligned.as_ptr().cast(), blob.len()) };
        assert_eq!(verdict, 0, "libfdt refuses the tree");
        Self { blob: aligned, names: [[0; NAME_BYTES]; 2], buffer: vec![0; 0x1_0000] }
    }

    /// getprop of the property of that name.
    pub fn getprop(&mut self, node: u32, name: &CStr, room: u32) -> u32 {
        let mut len = 0;
        let Some(node) = self.node(node) else { return NONE };
        // SAFETY: libfdt has checked the blob and gave the node's offset; the name ends.
        let value = unsafe { fdt_getprop(self.fdt(), node, name.as_ptr(), &raw mut len) };
        if value.is_null() {
            return NONE;
        }
        let copied = (len as usize).min(room as usize).min(self.buffer.len());
        // SAFETY: the value has `len` bytes, the buffer has room for what is copied of them.
        unsafe { ptr::copy_nonoverlapping(value.cast(), self.buffer.as_mut_ptr(), copied) };
        len as u32
    }

    fn fdt(&self) -> *const c_void {
        self.blob.as_ptr().cast()
    }

    fn node(&self, phandle: u32) -> Option<c_int> {
        // SAFETY: libfdt has checked the blob.
        let node = unsafe { fdt_node_offset_by_phandle(self.fdt(), phandle) };
        (node >= 0).then_some(node)
    }

    fn phandle(&self, node: c_int) -> u32 {
        // SAFETY: libfdt has checked the blob and gave the node's offset.
        if node < 0 { 0 } else { unsafe { fdt_get_phandle(self.fdt(), node) } }
    }

    fn name(&self, name: Name) -> &CStr {
        CStr::from_bytes_until_nul(&self.names[name as usize]).unwrap_or_default()
    }

    fn name_of_property(&self, property: c_int) -> &CStr {
        let (mut name, mut len) = (ptr::null(), 0);
        // SAFETY: libfdt has checked the blob and gave the property's offset; what it gives is a
        // text in the blob.
        unsafe {
            fdt_getprop_by_offset(self.fdt(), property, &raw mut name, &raw mut len);
            if name.is_null() { c"" } else { CStr::from_ptr(name) }
        }
    }
}

impl ClientInterface for Libfdt {
    fn child(&mut self, node: u32) -> u32 {
        // SAFETY: libfdt has checked the blob and gave the node's offset.
        self.node(node).map_or(0, |n| self.phandle(unsafe { fdt_first_subnode(self.fdt(), n) }))
    }

    fn peer(&mut self, node: u32) -> u32 {
        // SAFETY: libfdt has checked the blob and gave the node's offset.
        self.node(node).map_or(0, |n| self.phandle(unsafe { fdt_next_subnode(self.fdt(), n) }))
    }

    /// Shows a `name` as the last property, as a client expects.
    fn next_property(&mut self, node: u32, previous: Option<Name>, next: Name) -> u32 {
        let Some(node) = self.node(node) else { return NONE };
        let previous = previous.map(|previous| self.name(previous));
        if previous == Some(NAME) {
            return 0;
        }
        // SAFETY: libfdt has checked the blob and gave the node's offset.
        let mut property = unsafe { fdt_first_property_offset(self.fdt(), node) };
        let mut is_due = previous.is_none();
        while property >= 0 && !is_due {
            is_due = previous == Some(self.name_of_property(property));
            // SAFETY: as above.
            property = unsafe { fdt_next_property_offset(self.fdt(), property) };
        }
        if !is_due {
            return NONE;
        }
        let name = if property >= 0 { self.name_of_property(property) } else { NAME };
        let mut text = [0; NAME_BYTES];
        let bytes = name.to_bytes_with_nul();
        text[..bytes.len()].copy_from_slice(bytes);
        self.names[next as usize] = text;
        1
    }

    fn property_length(&mut self, node: u32, name: Name) -> u32 {
        let mut len = 0;
        let Some(node) = self.node(node) else { return NONE };
        let name = self.name(name).as_ptr();
        // SAFETY: libfdt has checked the blob and gave the node's offset; the name ends.
        let value = unsafe { fdt_getprop(self.fdt(), node, name, &raw mut len) };
        if value.is_null() { NONE } else { len as u32 }
    }

    fn property(&mut self, node: u32, name: Name, room: u32) -> u32 {
        let name = self.names[name as usize];
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        self.getprop(node, name, room)
    }

    fn path(&mut self, node: u32, room: u32) -> u32 {
        let Some(node) = self.node(node) else { return NONE };
        let room = (room as usize).min(self.buffer.len()) as c_int;
        let path = self.buffer.as_mut_ptr().cast();
        // SAFETY: libfdt has checked the blob and gave the node's offset; the buffer has room.
        if unsafe { fdt_get_path(self.fdt(), node, path, room) } != 0 {
            return NONE;
        }
        self.buffer.iter().position(|&byte| byte == 0).map_or(NONE, |len| len as u32)
    }

    fn is_name(&self, name: Name) -> bool {
        self.name(name) == NAME
    }
}
