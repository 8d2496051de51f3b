//! Reading a disk, for criterion: `cargo bench -p vof-bench`.

use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vof_bench::disk::{DISK_BYTES, PIECES, Rig};

fn disk(criterion: &mut Criterion) {
    let rig = Rig::new(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a file of 256 MiB");
    let mut reader = rig.reader();
    for piece in PIECES {
        let mut group = criterion.benchmark_group(format!("disk, {} KiB at once", piece >> 10));
        group.throughput(Throughput::Bytes(DISK_BYTES)).sample_size(10);
        group.bench_function(BenchmarkId::from_parameter("pread"), |bencher| {
            bencher.iter(|| rig.plain(piece, |_| ()));
        });
        group.bench_function(BenchmarkId::from_parameter("read"), |bencher| {
            bencher.iter(|| reader.read_all(piece, |_| ()));
        });
        group.finish();
    }
}

criterion_group!(benches, disk);
criterion_main!(benches);
