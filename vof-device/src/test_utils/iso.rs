//! ISO 9660 file systems, made for tests: what a reader needs, without tables of paths.

use std::collections::BTreeMap;

const SECTOR: usize = 2048;
/// The sector of the first descriptor.
const DESCRIPTORS: usize = 16;

/// How a file system is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewIso {
    /// Whether names are there as Rock Ridge has them, too.
    pub rock_ridge: bool,
    /// Whether names are there as Joliet has them, too, in up to 100 letters.
    pub joliet: bool,
    /// The longest section of a file, in bytes: a multiple of 2048, or 0 for one section each.
    pub section_bytes: usize,
}

impl NewIso {
    /// A file system with these files: their paths, with slashes between names, and what is in
    /// them. Where two have the same path, or one is in another, the later one is there.
    pub fn image(self, files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut nodes = Directory::new();
        for (path, content) in files {
            add(&mut nodes, path, content);
        }
        let mut image = Image { sectors: vec![0; (DESCRIPTORS + 3) * SECTOR], options: self };
        let root = image.directory(&nodes, Names::Plain);
        image.descriptor(0, 1, &root.record(&[0]));
        image.descriptor(1, 255, &[]);
        if self.joliet {
            let root = image.directory(&nodes, Names::Joliet);
            image.descriptor(1, 2, &root.record(&[0]));
            image.descriptor(2, 255, &[]);
        }
        image.sectors
    }
}

type Directory = BTreeMap<String, Node>;

#[derive(Debug, Clone)]
enum Node {
    Directory(Directory),
    File(Vec<u8>),
}

fn add(directory: &mut Directory, path: &str, content: &[u8]) {
    match path.split_once('/') {
        None => {
            directory.insert(path.to_owned(), Node::File(content.to_vec()));
        }
        Some((name, rest)) => {
            let node = directory.entry(name.to_owned()).or_insert(Node::File(Vec::new()));
            if matches!(node, Node::File(_)) {
                *node = Node::Directory(Directory::new());
            }
            if let Node::Directory(directory) = node {
                add(directory, rest, content);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Plain,
    Joliet,
}

/// Where something is.
#[derive(Clone, Copy)]
struct Place {
    sector: usize,
    bytes: usize,
    flags: u8,
}

impl Place {
    /// A record of a directory, without what the system uses (ECMA-119 §9.1).
    fn record(&self, id: &[u8]) -> Vec<u8> {
        let mut record = vec![0, 0];
        for number in [self.sector as u32, self.bytes as u32] {
            record.extend(number.to_le_bytes());
            record.extend(number.to_be_bytes());
        }
        record.extend([0; 7]);
        record.extend([self.flags, 0, 0, 1, 0, 0, 1, id.len() as u8]);
        record.extend(id);
        if record.len() % 2 == 1 {
            record.push(0);
        }
        record[0] = record.len() as u8;
        record
    }
}

struct Image {
    sectors: Vec<u8>,
    options: NewIso,
}

impl Image {
    fn descriptor(&mut self, index: usize, kind: u8, root: &[u8]) {
        let sector = &mut self.sectors[(DESCRIPTORS + index) * SECTOR..][..SECTOR];
        sector.fill(0);
        sector[0] = kind;
        sector[1..7].copy_from_slice(b"CD001\x01");
        if kind == 2 {
            sector[88..91].copy_from_slice(b"%/E");
        }
        sector[128..132].copy_from_slice(&[0, 8, 8, 0]);
        sector[156..][..root.len()].copy_from_slice(root);
    }

    /// Adds this behind all others, on sectors of its own.
    fn append(&mut self, bytes: &[u8]) -> Place {
        let sector = self.sectors.len() / SECTOR;
        self.sectors.extend(bytes);
        self.sectors.resize(self.sectors.len().next_multiple_of(SECTOR), 0);
        Place { sector, bytes: bytes.len(), flags: 0 }
    }

    /// Writes what is in a directory, and then the directory.
    fn directory(&mut self, nodes: &Directory, names: Names) -> Place {
        let has_rock_ridge = self.options.rock_ridge && names == Names::Plain;
        // Itself and the one above it, of which nobody asks where they are.
        let nowhere = Place { sector: 0, bytes: 0, flags: 2 };
        let mut own = nowhere.record(&[0]);
        if has_rock_ridge {
            own.extend(b"SP\x07\x01\xbe\xef\x00\x00");
            own[0] = own.len() as u8;
        }
        let mut records = vec![own, nowhere.record(&[1])];
        for (index, (name, node)) in nodes.iter().enumerate() {
            let (places, version) = match node {
                Node::Directory(nodes) => (vec![self.directory(nodes, names)], ""),
                Node::File(content) => (self.sections(content), ";1"),
            };
            let id = match names {
                Names::Joliet => format!("{name:.100}{version}")
                    .encode_utf16()
                    .flat_map(u16::to_be_bytes)
                    .collect(),
                Names::Plain => level_1(name, version, index).into_bytes(),
            };
            for place in places {
                let mut record = place.record(&id);
                if has_rock_ridge {
                    record.extend(self.rock_ridge(name, 254 - record.len()));
                    record[0] = record.len() as u8;
                }
                records.push(record);
            }
        }
        let mut bytes = Vec::new();
        for record in records {
            let rest = SECTOR - bytes.len() % SECTOR;
            if record.len() > rest {
                bytes.resize(bytes.len() + rest, 0);
            }
            bytes.extend(record);
        }
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        Place { flags: 2, ..self.append(&bytes) }
    }

    fn sections(&mut self, content: &[u8]) -> Vec<Place> {
        let section_bytes = match self.options.section_bytes {
            0 => usize::MAX,
            bytes => bytes,
        };
        let mut places: Vec<_> = content
            .chunks(section_bytes)
            .map(|it| {
                // So that sections are apart.
                self.append(&[0xee]);
                Place { flags: 0x80, ..self.append(it) }
            })
            .collect();
        if places.is_empty() {
            places.push(self.append(&[]));
        }
        if let Some(last) = places.last_mut() {
            last.flags = 0;
        }
        places
    }

    /// The name as Rock Ridge has it, in so many bytes, and the rest elsewhere.
    fn rock_ridge(&mut self, name: &str, room: usize) -> Vec<u8> {
        let entry =
            |name: &[u8], flags| [&[b'N', b'M', name.len() as u8 + 5, 1, flags], name].concat();
        let mut area = match name.len() + 5 <= room {
            true => entry(name.as_bytes(), 0),
            false => {
                // Some of it here, the rest where the other entry says.
                let (here, there) = name.as_bytes().split_at(room - 28 - 5);
                let there = self.append(&entry(there, 0));
                let mut area = entry(here, 1);
                area.extend(b"CE\x1c\x01");
                for number in [there.sector as u32, 0, there.bytes as u32] {
                    area.extend(number.to_le_bytes());
                    area.extend(number.to_be_bytes());
                }
                area
            }
        };
        if area.len() % 2 == 1 && area.len() < room {
            area.push(0);
        }
        area
    }
}

/// A name of eight and three letters (ECMA-119 §7.5), with the number of the file where letters are
/// left out.
fn level_1(name: &str, version: &str, index: usize) -> String {
    let upper = name.to_ascii_uppercase();
    let letter = |it: char| if it.is_ascii_uppercase() || it.is_ascii_digit() { it } else { '_' };
    let (base, extension) = upper.rsplit_once('.').unwrap_or((&upper, ""));
    let is_short = base.chars().count() <= 8 && extension.chars().count() <= 3;
    let is_plain = base.chars().chain(extension.chars()).all(|it| it == letter(it));
    let base: String = match is_short && is_plain {
        true => base.to_owned(),
        false => format!("{:.4}{index:04}", base.chars().map(letter).collect::<String>()),
    };
    let extension: String = extension.chars().map(letter).take(3).collect();
    match version {
        "" if extension.is_empty() => base,
        _ => format!("{base}.{extension}{version}"),
    }
}
