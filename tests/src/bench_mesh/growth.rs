//! What a peer of a larger community has to say and hear, in the simulator.

use crate::figures::{Figures, Target, note};
use mesh_tests::sim::scale::rumour::{Rumour, spread};
use mesh_tests::sim::scale::{Class, Grown, Size, grow};
use std::time::Instant;

/// Everybody is there in the first three. A thousand whole peers, each with what it knows of the thousand, take more
/// minutes and memory than a bench may, and ten thousand more than a machine has: of those a hundred are there, with the
/// ledger of all, and the gossip of as many is measured by itself.
const SIZES: [Size; 5] = [
    Size { devices: 10, live: 10 },
    Size { devices: 100, live: 100 },
    Size { devices: 200, live: 200 },
    Size { devices: 1_000, live: 100 },
    Size { devices: 10_000, live: 100 },
];
const RUMOURS: [usize; 4] = [10, 100, 1_000, 10_000];

pub(crate) fn measure(figures: &mut Figures) {
    note("communities in virtual time: the real node and gossip, lines of 10 to 60 ms, nothing going wrong");
    note("an idle minute, then one in which the whole community submits a task every two seconds");
    note("traffic: bytes of frames that a peer sends and receives, without QUIC's own, new entries and ads");
    let mut before: Option<Grown> = None;
    for size in SIZES {
        let began = Instant::now();
        let grown = grow(size, 1);
        note(&format!(
            "{} devices, {} of them there: {} events in {:.0} s, {:.1} connections each, {} at most",
            size.devices,
            size.live,
            grown.events,
            began.elapsed().as_secs_f64(),
            grown.connections.0,
            grown.connections.1,
        ));
        print(figures, &grown, before.as_ref());
        before = Some(grown);
    }
    note("gossip alone, each peer connected to about twelve others");
    let mut before: Option<Rumour> = None;
    for peers in RUMOURS {
        let rumour = spread(peers, 1);
        let growth = |of: fn(&Rumour) -> f64| {
            before.as_ref().map_or(Target::Any, |before| {
                Target::AtMost(of(before) * (peers as f64).ln() / (before.peers as f64).ln())
            })
        };
        println!("   {peers} peers");
        let idle = "gossip of an idle peer (bytes/s)";
        figures.put_of("gossip_idle_bytes_per_s", peers, idle, rumour.idle, growth(|it| it.idle));
        let around = "  what it says and hears around one entry, beside the entry itself (bytes)";
        let most = growth(|it| it.around_an_entry);
        figures.put_of("gossip_around_an_entry_bytes", peers, around, rumour.around_an_entry, most);
        let half = rumour.heard.half as f64;
        figures.put_of(
            "gossip_ms_p50",
            peers,
            "  an entry, until a peer has it (ms, p50)",
            half,
            Target::Any,
        );
        let last = rumour.spread.half as f64;
        let what = "  until the last one that gossip reaches has it (ms, p50)";
        figures.put_of("gossip_all_ms_p50", peers, what, last, Target::Any);
        let missed = rumour.missed as f64 / rumour.heard.count as f64 * 100.0;
        let what = "  left to the comparison of logs (% of deliveries)";
        figures.put_of("gossip_missed_pct", peers, what, missed, Target::Below(1.0));
        before = Some(rumour);
    }
}

fn print(figures: &mut Figures, grown: &Grown, before: Option<&Grown>) {
    let peers = grown.size.devices;
    let growth = before.map(|before| (peers as f64).ln() / (before.size.devices as f64).ln());
    let most = |of: fn(&Grown) -> f64| {
        before.zip(growth).map_or(Target::Any, |(before, growth)| Target::AtMost(of(before) * growth))
    };
    for (key, what, of) in [
        (
            "traffic_per_peer_bytes_per_s",
            "traffic of a peer in a busy community (bytes/s)",
            (|grown| grown.busy.upkeep) as fn(&Grown) -> f64,
        ),
        ("traffic_idle_bytes_per_s", "  in an idle one (bytes/s)", |grown| grown.idle.upkeep),
        ("traffic_busiest_bytes_per_s", "  of the peer that has most (bytes/s)", |grown| grown.busy.busiest),
    ] {
        // What a part of a community says is no figure of the whole.
        let key = if grown.size.live == peers { key } else { "traffic_of_a_part_bytes_per_s" };
        figures.put_of(key, peers, what, of(grown), most(of));
    }
    for (class, what) in [
        (Class::Hello, "  of it to meet"),
        (Class::Compare, "  of it to compare logs"),
        (Class::Gossip, "  of it gossip around the entries"),
        (Class::Tasks, "  of it about attempts"),
        (Class::Entries, "  not in it: new entries"),
        (Class::Ads, "  not in it: ads to holders of grants"),
    ] {
        let key = format!("traffic_{}_bytes_per_s", format!("{class:?}").to_lowercase());
        figures.put_of(
            &key,
            peers,
            what,
            grown.busy.of.get(&class).copied().unwrap_or_default(),
            Target::Any,
        );
    }
    let ms = |ms: u64| ms as f64;
    figures.put_of(
        "spread_ms_p50",
        peers,
        "an entry, until a peer has it (ms, p50)",
        ms(grown.heard.half),
        Target::Any,
    );
    figures.put_of(
        "spread_all_ms_p50",
        peers,
        "  until the last one has it (ms, p50)",
        ms(grown.spread.half),
        Target::Any,
    );
    figures.put_of(
        "spread_all_ms_max",
        peers,
        "  the slowest of all (ms)",
        ms(grown.spread.longest),
        Target::Any,
    );
    figures.put_of(
        "place_ms_p50",
        peers,
        "a task, until another peer begins it (ms, p50)",
        ms(grown.placed.half),
        Target::Any,
    );
    figures.put_of("place_ms_max", peers, "  the slowest of all (ms)", ms(grown.placed.longest), Target::Any);
    let (submitted, done) = grown.tasks;
    let share = |part: usize, of: usize| part as f64 / of.max(1) as f64 * 100.0;
    figures.put_of(
        "ended_pct",
        peers,
        "  tasks placed and ended (%)",
        share(done, submitted),
        Target::AtLeast(100.0),
    );
    let reached = share(grown.spread.count, grown.written);
    figures.put_of(
        "reached_pct",
        peers,
        "  entries that reached every peer (%)",
        reached,
        Target::AtLeast(100.0),
    );
    let equal = f64::from(u8::from(grown.equal));
    figures.put_of("equal", peers, "  equal ledgers in the end (1 if so)", equal, Target::AtLeast(1.0));
}
