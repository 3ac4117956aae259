//! The cheapest hours over several places, for a task that may be interrupted and goes on elsewhere from its checkpoint.
//!
//! [`decide`](super::decide::decide) plans the whole run on one peer, which is right where hours at one place are
//! enough. Where peers give hours of a day only, no place has all the cheap ones.
// spec: PLACE-6

use super::hours::HORIZON;

/// What a running task's next hour is cheaper by, in thousandths, so that equal hours do not flap.
const STAY: u64 = 5;

/// A place as the plan sees it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Expected mg CO2/kWh by the hour, from now on; what it does not reach cannot be used.
    pub path: &'a [u32],
    /// Hours in which the task may run there.
    pub open: u128,
    /// What an hour there costs more for coming from elsewhere, in thousandths.
    pub extra: u64,
}

/// So many of the cheapest hours before `window`, each with the index of its place; nothing if there are fewer. One hour
/// at a time is used, at the cheapest place of each. `runs_on`: where the task runs.
pub fn cheapest(
    places: &[Place<'_>],
    window: usize,
    hours: usize,
    runs_on: Option<usize>,
) -> Option<Vec<(usize, usize)>> {
    let price = |hour: usize, index: usize| {
        let place = &places[index];
        let path = place.path.get(hour).filter(|_| place.open >> hour & 1 == 1)?;
        let price = u64::from(*path) * (1000 + place.extra);
        let stays = hour == 0 && runs_on == Some(index);
        Some(if stays { price - price * STAY / 1000 } else { price })
    };
    let best = |hour: usize| {
        let all = (0..places.len()).filter_map(|index| Some((price(hour, index)?, hour, index)));
        all.min()
    };
    let mut found: Vec<(u64, usize, usize)> = (0..window.min(HORIZON)).filter_map(best).collect();
    found.sort_unstable();
    found.truncate(hours);
    (found.len() == hours).then(|| found.into_iter().map(|(_, hour, index)| (hour, index)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PLACE-6
    #[test]
    fn each_hour_is_taken_where_it_is_cheapest_and_a_change_of_place_has_its_price() {
        let (morning, evening) = ([100, 100, 300, 300], [300, 300, 90, 96]);
        let place = |path, extra| Place { path, open: u128::MAX, extra };
        let two = [place(&morning[..], 0), place(&evening[..], 0)];
        assert_eq!(cheapest(&two, 4, 3, None), Some(vec![(2, 1), (3, 1), (0, 0)]));
        assert_eq!(cheapest(&two, 2, 2, None), Some(vec![(0, 0), (1, 0)]));
        assert_eq!(cheapest(&two, 4, 5, None), None, "one hour at a time");
        let far = [two[0], place(&evening[..], 100)];
        assert_eq!(cheapest(&far, 4, 2, None), Some(vec![(2, 1), (0, 0)]), "99 and 105.6 beside 100");
        let closed = [Place { open: 0b1100, ..two[0] }, Place { open: 0b0011, ..two[1] }];
        assert_eq!(cheapest(&closed, 4, 1, None), Some(vec![(0, 1)]));
        let even = [100, 100];
        let running = [place(&even[..], 0), Place { path: &[100, 99], open: 0b10, extra: 6 }];
        assert_eq!(cheapest(&running, 2, 1, Some(0)), Some(vec![(0, 0)]));
        assert_eq!(cheapest(&[place(&[100, 98], 0)], 2, 1, Some(0)), Some(vec![(1, 0)]));
    }
}
