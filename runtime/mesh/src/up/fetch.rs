//! Getting a blob from a peer, and believing it only as far as it was checked.
// spec: DEL-4, DEL-5

use super::blobs::{Blobs, Keeper, is_sound};
use super::partials::Coming;
use super::{causes, output};
use mesh_net::{FetchError, Net};
use mesh_node::{Unfetched, Wanted};
use mesh_protocol::checkpoint::{Checkpoint, Expected};
use mesh_protocol::key::PublicKey;
use mesh_protocol::task::Blob;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How often a transfer that broke off is taken up again where it was, if nothing comes in between. A line that breaks
/// five times before anything comes, while the peer stays connected, is no line.
const TRIES: u32 = 5;
/// How often a peer that serves others first is asked, which is for eight minutes.
const WAITS: u32 = 40;
/// What must come between two breaks, and how often such a transfer is taken up again: each time what is here is hashed.
const PROGRESS: u64 = 64 << 10;
const RESUMES: u32 = 1000;
/// How long after the first failure; each time twice as long, up to a longest.
const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));
/// Fetched at once. A line gets no faster by more, and each holds an open file.
const AT_ONCE: usize = 16;
/// Fetched at once of one member, with however many devices: as many as one serves.
const OF_ONE_OWNER: usize = 4;
/// Checkpoints fetched at once, of which each member has one: they are of use only if something else goes wrong, and take
/// no place from results and inputs.
const CHECKPOINTS: usize = 4;
/// How often somebody whose input does not come is asked again, and how long after the first time: two minutes, in which
/// a line is back or the lease is over.
const PATIENCE: (u32, Duration) = (8, Duration::from_secs(1));

/// Fetches.
pub(crate) struct Fetcher {
    net: Net,
    blobs: Arc<Blobs>,
    lines: Lines,
    owner: Owner,
}

/// Says whose device somebody is.
type Owner = Box<dyn Fn(PublicKey) -> PublicKey + Send + Sync>;

/// Whose turn it is.
struct Lines {
    all: Arc<Semaphore>,
    checkpoints: Arc<Semaphore>,
    of_owners: Mutex<BTreeMap<PublicKey, Arc<OfOwner>>>,
    looked_at: Arc<tokio::sync::Mutex<()>>,
}

struct OfOwner {
    all: Arc<Semaphore>,
    checkpoints: Arc<Semaphore>,
}

/// A place among those that fetch.
struct Place {
    _held: Vec<OwnedSemaphorePermit>,
    /// Forgotten when nobody fetches from that member.
    _of: Arc<OfOwner>,
}

impl Lines {
    fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(AT_ONCE)),
            checkpoints: Arc::new(Semaphore::new(CHECKPOINTS)),
            of_owners: Mutex::default(),
            looked_at: Arc::default(),
        }
    }

    /// Waits for a place. Whoever waits for a member takes none from those that fetch from others.
    // spec: DEL-5, NET-4
    async fn place(&self, owner: PublicKey, checkpoint: bool) -> Result<Place, Unfetched> {
        let of = {
            let mut owners = self.of_owners.lock().unwrap_or_else(PoisonError::into_inner);
            owners.retain(|_, of| Arc::strong_count(of) > 1);
            let new = || OfOwner {
                all: Arc::new(Semaphore::new(OF_ONE_OWNER)),
                checkpoints: Arc::new(Semaphore::new(1)),
            };
            owners.entry(owner).or_insert_with(|| Arc::new(new())).clone()
        };
        let queues = match checkpoint {
            true => vec![&of.checkpoints, &self.checkpoints, &of.all],
            false => vec![&of.all, &self.all],
        };
        let mut held = Vec::new();
        for queue in queues {
            let place = queue.clone().acquire_owned().await;
            held.push(place.map_err(|error| Unfetched::Line(error.to_string()))?);
        }
        Ok(Place { _held: held, _of: of })
    }
}

/// What came of asking for a blob.
enum Brought {
    /// It is kept.
    Here,
    /// It is whole, and not looked at.
    Whole(Coming),
}

impl Fetcher {
    pub(crate) fn new(
        net: Net,
        blobs: Arc<Blobs>,
        owner: impl Fn(PublicKey) -> PublicKey + Send + Sync + 'static,
    ) -> Self {
        Self { net, blobs, lines: Lines::new(), owner: Box::new(owner) }
    }

    /// Brings a blob here for this device's owner and keeps it if it is what is wanted, unless it is here already. None: it
    /// was ended, and nothing was kept.
    pub(crate) async fn fetch(
        &self,
        blob: Blob,
        from: PublicKey,
        wanted: Wanted,
        ended: oneshot::Receiver<()>,
    ) -> Option<Result<(), Unfetched>> {
        self.fetch_any(blob, from, Some(wanted), ended).await
    }

    async fn fetch_any(
        &self,
        blob: Blob,
        from: PublicKey,
        wanted: Option<Wanted>,
        ended: oneshot::Receiver<()>,
    ) -> Option<Result<(), Unfetched>> {
        let brought = tokio::select! {
            brought = self.bring(Keeper::Own, blob, from, wanted.as_ref()) => brought,
            _ = ended => return None,
        };
        // What is whole is kept, and said to be.
        Some(match brought {
            Ok(brought) => self.take_in(Keeper::Own, blob, brought, wanted).await,
            Err(why) => Err(why),
        })
    }

    /// Brings what an attempt needs.
    pub(crate) async fn need(&self, keeper: Keeper, blob: Blob, from: PublicKey) -> Result<(), Unfetched> {
        let (mut left, mut wait) = PATIENCE;
        loop {
            let brought = match self.bring(keeper, blob, from, None).await {
                Ok(brought) => self.take_in(keeper, blob, brought, None).await,
                Err(why) => Err(why),
            };
            match brought {
                // Its owner may be back within the lease.
                Err(Unfetched::Line(why)) if left > 0 => {
                    tracing::debug!(blob = %blob.hash.short(), peer = %from.short(), why, "an input is asked for again");
                    tokio::time::sleep(wait).await;
                    left -= 1;
                    wait = (wait * 2).min(2 * WAIT.1);
                }
                brought => return brought,
            }
        }
    }

    async fn bring(
        &self,
        keeper: Keeper,
        blob: Blob,
        from: PublicKey,
        wanted: Option<&Wanted>,
    ) -> Result<Brought, Unfetched> {
        if let Some(Wanted::Output(receipt)) = wanted {
            output::within(&receipt.output, &receipt.limits)
                .map_err(|error| Unfetched::False(causes(&error)))?;
            if blob.len > output::most_bytes(&receipt.output) {
                return Err(Unfetched::False("the output is larger than what its receipt speaks of".into()));
            }
        }
        let blobs = self.blobs.clone();
        let (is_wanted, is_output) = (wanted.is_some(), matches!(wanted, Some(Wanted::Output(_))));
        let coming = blocking(move || {
            let sound = |path: &Path| is_sound(path, &blob.hash, blob.len);
            let here = blobs.share(keeper, &blob.hash).map_err(no_room)?;
            // What is damaged here would be laid at the door of whoever made it.
            if here && (!is_wanted || blobs.path(&blob.hash).is_some_and(|path| sound(&path))) {
                return Ok(None);
            }
            blobs.room(blob.len).map_err(no_room)?;
            let coming = blobs.coming(keeper, &blob.hash);
            // One that was ended while it was put in its place.
            let whole = sound(coming.path());
            Ok(Some((coming, whole)))
        })
        .await?;
        let Some((coming, whole)) = coming else { return Ok(Brought::Here) };
        if !whole {
            let checkpoint = keeper == Keeper::Own && !is_output;
            self.transfer(coming.path(), blob, from, checkpoint).await?;
        }
        Ok(Brought::Whole(coming))
    }

    async fn take_in(
        &self,
        keeper: Keeper,
        blob: Blob,
        brought: Brought,
        wanted: Option<Wanted>,
    ) -> Result<(), Unfetched> {
        let blobs = self.blobs.clone();
        let _alone = match wanted {
            // Each is held in memory as a whole while it is looked at.
            Some(Wanted::Checkpoint(..)) => Some(self.lines.looked_at.clone().lock_owned().await),
            _ => None,
        };
        blocking(move || match brought {
            Brought::Here => {
                let Some(wanted) = wanted else { return Ok(()) };
                let path = blobs.path(&blob.hash);
                checked(&path.ok_or_else(|| Unfetched::Line("it was taken away meanwhile".into()))?, &wanted)
            }
            Brought::Whole(coming) => {
                // What an attempt reads is of no use after a crash, for the attempt is lost too.
                let lasting = keeper == Keeper::Own;
                let looked = look(coming.path(), blob, wanted.as_ref());
                let taken = looked
                    .and_then(|()| blobs.adopt(keeper, coming.path(), blob.hash, lasting).map_err(no_room));
                // A disk that was full may have room for it later; then it need not come again.
                if matches!(taken, Ok(_) | Err(Unfetched::False(_))) {
                    coming.clear();
                }
                taken.map(|_| ())
            }
        })
        .await
    }

    /// Goes on with a transfer for as long as something comes.
    // spec: DEL-5
    async fn transfer(
        &self,
        into: &Path,
        blob: Blob,
        from: PublicKey,
        checkpoint: bool,
    ) -> Result<(), Unfetched> {
        let (mut tries, mut resumes, mut waits, mut lies) = (TRIES, RESUMES, WAITS, 1);
        let mut wait = WAIT.0;
        loop {
            let before = Net::progress(into);
            let outcome = {
                let _place = self.lines.place((self.owner)(from), checkpoint).await?;
                self.net.fetch(from, blob.hash.0, blob.len, into).await
            };
            let Err(error) = outcome else { return Ok(()) };
            tracing::debug!(blob = %blob.hash.short(), peer = %from.short(), %error, "a transfer broke off");
            let again = match &error {
                FetchError::NotThere => return Err(Unfetched::Withheld),
                FetchError::TooLarge { .. } => return Err(Unfetched::False(causes(&error))),
                FetchError::Disk(_) => return Err(Unfetched::NoRoom(causes(&error))),
                // It may be another's lie about the size that came to light.
                FetchError::Lie if lies == 0 => return Err(Unfetched::False(causes(&error))),
                FetchError::Lie => take_one(&mut lies),
                FetchError::Later => take_one(&mut waits),
                FetchError::Interrupted if Net::progress(into) >= before + PROGRESS => {
                    (tries, wait) = (TRIES, WAIT.0);
                    take_one(&mut resumes)
                }
                FetchError::Interrupted | FetchError::Slow | FetchError::Busy => take_one(&mut tries),
                FetchError::NotConnected => false,
            };
            if !again || !self.is_connected(from) {
                return Err(Unfetched::Line(causes(&error)));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT.1);
        }
    }

    fn is_connected(&self, peer: PublicKey) -> bool {
        self.net.connected().iter().any(|connected| connected.peer == peer)
    }
}

/// Is there one left? Then it is taken.
fn take_one(left: &mut u32) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

fn no_room(error: io::Error) -> Unfetched {
    Unfetched::NoRoom(causes(&error))
}

/// Is a whole file what it was said to be?
// spec: DEL-4
fn look(path: &Path, blob: Blob, wanted: Option<&Wanted>) -> Result<(), Unfetched> {
    let len = fs::metadata(path).map_err(no_room)?.len();
    if len != blob.len {
        return Err(Unfetched::False(format!("it has {len} bytes and not {}", blob.len)));
    }
    wanted.map_or(Ok(()), |wanted| checked(path, wanted))
}

fn checked(path: &Path, wanted: &Wanted) -> Result<(), Unfetched> {
    match wanted {
        Wanted::Output(receipt) => {
            let file = File::open(path).map_err(no_room)?;
            output::check(BufReader::new(file), receipt).map_err(|error| match is_systems(&error) {
                true => Unfetched::NoRoom(causes(&error)),
                false => Unfetched::False(causes(&error)),
            })
        }
        Wanted::Checkpoint(spec, profile) => {
            let bytes = fs::read(path).map_err(no_room)?;
            let (task, input) = (spec.id(), spec.input);
            let expected =
                Expected { task: &task, module: &spec.module, input: &input, profile, limits: &spec.limits };
            let sound = Checkpoint::decode(&bytes).and_then(|checkpoint| checkpoint.check(&expected));
            sound.map_err(|error| Unfetched::False(causes(&error)))
        }
    }
}

/// Did the system refuse something, rather than anybody say something false?
fn is_systems(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.raw_os_error().is_some()) {
            return true;
        }
        // What an io::Error was made of is not its source, but its source's.
        next = io
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn Error + 'static))
            .or_else(|| error.source());
    }
    false
}

/// Does something that may take its time, off the network's threads.
// spec: ARC-5
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Unfetched> + Send + 'static,
) -> Result<T, Unfetched> {
    let failed = |error| Err(Unfetched::NoRoom(format!("it failed: {error}")));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_net::{Config, Event, Follow, Provider, Standing};
    use mesh_protocol::frame::AttemptId;
    use mesh_protocol::ids::{BlobHash, TaskId};
    use std::net::SocketAddr;
    use std::path::PathBuf;
    use std::time::SystemTime;

    const LENT: Keeper = Keeper::Attempt(AttemptId { task: TaskId([7; 32]), attempt: 1 });

    /// Hands out one folder's files, named by their hashes.
    struct Shelf(PathBuf);

    impl Provider for Shelf {
        fn blob(&self, _: PublicKey, hash: [u8; 32]) -> Option<PathBuf> {
            Some(self.0.join(BlobHash(hash).to_string())).filter(|path| path.is_file())
        }
        fn follow(&self, _: PublicKey, _: &[u8], _: u64) -> Option<Box<dyn Follow>> {
            None
        }
    }

    /// Two peers that are connected, and a folder of which the second hands out.
    struct Pair {
        dir: tempfile::TempDir,
        here: Net,
        there: Net,
    }

    async fn net(seed: u8, folder: PathBuf) -> (Net, tokio::sync::mpsc::Receiver<Event>) {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        Net::bind(Config::new([seed; 32], any), Arc::new(Shelf(folder))).await.unwrap()
    }

    impl Pair {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (here, mut heard) = net(1, dir.path().join("nothing")).await;
            let (there, _) = net(2, dir.path().to_owned()).await;
            here.set_standing(there.key(), Standing::Member);
            there.set_standing(here.key(), Standing::Member);
            here.connect(there.key(), there.addrs());
            while !matches!(heard.recv().await.unwrap(), Event::Connected { .. }) {}
            // Nobody listens to the rest.
            Self { dir, here, there }
        }

        fn fetcher(&self, most: u64) -> Fetcher {
            let blobs = Blobs::open(&self.dir.path().join("blobs"), most).unwrap();
            Fetcher::new(self.here.clone(), Arc::new(blobs), |peer| peer)
        }

        fn offer(&self, bytes: &[u8]) -> Blob {
            let hash = BlobHash(*blake3::hash(bytes).as_bytes());
            fs::write(self.dir.path().join(hash.to_string()), bytes).unwrap();
            Blob { hash, len: bytes.len() as u64 }
        }

        fn bytes_in(&self) -> u64 {
            self.here.connected().iter().map(|peer| peer.bytes_in).sum()
        }

        async fn fetch(&self, fetcher: &Fetcher, blob: Blob) -> Result<(), Unfetched> {
            let (_end, ended) = oneshot::channel();
            fetcher.fetch_any(blob, self.there.key(), None, ended).await.unwrap()
        }
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    // spec: DEL-5
    #[tokio::test]
    async fn what_came_of_a_blob_is_not_asked_for_again_also_after_a_restart() {
        let pair = Pair::new().await;
        let bytes = noise(4 << 20);
        let blob = pair.offer(&bytes);
        let path = pair.dir.path().join(blob.hash.to_string());
        // The peer's hashes of it are made before the second half is damaged, unseen.
        let fetcher = pair.fetcher(1 << 30);
        fetcher.need(LENT, blob, pair.there.key()).await.unwrap();
        let at: SystemTime = fs::metadata(&path).unwrap().modified().unwrap();
        let put = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        };
        put(&[&bytes[..3 << 20], &vec![0; 1 << 20][..]].concat());
        let other = Blobs::open(&pair.dir.path().join("other"), 1 << 30).unwrap();
        let fetcher = Fetcher::new(pair.here.clone(), Arc::new(other), |peer| peer);
        let error = pair.fetch(&fetcher, blob).await.unwrap_err();
        assert!(matches!(error, Unfetched::False(_)), "{error:?}");
        put(&bytes);
        let before = pair.bytes_in();
        let other = Arc::new(Blobs::open(&pair.dir.path().join("other"), 1 << 30).unwrap());
        let fetcher = Fetcher::new(pair.here.clone(), other.clone(), |peer| peer);
        pair.fetch(&fetcher, blob).await.unwrap();
        assert_eq!(fs::read(other.path(&blob.hash).unwrap()).unwrap(), bytes);
        let came = pair.bytes_in() - before;
        assert!(came < 2 << 20, "{came} bytes came of the last quarter");
        assert_eq!(fs::read_dir(pair.dir.path().join("other/coming")).unwrap().count(), 0);
    }

    // spec: DEL-4, DEL-5
    #[tokio::test]
    async fn only_what_is_false_is_called_so() {
        let pair = Pair::new().await;
        let blob = pair.offer(&noise(5000));
        let fetcher = pair.fetcher(4000);
        let full = pair.fetch(&fetcher, blob).await.unwrap_err();
        assert!(matches!(full, Unfetched::NoRoom(_)), "{full:?}");
        let fetcher = pair.fetcher(1 << 30);
        let longer = pair.fetch(&fetcher, Blob { len: 4999, ..blob }).await.unwrap_err();
        assert!(matches!(longer, Unfetched::False(_)), "{longer:?}");
        let nothing = Blob { hash: BlobHash([1; 32]), len: 10 };
        assert_eq!(pair.fetch(&fetcher, nothing).await, Err(Unfetched::Withheld));
        pair.fetch(&fetcher, blob).await.unwrap();
        pair.there.disconnect(pair.here.key(), "goes");
        while !pair.here.connected().is_empty() {
            tokio::task::yield_now().await;
        }
        pair.here.forget(pair.there.key());
        let gone = pair.fetch(&fetcher, nothing).await.unwrap_err();
        assert!(matches!(gone, Unfetched::Line(_)), "{gone:?}");
    }

    // spec: DEL-5
    #[tokio::test]
    async fn what_is_ended_is_not_kept_and_not_told() {
        let pair = Pair::new().await;
        let (mut fetcher, owner) = (pair.fetcher(1 << 30), PublicKey([9; 32]));
        fetcher.owner = Box::new(move |_| owner);
        // All of its owner's places are taken, by other devices.
        let mut places = Vec::new();
        for _ in 0..OF_ONE_OWNER {
            places.push(fetcher.lines.place(owner, false).await.unwrap());
        }
        let (end, ended) = oneshot::channel();
        let blob = pair.offer(b"too late");
        let fetch = fetcher.fetch_any(blob, pair.there.key(), None, ended);
        let (told, ()) = tokio::join!(fetch, async { drop(end) });
        assert_eq!(told, None);
        assert_eq!(fetcher.blobs.path(&blob.hash), None);
    }

    /// Is there a place at once?
    async fn has_place(lines: &Lines, from: PublicKey, checkpoint: bool) -> Option<Place> {
        tokio::time::timeout(Duration::ZERO, lines.place(from, checkpoint)).await.ok()?.ok()
    }

    // spec: DEL-5, NET-4
    #[tokio::test]
    async fn one_member_takes_four_places_and_checkpoints_take_none_of_the_others() {
        let lines = Lines::new();
        let peer = |number: u8| PublicKey([number; 32]);
        let mut held = Vec::new();
        for _ in 0..OF_ONE_OWNER {
            held.push(has_place(&lines, peer(1), false).await.unwrap());
        }
        assert!(has_place(&lines, peer(1), false).await.is_none());
        // Whoever waits for the first peer holds up nobody else.
        for number in 2..=3 {
            held.push(has_place(&lines, peer(number), true).await.unwrap());
            assert!(has_place(&lines, peer(number), true).await.is_none(), "one checkpoint of each");
        }
        for number in 2..=5 {
            for _ in 0..3 {
                held.push(has_place(&lines, peer(number), false).await.unwrap());
            }
        }
        assert!(
            has_place(&lines, peer(6), false).await.is_none(),
            "sixteen, and none of them a checkpoint's"
        );
        assert!(has_place(&lines, peer(6), true).await.is_some());
        drop(held);
        assert!(has_place(&lines, peer(1), false).await.is_some());
        assert_eq!(lines.of_owners.lock().unwrap().len(), 1, "who is not fetched from is forgotten");
    }

    // spec: DEL-4
    #[test]
    fn what_the_system_refuses_is_nobodys_lie() {
        let refused = || io::Error::from_raw_os_error(28);
        let read = |error: io::Error| is_systems(&output::OutputError::Read(error));
        assert!(read(refused()) && read(io::Error::other(refused())));
        assert!(!read(io::Error::other("not an archive")) && !read(io::ErrorKind::UnexpectedEof.into()));
    }

    // spec: DEL-5, DEL-7
    #[tokio::test]
    async fn a_checkpoint_is_one_of_this_task_by_its_makers_engine_or_it_is_not_kept() {
        use mesh_protocol::checkpoint::{Header, OutNode, out_digest};
        use mesh_protocol::ids::{Digest, ProfileId};
        let pair = Pair::new().await;
        let fetcher = pair.fetcher(1 << 30);
        let (mut spec, profile) = (crate::up::runner::tests::spec(&[]), ProfileId([7; 32]));
        (spec.limits.checkpoint_bytes, spec.limits.fuel) = (1000, 1000);
        (spec.limits.out_bytes, spec.limits.out_files) = (1000, 10);
        let out = vec![("a".to_owned(), OutNode::File(b"so far".to_vec()))];
        let nothing = mesh_protocol::digest::bytes(b"");
        let header = Header {
            task: spec.id(),
            module: spec.module,
            input: spec.input,
            profile,
            seq: 1,
            parent: Digest([0; 32]),
            fuel_used: 1,
            clock_ns: 0,
            random_pos: 0,
            stdin_read: 0,
            stdin: nothing,
            stdout: nothing,
            stderr: nothing,
            out: out_digest(&out),
            state: mesh_protocol::digest::bytes(b"state"),
        };
        let good = Checkpoint { header, state: b"state".to_vec(), stdout: vec![], stderr: vec![], out };
        let mut foreign = good.clone();
        foreign.header.profile = ProfileId([8; 32]);
        let mut large = good.clone();
        large.state = vec![1; 2000];
        large.header.state = mesh_protocol::digest::bytes(&large.state);
        let fetch = async |bytes: &[u8]| {
            let blob = pair.offer(bytes);
            let (_end, ended) = oneshot::channel();
            let wanted = Wanted::Checkpoint(Box::new(spec.clone()), profile);
            let result = fetcher.fetch(blob, pair.there.key(), wanted, ended).await.unwrap();
            (result, fetcher.blobs.path(&blob.hash).is_some())
        };
        for (bytes, why) in [
            (noise(100), "it is not a checkpoint file"),
            (foreign.encode(), "it belongs to another engine profile"),
            (large.encode(), "its state is larger than the task's limit"),
        ] {
            assert_eq!(fetch(&bytes).await, (Err(Unfetched::False(why.into())), false));
        }
        assert_eq!(fetch(&good.encode()).await, (Ok(()), true));
        // What is here already is looked at all the same.
        assert_eq!(fetch(&good.encode()).await, (Ok(()), true));
        let other = noise(200);
        let blob = pair.offer(&other);
        pair.fetch(&fetcher, blob).await.unwrap();
        let (result, here) = fetch(&other).await;
        assert_eq!((result, here), (Err(Unfetched::False("it is not a checkpoint file".into())), true));
    }
}
