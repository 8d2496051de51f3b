//! The services of the device tree, for criterion: `cargo bench -p vof-bench`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vof_bench::guest::{self, Client};
use vof_bench::measure::Laps;
use vof_bench::random::Random;
use vof_bench::walk::walk;
use vof_bench::{suite, trees};
use vof_device::DeviceTree;

/// As many calls as there are elements of a run that asks at random.
const PICKS: usize = 1_000;

fn tree(criterion: &mut Criterion) {
    for nodes in suite::SIZES {
        let blob = trees::blob(nodes);
        let tree = DeviceTree::from_blob(&blob).expect("the tree is a valid one");
        let machine = guest::machine(tree);
        let mut client = Client::new(&machine);
        let root = trees::phandle(0);
        let calls = walk(&mut client, root, &mut Laps::default()).calls;

        let mut group = criterion.benchmark_group("walk");
        group.throughput(Throughput::Elements(calls)).sample_size(10);
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            bencher.iter(|| walk(&mut client, root, &mut Laps::default()));
        });
        group.finish();

        let names = trees::NAMES.map(|name| client.text(name));
        let mut random = Random::default();
        let mut group = criterion.benchmark_group("random getprop");
        group.throughput(Throughput::Elements(PICKS as u64));
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            bencher.iter(|| {
                for _ in 0..PICKS {
                    let node = trees::phandle(random.below(nodes as u32) as usize);
                    let name = names[random.below(names.len() as u32) as usize];
                    black_box(client.getprop_all(node, name));
                }
            });
        });
        group.finish();

        let mut group = criterion.benchmark_group("blob to tree to blob");
        group.throughput(Throughput::Elements(nodes as u64)).sample_size(10);
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            bencher.iter(|| DeviceTree::from_blob(black_box(&blob)).map(|tree| tree.to_blob()));
        });
        group.finish();
    }
}

criterion_group!(benches, tree);
criterion_main!(benches);
