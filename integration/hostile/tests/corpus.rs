//! The inputs that fuzzers start from: nothing breaks, and together they reach every goal.

use std::path::Path;

use hostile::{Reach, TARGETS};

#[test]
fn inputs_in_the_tree_reach_every_goal() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for target in TARGETS {
        let folder = corpus.join(target.name);
        let mut reach = Reach::NONE;
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            // Its name is shown, as the output of a test that fails is.
            println!("{}", path.display());
            reach = reach.or((target.run)(&input));
        }
        let goals = (target.goals)();
        let is_missed = |(number, goal): &(usize, &String)| {
            !reach.has(*number) && !target.beyond.contains(&goal.as_str())
        };
        let missed: Vec<_> = goals.iter().enumerate().filter(is_missed).map(|it| it.1).collect();
        assert!(
            missed.is_empty(),
            "no input of {0} reaches {missed:?}; let it be found and kept:\n  \
             cargo xtask fuzz {0} && cargo xtask fuzz {0} --minimise",
            target.name
        );
        for beyond in target.beyond {
            assert!(goals.iter().any(|goal| goal == beyond), "{beyond} is no goal");
        }
    }
}
