//! Does a device's owner share it now? The donor comes first.
// spec: PERM-5

use mesh_protocol::reason::Reason;
use serde::{Deserialize, Serialize};

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// When a device is shared, and how much of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Terms {
    /// Is it not shared at all?
    pub off: bool,
    /// For each weekday from Monday: from which minute of the local day up to which, that one not included. One that ends
    /// before it begins lasts into the next day. Always if empty.
    pub hours: Vec<Vec<(u16, u16)>>,
    /// Only on mains?
    pub mains_only: bool,
    /// Percent of battery that stay for the owner.
    pub battery_floor: u8,
    /// Most percent of the processors that other programs may use; 0 for no bound.
    pub most_load: u8,
    /// Only while the own sun gives more than the household takes?
    pub surplus_only: bool,
    /// Bytes uploaded a day; 0 for no bound.
    pub upload_bytes: u64,
    /// Bytes of disk for all tasks together; 0 for no bound but that of the peer itself.
    pub disk_bytes: u64,
}

/// How the device is now. What is not known holds nothing up, but for battery and surplus where the owner asks for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Situation {
    /// Weekday from Monday, 0 to 6, where the device is.
    pub weekday: u8,
    /// Minute of that day.
    pub minute: u16,
    /// Is it on mains?
    pub on_mains: Option<bool>,
    /// How full is its battery, in percent?
    pub battery: Option<u8>,
    /// Percent of the processors that other programs use.
    pub other_load: Option<u8>,
    /// Watts of own sun beyond what the household takes.
    pub surplus_watts: Option<i64>,
    /// Bytes uploaded today.
    pub uploaded: u64,
}

impl Terms {
    /// Can these be meant?
    pub fn check(&self) -> Result<(), &'static str> {
        let fits = |(from, to): &(u16, u16)| *from < DAY && *to <= DAY && from != to;
        match () {
            () if !matches!(self.hours.len(), 0 | 7) => Err("hours are for seven days, or none"),
            // A list of every other minute is no schedule.
            () if self.hours.iter().any(|day| day.len() > 48) => {
                Err("at most 48 spans of hours a day are taken")
            }
            () if !self.hours.iter().flatten().all(fits) => Err("hours are from 0:00 to 24:00 and not empty"),
            () if self.battery_floor > 100 || self.most_load > 100 => Err("percents are at most 100"),
            () => Ok(()),
        }
    }

    fn is_open(&self, weekday: u8, minute: u16) -> bool {
        let day = |number: u8| self.hours.get(usize::from(number % 7)).into_iter().flatten();
        let today = day(weekday).any(|(from, to)| match from < to {
            true => (*from..*to).contains(&minute),
            false => minute >= *from,
        });
        let since_yesterday = day(weekday % 7 + 6).any(|(from, to)| to < from && minute < *to);
        self.hours.is_empty() || today || since_yesterday
    }
}

/// Below the bound by this much, in percent, a device that was busy is no longer: the load of one moment must not stop and
/// start what runs, each time with an entry in the ledger.
const CALM: u8 = 10;

/// Is the device shared now? The first reason why not. `was_busy`: others' load was too much until now.
pub fn shares(terms: &Terms, now: &Situation, was_busy: bool) -> Result<(), Reason> {
    let on_battery = now.on_mains == Some(false);
    if terms.off {
        return Err(Reason::DonorPaused);
    }
    if !terms.is_open(now.weekday, now.minute) {
        return Err(Reason::OutsideHours);
    }
    if terms.mains_only && on_battery {
        return Err(Reason::OnBattery);
    }
    if let Some(percent) = now.battery.filter(|percent| on_battery && *percent < terms.battery_floor) {
        return Err(Reason::BatteryLow { percent, floor: terms.battery_floor });
    }
    let most = if was_busy { terms.most_load.saturating_sub(CALM) } else { terms.most_load };
    if let Some(percent) = now.other_load.filter(|load| terms.most_load > 0 && *load > most) {
        return Err(Reason::DeviceBusy { percent, most: terms.most_load });
    }
    if terms.surplus_only && now.surplus_watts.is_none_or(|watts| watts <= 0) {
        return Err(Reason::NoSurplus);
    }
    if terms.upload_bytes > 0 && now.uploaded >= terms.upload_bytes {
        return Err(Reason::UploadUsedUp);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(weekday: u8, hour: u16, minute: u16) -> Situation {
        Situation { weekday, minute: hour * 60 + minute, ..Situation::default() }
    }

    // spec: PERM-5
    #[test]
    fn hours_are_per_weekday_and_may_last_over_midnight() {
        let mut hours = vec![Vec::new(); 7];
        hours[0] = vec![(9 * 60, 17 * 60), (20 * 60, 21 * 60)];
        hours[6] = vec![(22 * 60, 6 * 60)];
        let terms = Terms { hours, ..Terms::default() };
        assert_eq!(terms.check(), Ok(()));
        for (now, open) in [
            (at(0, 8, 59), false),
            (at(0, 9, 0), true),
            (at(0, 16, 59), true),
            (at(0, 17, 0), false),
            (at(0, 20, 30), true),
            (at(1, 12, 0), false),
            (at(6, 21, 59), false),
            (at(6, 22, 0), true),
            (at(6, 23, 59), true),
            (at(0, 5, 59), true),
            (at(0, 6, 0), false),
            (at(1, 5, 0), false),
            (at(6, 5, 0), false),
        ] {
            let expected = if open { Ok(()) } else { Err(Reason::OutsideHours) };
            assert_eq!(shares(&terms, &now, false), expected, "{now:?}");
        }
        assert_eq!(shares(&Terms::default(), &at(3, 3, 3), false), Ok(()), "always, if nothing is said");
    }

    // spec: PERM-5
    #[test]
    fn each_rule_has_its_own_reason() {
        let now = Situation {
            on_mains: Some(false),
            battery: Some(40),
            other_load: Some(30),
            surplus_watts: Some(0),
            uploaded: 100,
            ..Situation::default()
        };
        let ask = |terms: Terms| shares(&terms, &now, false);
        assert_eq!(ask(Terms::default()), Ok(()));
        assert_eq!(ask(Terms { mains_only: true, ..Terms::default() }), Err(Reason::OnBattery));
        let low = Err(Reason::BatteryLow { percent: 40, floor: 41 });
        assert_eq!(ask(Terms { battery_floor: 41, ..Terms::default() }), low);
        assert_eq!(ask(Terms { battery_floor: 40, ..Terms::default() }), Ok(()));
        let busy = Err(Reason::DeviceBusy { percent: 30, most: 29 });
        assert_eq!(ask(Terms { most_load: 29, ..Terms::default() }), busy);
        assert_eq!(ask(Terms { most_load: 30, ..Terms::default() }), Ok(()));
        assert_eq!(ask(Terms { surplus_only: true, ..Terms::default() }), Err(Reason::NoSurplus));
        assert_eq!(ask(Terms { upload_bytes: 100, ..Terms::default() }), Err(Reason::UploadUsedUp));
        assert_eq!(ask(Terms { upload_bytes: 101, ..Terms::default() }), Ok(()));
        let mains = Situation { on_mains: Some(true), surplus_watts: Some(1), ..now };
        let all = Terms { mains_only: true, battery_floor: 90, surplus_only: true, ..Terms::default() };
        assert_eq!(shares(&all, &mains, false), Ok(()), "a battery on mains may be as empty as it is");
        let unknown = Situation::default();
        let strict = Terms { mains_only: true, battery_floor: 90, most_load: 1, ..Terms::default() };
        assert_eq!(shares(&strict, &unknown, false), Ok(()), "a device without a battery is on mains");
        let sun = Terms { surplus_only: true, ..Terms::default() };
        assert_eq!(shares(&sun, &unknown, false), Err(Reason::NoSurplus));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let one = |span| Terms { hours: vec![vec![span]; 7], ..Terms::default() }.check().is_ok();
        assert!(one((0, DAY)) && one((1439, 1)) && one((22 * 60, 0)));
        assert!(!one((DAY, 5)) && !one((0, DAY + 1)) && !one((5, 5)));
        assert!(Terms { hours: vec![vec![]; 6], ..Terms::default() }.check().is_err());
        assert!(Terms { hours: vec![vec![(0, 1); 49]; 7], ..Terms::default() }.check().is_err());
        assert!(Terms { hours: vec![vec![(0, 1); 48]; 7], ..Terms::default() }.check().is_ok());
        assert!(Terms { battery_floor: 101, ..Terms::default() }.check().is_err());
        assert!(Terms { most_load: 101, ..Terms::default() }.check().is_err());
        assert!(Terms { most_load: 100, battery_floor: 100, ..Terms::default() }.check().is_ok());
    }

    proptest! {
        // spec: PERM-5, PERM-4
        #[test]
        fn narrower_terms_never_share_more(
            weekday in 0u8..7, minute in 0u16..1440, mains in proptest::option::of(any::<bool>()),
            battery in proptest::option::of(0u8..=100), load in proptest::option::of(0u8..=100),
            surplus in proptest::option::of(-5i64..5), floor in 0u8..=100, most in 1u8..=100, span in (0u16..1440, 1u16..1440),
        ) {
            let now = Situation { weekday, minute, on_mains: mains, battery, other_load: load, surplus_watts: surplus, uploaded: 0 };
            let wide = Terms { battery_floor: floor, most_load: most, ..Terms::default() };
            let widely = shares(&wide, &now, false).is_ok();
            let narrower = [
                Terms { off: true, ..wide.clone() },
                Terms { mains_only: true, ..wide.clone() },
                Terms { surplus_only: true, ..wide.clone() },
                Terms { battery_floor: floor.saturating_add(1), ..wide.clone() },
                Terms { most_load: most.saturating_sub(1).max(1), ..wide.clone() },
                Terms { hours: vec![vec![span]; 7], ..wide },
            ];
            for terms in narrower {
                prop_assert!(shares(&terms, &now, false).is_err() || widely);
            }
        }
    }

    // spec: PERM-5
    #[test]
    fn a_busy_device_is_shared_again_only_when_it_is_clearly_calmer() {
        let terms = Terms { most_load: 50, ..Terms::default() };
        let at_load = |load| Situation { other_load: Some(load), ..at(0, 12, 0) };
        for (load, was_busy, shared) in
            [(50, false, true), (51, false, false), (50, true, false), (41, true, false), (40, true, true)]
        {
            assert_eq!(shares(&terms, &at_load(load), was_busy).is_ok(), shared, "{load} {was_busy}");
        }
        let calm = Terms { most_load: 5, ..Terms::default() };
        assert!(shares(&calm, &at_load(0), true).is_ok(), "the least bound can be met");
        assert!(shares(&Terms::default(), &at_load(100), true).is_ok(), "nobody asked for one");
    }

    // spec: PERM-5
    #[test]
    fn hours_hold_from_their_first_minute_to_before_their_last() {
        let mut hours = vec![Vec::new(); 7];
        hours[2] = vec![(10, 20), (1430, 5)];
        // The last of the week goes on in its first.
        hours[6] = vec![(1400, 3)];
        let terms = Terms { hours, ..Terms::default() };
        for (weekday, minute, open) in [
            (2, 9, false),
            (2, 10, true),
            (2, 19, true),
            (2, 20, false),
            (2, 1429, false),
            (2, 1430, true),
            (3, 0, true),
            (3, 4, true),
            (3, 5, false),
            (3, 1430, false),
            (6, 1399, false),
            (6, 1400, true),
            (0, 2, true),
            (0, 3, false),
            (1, 2, false),
        ] {
            assert_eq!(terms.is_open(weekday, minute), open, "day {weekday}, minute {minute}");
        }
    }
}
