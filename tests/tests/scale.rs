//! What a larger community costs each of its peers.

use mesh_tests::sim::scale::{Class, Grown, Size, grow};

/// A community in which everybody is there.
fn all(devices: usize) -> Grown {
    grow(Size { devices, live: devices }, 1)
}

fn all_went_well(grown: &Grown) {
    assert!(grown.equal, "everybody has every entry: {grown:#?}");
    assert_eq!(grown.spread.count, grown.written, "every entry reached everybody: {grown:#?}");
    assert_eq!(grown.tasks, (60, 60), "every task was placed and ended: {grown:#?}");
    assert_eq!(grown.placed.count, 60, "{grown:#?}");
}

// spec: NET-8
#[test]
fn from_ten_to_a_hundred_peers_traffic_doubles_at_most() {
    let (ten, hundred) = (all(10), all(100));
    all_went_well(&ten);
    all_went_well(&hundred);
    // The logarithm of 100 is twice that of 10.
    for (few, many) in [(&ten.idle, &hundred.idle), (&ten.busy, &hundred.busy)] {
        assert!(many.upkeep <= 2.0 * few.upkeep, "{ten:#?} {hundred:#?}");
        assert!(many.busiest <= 2.0 * few.busiest, "nobody has it all: {ten:#?} {hundred:#?}");
    }
    // What is left out has a size of its own: it must not hide anything.
    assert!(hundred.idle.of[&Class::Entries] <= ten.idle.of[&Class::Entries] * 10.0, "{ten:#?} {hundred:#?}");
    assert!(hundred.busy.of[&Class::Ads] <= ten.busy.of[&Class::Ads] * 2.0, "{ten:#?} {hundred:#?}");
    assert!(hundred.spread.longest <= 2 * ten.spread.longest.max(500), "{ten:#?} {hundred:#?}");
}

// spec: NET-8
#[test]
fn equal_seeds_grow_equal_communities() {
    assert_eq!(all(10), all(10));
}
