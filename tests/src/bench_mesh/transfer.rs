//! A blob between two endpoints beside the same bytes over plain quinn.

use crate::figures::{Figures, Target, note, percentile};
use crate::peers::PATIENCE;
use crate::plain::Plain;
use mesh_net::{Config, Follow, Net, Provider, Standing};
use mesh_protocol::key::PublicKey;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIZE: usize = 5_000_000;
const WARM_UP: usize = 5;
const ROUNDS: usize = 40;
/// As many as a peer gives to its network.
const THREADS: usize = 2;

pub(crate) fn measure(figures: &mut Figures) {
    note(
        "5 MB between two endpoints in this process: Net::fetch into a file, verified, beside a plain quinn uni stream",
    );
    let folder = tempfile::tempdir().unwrap();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(THREADS).enable_all().build().unwrap();
    let times = runtime.block_on(rounds(folder.path()));
    runtime.shutdown_timeout(Duration::from_secs(5));
    let [mut known, mut first, mut plain] = times;
    let rate = |times: &mut [f64]| SIZE as f64 / 1e6 / percentile(times, 0.5);
    let (known, first, plain) = (rate(&mut known), rate(&mut first), rate(&mut plain));
    figures.put("blob_mb_per_s", "a blob of 5 MB (MB/s, median)", known, Target::Any);
    figures.put("quinn_mb_per_s", "the same bytes over plain quinn (MB/s, median)", plain, Target::Any);
    figures.put("blob_vs_quinn", "  a blob against plain quinn", known / plain, Target::AtLeast(0.8));
    figures.put(
        "first_blob_vs_quinn",
        "  a blob never handed out before, which its holder hashes first",
        first / plain,
        Target::Any,
    );
}

/// Hands out what lies in a folder under the name of its hash.
struct Folder(PathBuf);

impl Provider for Folder {
    fn blob(&self, _: PublicKey, hash: [u8; 32]) -> Option<PathBuf> {
        Some(self.0.join(name(&hash))).filter(|path| path.is_file())
    }
    fn follow(&self, _: PublicKey, _: &[u8], _: u64) -> Option<Box<dyn Follow>> {
        None
    }
}

fn name(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

/// Writes a blob whose bytes no compression and no other blob shares.
fn blob(folder: &Path, number: usize) -> [u8; 32] {
    let mut bytes = vec![0; SIZE];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    let hash = *blake3::hash(&bytes).as_bytes();
    std::fs::write(folder.join(name(&hash)), bytes).unwrap();
    hash
}

/// Seconds of each transfer: of a blob handed out before, of a new one, of plain quinn. In turn, so that a machine
/// whose speed drifts is as fast for each.
async fn rounds(folder: &Path) -> [Vec<f64>; 3] {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let provider = Arc::new(Folder(folder.to_owned()));
    let (holder, mut holder_events) =
        Net::bind(Config::new([1; 32], anywhere), provider.clone()).await.unwrap();
    let (asker, mut asker_events) = Net::bind(Config::new([2; 32], anywhere), provider).await.unwrap();
    tokio::spawn(async move { while holder_events.recv().await.is_some() {} });
    tokio::spawn(async move { while asker_events.recv().await.is_some() {} });
    holder.set_standing(asker.key(), Standing::Member);
    asker.set_standing(holder.key(), Standing::Member);
    asker.connect(holder.key(), vec![holder.local_addr()]);
    let began = Instant::now();
    while asker.connected().is_empty() || holder.connected().is_empty() {
        assert!(began.elapsed() < PATIENCE, "the endpoints do not connect");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let plain = Plain::connect().await;
    let known = blob(folder, 0);
    let bytes = bytes::Bytes::from(std::fs::read(folder.join(name(&known))).unwrap());
    let into = folder.join("into");
    let mut times = [vec![], vec![], vec![]];
    for round in 0..WARM_UP + ROUNDS {
        let new = blob(folder, round + 1);
        let mut seconds = [0.0; 3];
        for (seconds, hash) in seconds.iter_mut().zip([known, new]) {
            let began = Instant::now();
            let size = asker.fetch(holder.key(), hash, SIZE as u64, &into).await.unwrap();
            *seconds = began.elapsed().as_secs_f64();
            assert_eq!(size, SIZE as u64);
            std::fs::remove_file(&into).unwrap();
        }
        let began = Instant::now();
        plain.send(bytes.clone()).await;
        seconds[2] = began.elapsed().as_secs_f64();
        std::fs::remove_file(folder.join(name(&new))).unwrap();
        if round >= WARM_UP {
            times.iter_mut().zip(seconds).for_each(|(times, seconds)| times.push(seconds));
        }
    }
    asker.close().await;
    holder.close().await;
    times
}
