//! The memory services, for criterion: `cargo bench -p vof-bench`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vof_bench::claims::{Churn, LIVE};
use vof_bench::{guest, trees};
use vof_device::DeviceTree;

fn claims(criterion: &mut Criterion) {
    let tree = DeviceTree::from_blob(&trees::memory_blob()).expect("the tree is a valid one");
    let machine = guest::machine(tree);
    let mut churn = Churn::new(&machine);
    let mut group = criterion.benchmark_group(format!("{LIVE} live claims"));
    group.throughput(Throughput::Elements(2));
    group.bench_function("release and claim", |bencher| bencher.iter(|| churn.turn()));
    group.throughput(Throughput::Elements(1));
    let name = churn.client().text("available");
    group.bench_function("getprop of available", |bencher| {
        bencher.iter(|| churn.client().available(trees::phandle(1), name));
    });
    group.finish();
}

criterion_group!(benches, claims);
criterion_main!(benches);
