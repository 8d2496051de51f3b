//! Which cores or memory blocks come and go.

use std::collections::BTreeSet;

use arch_ppc64::hotplug::{PlugState, Resource};

/// What is to be done with one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// To be made, and plugged.
    Make(Resource),
    /// The guest is told of it again, or is not asked for it any more.
    Plug(Resource),
    /// The guest is asked for it; or it is taken away, if the guest does not have it.
    Unplug(Resource),
}

/// What makes `wanted` of these, which are all of one kind and in their order. The first `fixed` are
/// never asked for. Those in `tried` were asked for before, to make as many, and did not come.
pub(super) fn plan(
    resources: &[(Resource, PlugState)],
    wanted: usize,
    fixed: usize,
    tried: &BTreeSet<Resource>,
) -> Vec<Step> {
    let of = |wanted: PlugState| {
        let of_state = move |&&(_, state): &&(Resource, PlugState)| state == wanted;
        resources.iter().filter(of_state).map(|&(resource, _)| resource)
    };
    let (absent, offered) = (of(PlugState::Absent), of(PlugState::Offered));
    let (in_use, asked) = (of(PlugState::InUse), of(PlugState::AskedBack));
    let staying = offered.clone().count() + in_use.clone().count();
    if wanted > staying {
        let back = asked.map(Step::Plug);
        return back.chain(absent.map(Step::Make)).take(wanted - staying).collect();
    }
    let can_go = |resource: &Resource| !resources[..fixed].iter().any(|(fix, _)| fix == resource);
    if wanted < staying {
        // Those that did not come are asked last.
        let (again, fresh): (Vec<_>, Vec<_>) =
            in_use.rev().filter(can_go).partition(|resource| tried.contains(resource));
        let first = offered.rev().filter(can_go);
        let all = first.chain(fresh).chain(again);
        return all.take(staying - wanted).map(Step::Unplug).collect();
    }
    // The guest has had its time with what it was asked for: it gets others in their place.
    let mut others = in_use.rev().filter(|other| can_go(other) && !tried.contains(other));
    let mut steps: Vec<_> = offered.map(Step::Plug).collect();
    for resource in asked {
        match others.next() {
            Some(other) => steps.extend([Step::Unplug(other), Step::Plug(resource)]),
            None => steps.push(Step::Unplug(resource)),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use PlugState::{Absent, AskedBack, InUse, Offered};
    use arch_ppc64::CpuIndex;

    fn core(number: u32) -> Resource {
        Resource::core(CpuIndex(number))
    }

    fn planned(states: &[PlugState], wanted: usize, tried: &[u32]) -> Vec<Step> {
        let all: Vec<_> = (0..).map(core).zip(states.iter().copied()).collect();
        let tried = tried.iter().copied().map(core).collect();
        plan(&all, wanted, 1, &tried)
    }

    #[test]
    fn more_is_made_from_the_lowest_on() {
        let states = [InUse, Absent, InUse, Absent, Absent];
        let make = |number| Step::Make(core(number));
        assert_eq!(planned(&states, 2, &[]), []);
        assert_eq!(planned(&states, 4, &[]), [make(1), make(3)]);
        assert_eq!(planned(&states, 5, &[]), [make(1), make(3), make(4)]);
    }

    #[test]
    fn what_was_asked_back_is_kept_before_more_is_made() {
        let states = [InUse, Absent, AskedBack, AskedBack];
        assert_eq!(planned(&states, 2, &[]), [Step::Plug(core(2))]);
        let all = [Step::Plug(core(2)), Step::Plug(core(3)), Step::Make(core(1))];
        assert_eq!(planned(&states, 4, &[]), all);
    }

    #[test]
    fn less_is_asked_for_from_the_highest_on() {
        let states = [InUse, InUse, Offered, InUse, InUse];
        let unplug = |number| Step::Unplug(core(number));
        assert_eq!(planned(&states, 4, &[]), [unplug(2)]);
        assert_eq!(planned(&states, 2, &[]), [unplug(2), unplug(4), unplug(3)]);
        // What did not come is asked for last, and the first not at all.
        assert_eq!(planned(&states, 2, &[4, 1]), [unplug(2), unplug(3), unplug(4)]);
        assert_eq!(planned(&states, 0, &[]).len(), 4);
    }

    #[test]
    fn who_asks_again_asks_for_others() {
        let states = [InUse, InUse, InUse, AskedBack, Offered];
        let (plug, unplug) = (|n| Step::Plug(core(n)), |n| Step::Unplug(core(n)));
        assert_eq!(planned(&states, 4, &[3]), [plug(4), unplug(2), plug(3)]);
        // When all were asked for, for the same.
        assert_eq!(planned(&states, 4, &[1, 2, 3]), [plug(4), unplug(3)]);
    }
}
