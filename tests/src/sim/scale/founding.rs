//! A community as its ledger has it: who is in, what each device said of itself, and who lets whose tasks run.

use super::super::executor;
use super::super::rng::Rng;
use super::{BEGINS_MS, Size};
use mesh_node::ledger::Ledger;
use mesh_node::{Capacity, Config};
use mesh_protocol::ids::{CommunityId, EntryId};
use mesh_protocol::invite::{DeviceCert, JoinRequest};
use mesh_protocol::key::{PublicKey, SecretKey, Signature, UserKey};
use mesh_protocol::ledger::{Entry, Founded, Grant, Hlc, Pattern, Payload, PeerRegistered, Place, Tip};
use mesh_protocol::permissions::Permissions;
use mesh_protocol::rules::{Rules, Tier};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Submitters whose tasks a donor lets run. A person knows so many, however large the community is.
const GRANTED: usize = 6;
/// How long before the simulation everybody came in.
const AGE_MS: u64 = 30 * 86_400_000;

/// One device.
pub(super) struct Device {
    number: usize,
    key: SecretKey,
    user: SecretKey,
    pub(super) public: PublicKey,
    tip: Option<Tip>,
}

/// Everybody, and what they have said.
pub(super) struct Founding {
    pub(super) devices: Vec<Device>,
    pub(super) ledger: Ledger,
    pub(super) entries: BTreeMap<PublicKey, Vec<Vec<u8>>>,
    community: CommunityId,
    said: u64,
}

/// Every second device gives, the others ask.
pub(super) fn gives(number: usize) -> bool {
    number.is_multiple_of(2)
}

pub(super) fn addr_of(number: usize) -> SocketAddr {
    let [_, a, b, c] = (number as u32).to_be_bytes();
    SocketAddr::from(([10, a, b, c], 4000))
}

impl Device {
    fn new(number: usize) -> Self {
        let secret = |what: &str| SecretKey::from_seed(&blake3::derive_key(what, &number.to_le_bytes()));
        let key = secret("taskmesh scale device v1");
        Self { number, public: key.public(), key, user: secret("taskmesh scale user v1"), tip: None }
    }

    /// What the process is told when it starts.
    pub(super) fn config(&self) -> Config {
        Config {
            device: SecretKey::from_seed(&self.key.seed()),
            user: Some(SecretKey::from_seed(&self.user.seed())),
            user_name: format!("user-{}", self.number),
            recovery: self.user.public(),
            device_name: format!("device-{}", self.number),
            profile: executor::profile_id(),
            walls: vec![],
            place: None,
            capacity: Capacity { slots: self.slots(), memory: 1 << 30, longest_ms: 3_600_000 },
            slot_watts: 10,
            shares: BTreeMap::new(),
            accepts: Pattern::new("*").into_iter().collect(),
            energy: Some(super::super::peer::clean()),
            addrs: vec![addr_of(self.number)],
            hook: false,
            seed: *blake3::hash(&self.key.seed()).as_bytes(),
        }
    }

    fn slots(&self) -> u16 {
        if gives(self.number) { 4 } else { 0 }
    }
}

impl Founding {
    /// The founder begins, the founder and the second member vouch for everybody, and every device that is there in the
    /// simulation has said what it is and whose tasks it runs.
    pub(super) fn new(size: Size, rng: &mut Rng) -> Self {
        let mut it = Self {
            devices: (0..size.devices).map(Device::new).collect(),
            ledger: Ledger::default(),
            entries: BTreeMap::new(),
            community: CommunityId::ZERO,
            said: 0,
        };
        let founder = &it.devices[0];
        let free = Tier { tasks: 0, ..Rules::default().free };
        let founded = Founded {
            name: "Scale".into(),
            rules: Rules { voting_window_ms: 0, free, ..Rules::default() },
            user: UserKey(founder.user.public()),
            user_name: "user-0".into(),
            recovery: founder.user.public(),
            device_name: "device-0".into(),
            cert: DeviceCert::of(&founder.user, CommunityId::ZERO, &founder.key, 1000, 0),
        };
        it.community = it.say(0, Payload::Founded(Box::new(founded))).header().belongs_to();
        for number in 1..size.devices {
            let request = it.request(number);
            it.say(0, Payload::Admitted(Box::new(request.clone())));
            if number > 2 {
                it.say(1, Payload::Admitted(Box::new(request)));
            }
        }
        let asking: Vec<usize> = (0..size.live).filter(|number| !gives(*number)).collect();
        for number in 0..size.devices {
            let registered = PeerRegistered {
                name: format!("device-{number}"),
                place: None,
                profile: executor::profile_id(),
                walls: vec![],
                slots: it.devices[number].slots(),
            };
            it.say(number, Payload::PeerRegistered(Box::new(registered)));
            if number >= size.live || !gives(number) {
                continue;
            }
            let mut users = BTreeSet::new();
            while users.len() < GRANTED.min(asking.len()) {
                users.insert(asking[rng.index(asking.len())]);
            }
            for user in users {
                let grant = Grant {
                    device: it.devices[number].public,
                    user: UserKey(it.devices[user].user.public()),
                    pattern: Pattern::new("*").expect("any name"),
                    module: None,
                    until_ms: None,
                    permissions: Permissions::default(),
                };
                it.say(number, Payload::Granted(Box::new(grant)));
            }
        }
        it.ledger.restored(&it.devices[0].public);
        it
    }

    fn request(&self, number: usize) -> JoinRequest {
        let device = &self.devices[number];
        let request = JoinRequest {
            user: UserKey(device.user.public()),
            user_name: format!("user-{number}"),
            recovery: device.user.public(),
            device_name: format!("device-{number}"),
            cert: DeviceCert::of(&device.user, self.community, &device.key, 1000, 0),
            invite: device.user.public(),
            word: Signature([0; 64]),
            signature: Signature([0; 64]),
        };
        let ticket =
            SecretKey::from_seed(&blake3::derive_key("taskmesh scale ticket v1", &number.to_le_bytes()));
        request.sign(&device.user, &ticket)
    }

    fn say(&mut self, number: usize, payload: Payload) -> Entry {
        self.said += 1;
        let hlc = Hlc::at(BEGINS_MS - AGE_MS + self.said);
        let device = &mut self.devices[number];
        let (seq, prev) = device.tip.map_or((0, EntryId::ZERO), |tip| (tip.seq + 1, tip.id));
        let place = Place { community: self.community, seq, prev, refs: vec![], hlc };
        let entry = Entry::write(&device.key, place, payload);
        device.tip = Some(entry.tip());
        self.ledger.restore(&entry);
        self.entries.entry(device.public).or_default().push(entry.bytes().to_vec());
        entry
    }
}
