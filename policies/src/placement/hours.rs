//! Which hours cost least?

/// Hours that a plan can look ahead: bits of a mask.
pub const HORIZON: usize = 96;

/// The cheapest hours of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// A bit for each hour.
    pub mask: u128,
    /// Sum of their prices.
    pub sum: u64,
}

impl Hours {
    /// The first of them.
    pub fn first(&self) -> usize {
        self.mask.trailing_zeros() as usize
    }
}

/// Hours in the order of their prices, of equals the earlier.
pub fn order(prices: &[u64]) -> Vec<u8> {
    let mut order: Vec<u8> = (0..prices.len().min(HORIZON)).map(|hour| hour as u8).collect();
    order.sort_by_key(|hour| (prices[usize::from(*hour)], *hour));
    order
}

/// The cheapest `count` hours of `mask`, in pieces; none if there are fewer. `order` is that of the prices.
pub fn pieces(prices: &[u64], order: &[u8], mask: u128, count: usize) -> Option<Hours> {
    if (mask.count_ones() as usize) < count {
        return None;
    }
    let mut found = Hours { mask: 0, sum: 0 };
    let open = order.iter().map(|hour| usize::from(*hour)).filter(|hour| mask >> hour & 1 == 1);
    for hour in open.take(count) {
        found.mask |= 1 << hour;
        found.sum = found.sum.saturating_add(prices[hour]);
    }
    (found.mask.count_ones() as usize == count).then_some(found)
}

/// The cheapest `count` hours of `mask` in one piece; none if there is no such piece.
pub fn piece(prices: &[u64], mask: u128, count: usize) -> Option<Hours> {
    let mut best: Option<Hours> = None;
    let (mut sum, mut run) = (0_u64, 0);
    for (hour, price) in prices.iter().enumerate().take(HORIZON) {
        if mask >> hour & 1 == 0 {
            (sum, run) = (0, 0);
            continue;
        }
        sum = sum.saturating_add(*price);
        run += 1;
        if run > count {
            sum = sum.saturating_sub(prices[hour - count]);
        }
        if run >= count && count > 0 && best.is_none_or(|best| sum < best.sum) {
            best = Some(Hours { mask: first_hours(count) << (hour + 1 - count), sum });
        }
    }
    best
}

/// The mask of so many hours from now on.
pub fn first_hours(count: usize) -> u128 {
    if count >= 128 { u128::MAX } else { (1 << count) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // spec: PLACE-1
    #[test]
    fn the_first_hours_are_as_many_as_were_asked_for() {
        for count in 0..=128 {
            let mask = first_hours(count);
            assert_eq!((mask.count_ones() as usize, mask.trailing_ones() as usize), (count, count));
        }
        assert_eq!((first_hours(129), first_hours(usize::MAX)), (u128::MAX, u128::MAX));
    }

    proptest! {
        // spec: PLACE-1
        #[test]
        fn no_other_hours_cost_less_and_none_as_cheap_are_earlier(
            prices in proptest::collection::vec(0u64..6, 1..10), mask in 0u128..1 << 12, count in 1usize..6,
        ) {
            let sum = |hours: u128| -> u64 { prices.iter().enumerate().map(|(hour, price)| (hours >> hour & 1) as u64 * price).sum() };
            let open = mask & first_hours(prices.len());
            let all = || (1..=open).filter(|hours| hours & !open == 0 && hours.count_ones() as usize == count);
            let best = |hours: Option<u128>| hours.map(|mask| Hours { mask, sum: sum(mask) });
            let in_pieces = best(all().min_by_key(|hours| (sum(*hours), *hours)));
            prop_assert_eq!(pieces(&prices, &order(&prices), mask, count), in_pieces);
            let whole = all().filter(|hours| hours >> hours.trailing_zeros() == first_hours(count));
            prop_assert_eq!(piece(&prices, mask, count), best(whole.min_by_key(|hours| (sum(*hours), *hours))));
        }
    }
}
