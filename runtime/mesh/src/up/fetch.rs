//! Getting a blob from a peer, and believing it only as far as it was checked.
// spec: DEL-4, DEL-5

use super::blobs::{Blobs, Keeper};
use super::{causes, output};
use mesh_net::{FetchError, Net};
use mesh_protocol::key::PublicKey;
use mesh_protocol::receipt::Receipt;
use mesh_protocol::task::Blob;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How often a transfer that broke off is taken up again where it was. A line that breaks five times within one blob
/// while the peer stays connected is no line.
const TRIES: u32 = 5;
/// How long after the first failure; each time twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Blobs fetched at once. A line gets no faster by more, and each holds an open file.
const AT_ONCE: usize = 16;

/// Fetches.
pub(crate) struct Fetcher {
    net: Net,
    blobs: Arc<Blobs>,
    slots: Semaphore,
}

/// A file under way. Dropped, it is gone.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _taken_in = fs::remove_file(&self.0);
        // What the transport keeps beside a file that is not whole.
        for more in ["part", "obao"] {
            let _none = fs::remove_file(self.0.with_extension(more));
        }
    }
}

impl Fetcher {
    pub(crate) fn new(net: Net, blobs: Arc<Blobs>) -> Self {
        Self { net, blobs, slots: Semaphore::new(AT_ONCE) }
    }

    /// Brings a blob here and keeps it, unless it is here already. With a receipt, it must be the output that the
    /// receipt speaks of. An error is for people.
    pub(crate) async fn fetch(
        &self,
        keeper: Keeper,
        blob: Blob,
        from: PublicKey,
        check: Option<Box<Receipt>>,
    ) -> Result<(), String> {
        if let Some(receipt) = &check {
            output::within(&receipt.output, &receipt.limits).map_err(|error| causes(&error))?;
            if blob.len > output::most_bytes(&receipt.output) {
                return Err("the output is larger than what its receipt speaks of".into());
            }
        }
        let _slot = self.slots.acquire().await.map_err(|error| error.to_string())?;
        let blobs = self.blobs.clone();
        let here = blocking(move || blobs.share(keeper, &blob.hash).map_err(|error| causes(&error))).await?;
        if here {
            return match check {
                Some(receipt) => {
                    let blobs = self.blobs.clone();
                    blocking(move || {
                        let path = blobs.path(&blob.hash).ok_or("it was taken away meanwhile")?;
                        checked(&path, &receipt)
                    })
                    .await
                }
                None => Ok(()),
            };
        }
        self.blobs.room(blob.len).map_err(|error| causes(&error))?;
        let partial = Partial(self.blobs.partial());
        self.transfer(&partial.0, blob, from).await?;
        let blobs = self.blobs.clone();
        blocking(move || {
            let len = fs::metadata(&partial.0).map_err(|error| causes(&error))?.len();
            if len != blob.len {
                return Err(format!("it has {len} bytes and not {}", blob.len));
            }
            if let Some(receipt) = check {
                checked(&partial.0, &receipt)?;
            }
            // What an attempt reads is of no use after a crash, for the attempt is lost too.
            let lasting = keeper == Keeper::Own;
            blobs.adopt(keeper, &partial.0, blob.hash, lasting).map(|_| ()).map_err(|error| causes(&error))
        })
        .await
    }

    async fn transfer(&self, partial: &Path, blob: Blob, from: PublicKey) -> Result<(), String> {
        let mut wait = FIRST_WAIT;
        for left in (0..TRIES).rev() {
            match self.net.fetch(from, blob.hash.0, blob.len, partial).await {
                Ok(_) => return Ok(()),
                Err(error) if left > 0 && is_worth_another_try(&error) && self.is_connected(from) => {
                    tracing::debug!(blob = %blob.hash.short(), peer = %from.short(), %error, "a transfer broke off");
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                Err(error) => return Err(causes(&error)),
            }
        }
        Err("the transfer broke off again and again".into())
    }

    fn is_connected(&self, peer: PublicKey) -> bool {
        self.net.connected().iter().any(|connected| connected.peer == peer)
    }
}

/// A peer that does not have it, or not for us, will not have it in a moment either.
fn is_worth_another_try(error: &FetchError) -> bool {
    !matches!(error, FetchError::NotThere | FetchError::TooLarge { .. } | FetchError::Disk(_))
}

fn checked(path: &Path, receipt: &Receipt) -> Result<(), String> {
    let file = File::open(path).map_err(|error| causes(&error))?;
    output::check(BufReader::new(file), receipt).map_err(|error| causes(&error))
}

/// Does something that may take its time, off the network's threads.
// spec: ARC-5
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(format!("it failed: {error}")))
}
