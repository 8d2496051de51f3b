//! Reads the headers of ELF files, and refuses everything that cannot be started.

use object::Endianness;
use object::elf::{
    ELFCLASS32, ELFCLASS64, ELFMAG, EM_PPC, EM_PPC64, ET_DYN, ET_EXEC, FileHeader32, FileHeader64,
    PT_INTERP, PT_LOAD,
};
use object::read::elf::{FileHeader, ProgramHeader};

use super::{Client, ClientKind, LoadError, Segment};

/// Where EI_CLASS is.
const CLASS_OFFSET: usize = 4;

/// How compressed kernels begin.
const COMPRESSED: [(&[u8], &str); 6] = [
    (&[0x1f, 0x8b], "gzip"),
    (b"BZh", "bzip2"),
    (&[0xfd, b'7', b'z', b'X'], "xz"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (&[0x02, 0x21, 0x4c, 0x18], "lz4"),
    (&[0x89, b'L', b'Z', b'O'], "lzop"),
];

pub(super) fn parse(file: &[u8]) -> Result<Client<'_>, LoadError> {
    if file.is_empty() {
        return Err(LoadError::Empty);
    }
    if let Some((_, format)) = COMPRESSED.iter().find(|(magic, _)| file.starts_with(magic)) {
        return Err(LoadError::Compressed { format });
    }
    if !file.starts_with(&ELFMAG) {
        return Err(LoadError::NotElf { found: file.iter().take(ELFMAG.len()).copied().collect() });
    }
    let mut copy = Vec::new();
    let headers = aligned(file, &mut copy);
    match file.get(CLASS_OFFSET).copied() {
        Some(ELFCLASS32) => parse_class::<FileHeader32<Endianness>>(file, headers),
        Some(ELFCLASS64) => parse_class::<FileHeader64<Endianness>>(file, headers),
        class => Err(LoadError::Class { class: class.unwrap_or(0) }),
    }
}

/// `file`, or a copy of it where its alignment is not what `object` reads headers at.
fn aligned<'a>(file: &'a [u8], copy: &'a mut Vec<u64>) -> &'a [u8] {
    if file.as_ptr().addr() % align_of::<u64>() == 0 {
        return file;
    }
    copy.resize(file.len().div_ceil(size_of::<u64>()), 0);
    let copy = object::pod::bytes_of_slice_mut(copy);
    // The copy is at least as long.
    for (to, from) in copy.iter_mut().zip(file) {
        *to = *from;
    }
    copy.get(..file.len()).unwrap_or_default()
}

/// `headers` has the same contents as `file`.
fn parse_class<'a, H: FileHeader<Endian = Endianness>>(
    file: &'a [u8],
    headers: &[u8],
) -> Result<Client<'a>, LoadError> {
    let header = H::parse(headers)?;
    let endian = header.endian()?;
    let little_endian = endian == Endianness::Little;
    let kind = match (header.is_class_64(), header.e_machine(endian)) {
        (true, EM_PPC64) => ClientKind::Kernel { little_endian },
        (false, EM_PPC) if little_endian => return Err(LoadError::LittleEndian32),
        (false, EM_PPC) => ClientKind::Program,
        (is_64, machine) => {
            return Err(LoadError::Machine { machine, bits: if is_64 { 64 } else { 32 } });
        }
    };
    match header.e_type(endian) {
        ET_EXEC | ET_DYN => {}
        other => return Err(LoadError::NotProgram { kind: other }),
    }
    let mut segments = Vec::new();
    let mut entry = None;
    let linked_entry = header.e_entry(endian).into();
    for (index, segment) in header.program_headers(endian, headers)?.iter().enumerate() {
        match segment.p_type(endian) {
            PT_LOAD => {}
            PT_INTERP => return Err(LoadError::Interpreter),
            _ => continue,
        }
        let loaded = loadable(file, index, segment, endian)?;
        // The entry point is a virtual address, the segments go by their physical ones.
        let offset = linked_entry.checked_sub(segment.p_vaddr(endian).into());
        if let Some(offset) = offset.filter(|offset| *offset < loaded.bytes) {
            entry.get_or_insert(loaded.start + offset);
        }
        // An empty segment takes no part in the layout.
        if loaded.bytes != 0 {
            segments.push(loaded);
        }
    }
    if segments.is_empty() {
        return Err(LoadError::NoSegments);
    }
    segments.sort_by_key(|segment| segment.start);
    for (lower, upper) in segments.iter().zip(segments.iter().skip(1)) {
        if lower.range().end > upper.start {
            return Err(LoadError::SegmentsOverlap { at: upper.start });
        }
    }
    let entry = entry.ok_or(LoadError::EntryOutside { entry: linked_entry })?;
    Ok(Client { kind, segments, entry })
}

fn loadable<'a, P: ProgramHeader<Endian = Endianness>>(
    file: &'a [u8],
    index: usize,
    header: &P,
    endian: Endianness,
) -> Result<Segment<'a>, LoadError> {
    let start: u64 = header.p_paddr(endian).into();
    let memory_bytes: u64 = header.p_memsz(endian).into();
    let file_bytes: u64 = header.p_filesz(endian).into();
    let offset: u64 = header.p_offset(endian).into();
    if file_bytes > memory_bytes {
        return Err(LoadError::SegmentSizes { index, file_bytes, memory_bytes });
    }
    let range = usize::try_from(offset).ok().zip(usize::try_from(file_bytes).ok());
    let data = range
        .and_then(|(offset, bytes)| file.get(offset..offset.checked_add(bytes)?))
        .ok_or(LoadError::SegmentOutsideFile {
            index,
            offset,
            bytes: file_bytes,
            file_bytes: file.len() as u64,
        })?;
    if start.checked_add(memory_bytes).is_none() {
        return Err(LoadError::SegmentWraps { index, start, bytes: memory_bytes });
    }
    Ok(Segment { start, bytes: memory_bytes, data })
}
