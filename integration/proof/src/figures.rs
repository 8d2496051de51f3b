//! What was measured, by name.

/// Figures, in the order in which their names came.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<(&'static str, Vec<f64>)>);

impl Figures {
    pub(crate) fn add(&mut self, name: &'static str, value: f64) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => self.0.push((name, vec![value])),
        }
    }

    /// Prints a line for each: the median, the least, the most, and how many there are.
    pub(crate) fn print(&self) {
        for (name, values) in &self.0 {
            let (median, least, most) = summary(values);
            let count = values.len();
            println!("FIGURE {name}: {median:.1} ({least:.1} - {most:.1}, {count} times)");
        }
    }
}

fn summary(values: &[f64]) -> (f64, f64, f64) {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_summed_up_by_name() {
        let mut figures = Figures::default();
        for (name, value) in [("a", 3.0), ("b", 9.0), ("a", 1.0), ("a", 2.0)] {
            figures.add(name, value);
        }
        let [(a, of_a), (b, of_b)] = &figures.0[..] else { panic!("not two names") };
        assert_eq!((*a, summary(of_a)), ("a", (2.0, 1.0, 3.0)));
        assert_eq!((*b, summary(of_b)), ("b", (9.0, 9.0, 9.0)));
    }
}
