//! Reads the headers of ELF files, and refuses everything that cannot be started.

use object::Endianness;
use object::elf::{
    ELFCLASS32, ELFCLASS64, ELFMAG, EM_PPC, EM_PPC64, ET_DYN, ET_EXEC, FileHeader32, FileHeader64,
    PT_INTERP, PT_LOAD,
};
use object::pod::{Pod, bytes_of_slice_mut, slice_from_bytes};
use object::read::elf::{FileHeader, ProgramHeader};

use super::error::MAX_PROGRAM_HEADERS;
use super::{Client, ClientKind, LoadError, Part, Segment, Source};

/// Where EI_CLASS is.
const CLASS_OFFSET: usize = 4;

/// Where the virtual addresses of Linux kernels begin.
const KERNEL_REGION: u64 = 0xc000_0000_0000_0000;

/// How compressed kernels begin.
const COMPRESSED: [(&[u8], &str); 6] = [
    (&[0x1f, 0x8b], "gzip"),
    (b"BZh", "bzip2"),
    (&[0xfd, b'7', b'z', b'X'], "xz"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (&[0x02, 0x21, 0x4c, 0x18], "lz4"),
    (&[0x89, b'L', b'Z', b'O'], "lzop"),
];

/// Reads the headers, and nothing else. Each is in the file before it is read, and what is read is
/// all that is looked at: the file may change meanwhile.
pub(super) fn parse(source: &dyn Source) -> Result<Client<'_>, LoadError> {
    let file = Headers { source, file_bytes: Part::Program.size_bytes(source)? };
    let begin: Vec<u8> = file.read(0, file.file_bytes.min(1 + CLASS_OFFSET as u64) as usize)?;
    if begin.is_empty() {
        return Err(LoadError::Empty);
    }
    if let Some((_, format)) = COMPRESSED.iter().find(|(magic, _)| begin.starts_with(magic)) {
        return Err(LoadError::Compressed { format });
    }
    if !begin.starts_with(&ELFMAG) {
        return Err(LoadError::NotElf {
            found: begin.iter().take(ELFMAG.len()).copied().collect(),
        });
    }
    match begin.get(CLASS_OFFSET).copied() {
        Some(ELFCLASS32) => parse_class::<FileHeader32<Endianness>>(&file),
        Some(ELFCLASS64) => parse_class::<FileHeader64<Endianness>>(&file),
        class => Err(LoadError::Class { class: class.unwrap_or(0) }),
    }
}

/// The headers of a file.
struct Headers<'a> {
    source: &'a dyn Source,
    file_bytes: u64,
}

impl Headers<'_> {
    /// `count` structures that lie one after the other.
    fn read<T: Pod>(&self, offset: u64, count: usize) -> Result<Vec<T>, LoadError> {
        let bytes = count * size_of::<T>();
        if offset.checked_add(bytes as u64).is_none_or(|end| end > self.file_bytes) {
            return Err(LoadError::Headers);
        }
        // Whole words, for the alignment that the structures may want.
        let mut words = vec![0_u64; bytes.div_ceil(size_of::<u64>())];
        let read = bytes_of_slice_mut(&mut words).get_mut(..bytes).unwrap_or_default();
        Part::Program.read_bytes(self.source, offset, read)?;
        let (structures, _) = slice_from_bytes(read, count).map_err(|()| LoadError::Headers)?;
        Ok(structures.to_vec())
    }
}

fn parse_class<'a, H>(file: &Headers<'a>) -> Result<Client<'a>, LoadError>
where
    H: FileHeader<Endian = Endianness>,
{
    let header: Vec<H> = file.read(0, 1)?;
    let header = header.first().filter(|header| header.is_supported()).ok_or(LoadError::Headers)?;
    let endian = header.endian().map_err(|_| LoadError::Headers)?;
    let little_endian = endian == Endianness::Little;
    let is_64bit = match (header.is_class_64(), header.e_machine(endian)) {
        (true, EM_PPC64) => true,
        (false, EM_PPC) if little_endian => return Err(LoadError::LittleEndian32),
        (false, EM_PPC) => false,
        (is_64, machine) => {
            return Err(LoadError::Machine { machine, bits: if is_64 { 64 } else { 32 } });
        }
    };
    match header.e_type(endian) {
        ET_EXEC | ET_DYN => {}
        other => return Err(LoadError::NotProgram { kind: other }),
    }
    let mut segments = Vec::new();
    let mut is_real = true;
    let mut entry = None;
    let linked_entry = header.e_entry(endian).into();
    for (index, segment) in program_headers(file, header, endian)?.iter().enumerate() {
        match segment.p_type(endian) {
            PT_LOAD => {}
            PT_INTERP => return Err(LoadError::Interpreter),
            _ => continue,
        }
        let loaded = loadable(file.file_bytes, index, segment, endian)?;
        // The entry point is a virtual address, the segments go by their physical ones.
        let offset = linked_entry.checked_sub(segment.p_vaddr(endian).into());
        if let Some(offset) = offset.filter(|offset| *offset < loaded.bytes) {
            entry.get_or_insert(loaded.start + offset);
        }
        // An empty segment takes no part in the layout.
        if loaded.bytes != 0 {
            is_real &= segment.p_vaddr(endian).into() == loaded.start;
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
    let start = segments.first().map_or(0, |segment| segment.start);
    let kind = match is_64bit {
        false => ClientKind::Program,
        true if is_real && (1..KERNEL_REGION).contains(&start) => {
            ClientKind::Program64 { little_endian }
        }
        true => ClientKind::Kernel { little_endian },
    };
    Ok(Client { source: file.source, kind, segments, entry })
}

fn program_headers<H: FileHeader<Endian = Endianness>>(
    file: &Headers<'_>,
    header: &H,
    endian: Endianness,
) -> Result<Vec<H::ProgramHeader>, LoadError> {
    let offset: u64 = header.e_phoff(endian).into();
    let count = usize::from(header.e_phnum(endian));
    if offset == 0 || count == 0 {
        return Err(LoadError::NoSegments);
    }
    if usize::from(header.e_phentsize(endian)) != size_of::<H::ProgramHeader>() {
        return Err(LoadError::Headers);
    }
    if count > MAX_PROGRAM_HEADERS {
        return Err(LoadError::TooManySegments { count });
    }
    file.read(offset, count)
}

fn loadable<P: ProgramHeader<Endian = Endianness>>(
    whole_bytes: u64,
    index: usize,
    header: &P,
    endian: Endianness,
) -> Result<Segment, LoadError> {
    let start: u64 = header.p_paddr(endian).into();
    let memory_bytes: u64 = header.p_memsz(endian).into();
    let file_bytes: u64 = header.p_filesz(endian).into();
    let offset: u64 = header.p_offset(endian).into();
    if file_bytes > memory_bytes {
        return Err(LoadError::SegmentSizes { index, file_bytes, memory_bytes });
    }
    if offset.checked_add(file_bytes).is_none_or(|end| end > whole_bytes) {
        return Err(LoadError::SegmentOutsideFile {
            index,
            offset,
            bytes: file_bytes,
            file_bytes: whole_bytes,
        });
    }
    if start.checked_add(memory_bytes).is_none() {
        return Err(LoadError::SegmentWraps { index, start, bytes: memory_bytes });
    }
    Ok(Segment { start, bytes: memory_bytes, offset, file_bytes })
}
