//! Keys at rest under a passphrase: a file that is read by somebody else, or left on an old disk, gives nothing away.
// spec: NET-1

use crate::failure::{Failure, Result};
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use mesh_protocol::ids::{from_hex, to_hex};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Where the passphrase is found by services that are started by nobody at a keyboard: itself, or a file that holds it.
const VARIABLES: (&str, &str) = ("MESH_PASSPHRASE", "MESH_PASSPHRASE_FILE");
/// The same for one that takes its place.
const NEW_VARIABLES: (&str, &str) = ("MESH_NEW_PASSPHRASE", "MESH_NEW_PASSPHRASE_FILE");
/// How a key's file begins that is under a passphrase.
const MAGIC: &str = "mesh-key-1";
/// Memory in KiB and passes of argon2id. 64 MiB and 3: about a tenth of a second here, and as much memory for each guess.
const COST: (u32, u32) = (64 * 1024, 3);
/// Most that a file may ask for: 1 GiB and 16 passes. Whoever changes the file shall not stop the machine.
const MAX_COST: (u32, u32) = (1 << 20, 16);
/// Longest passphrase read.
const MAX: u64 = 1024;

/// A key made of a passphrase, for all files of one peer.
#[derive(Clone)]
pub(crate) struct Lock {
    cost: (u32, u32),
    salt: [u8; 32],
    key: [u8; 32],
}

impl Lock {
    /// A new one, of a passphrase that is asked for twice where a person types it.
    pub(crate) fn make() -> Result<Self> {
        Self::make_of(VARIABLES)
    }

    /// One that takes the place of another.
    pub(crate) fn replace() -> Result<Self> {
        Self::make_of(NEW_VARIABLES)
    }

    /// The one with which a key was opened, if one was.
    pub(crate) fn known() -> Option<Self> {
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn make_of(variables: (&str, &str)) -> Result<Self> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(|error| Failure::because("draw a salt", &error))?;
        let phrase = match given(variables)? {
            Some(phrase) => phrase,
            None => {
                let first = ask("New passphrase: ", variables)?;
                if ask("The same once more: ", variables)? != first {
                    return Err(
                        Failure::new("take the passphrase: the two are not the same").hint("try again")
                    );
                }
                first
            }
        };
        Self::new(&phrase, salt)
    }

    fn new(phrase: &str, salt: [u8; 32]) -> Result<Self> {
        if phrase.is_empty() {
            return Err(
                Failure::new("take the passphrase: it is empty").hint("leave --passphrase out to have none")
            );
        }
        Self::of(phrase, COST, salt)
    }

    fn of(phrase: &str, cost: (u32, u32), salt: [u8; 32]) -> Result<Self> {
        let mut key = [0; 32];
        let params = Params::new(cost.0, cost.1, 1, Some(key.len()));
        params
            .and_then(|params| {
                let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                argon.hash_password_into(phrase.as_bytes(), &salt, &mut key)
            })
            .map_err(|error| Failure::new(format!("make a key of the passphrase: {error}")))?;
        Ok(Self { cost, salt, key })
    }

    /// The text of a file with this name that holds this seed.
    pub(crate) fn seal(&self, name: &str, seed: &[u8; 32]) -> Result<String> {
        let mut nonce = [0; 24];
        getrandom::fill(&mut nonce).map_err(|error| Failure::because("draw a number", &error))?;
        // Bound to the name, so that no file can take another's place.
        let payload = Payload { msg: seed, aad: name.as_bytes() };
        let sealed = XChaCha20Poly1305::new(&self.key.into())
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Failure::new("put the key under the passphrase"))?;
        let (memory, passes) = self.cost;
        Ok(format!(
            "{MAGIC} argon2id {memory} {passes} {} {} {}\n",
            to_hex(&self.salt),
            to_hex(&nonce),
            to_hex(&sealed)
        ))
    }
}

/// Is this a key under a passphrase?
pub(crate) fn is_sealed(text: &str) -> bool {
    text.starts_with(MAGIC)
}

/// The seed in a file with this name; the passphrase is asked for if it is not known yet.
pub(crate) fn open(path: &Path, name: &str, text: &str) -> Result<[u8; 32]> {
    open_with(path, name, text, &|| match given(VARIABLES)? {
        Some(phrase) => Ok(phrase),
        None => ask("Passphrase of this peer's keys: ", VARIABLES),
    })
}

/// The lock of the files read so far, so that it is asked for and made once.
static KNOWN: Mutex<Option<Lock>> = Mutex::new(None);

fn open_with(path: &Path, name: &str, text: &str, phrase: &dyn Fn() -> Result<String>) -> Result<[u8; 32]> {
    let damaged = || {
        Failure::new(format!("read the key {}: it is damaged", path.display()))
            .hint("put it back from a backup; if there is none, move it away, and `mesh up` says what can be done without it")
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let [MAGIC, "argon2id", memory, passes, salt, nonce, sealed] = words[..] else { return Err(damaged()) };
    let cost: (u32, u32) = (memory.parse().map_err(|_| damaged())?, passes.parse().map_err(|_| damaged())?);
    if cost.0 > MAX_COST.0 || cost.1 > MAX_COST.1 {
        return Err(damaged());
    }
    let salt: [u8; 32] = from_hex(salt).map_err(|_| damaged())?;
    let nonce: [u8; 24] = from_hex(nonce).map_err(|_| damaged())?;
    let sealed: [u8; 48] = from_hex(sealed).map_err(|_| damaged())?;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let lock = match known.as_ref().filter(|lock| lock.salt == salt && lock.cost == cost) {
        Some(lock) => lock.clone(),
        None => Lock::of(&phrase()?, cost, salt)?,
    };
    let payload = Payload { msg: &sealed, aad: name.as_bytes() };
    let seed = XChaCha20Poly1305::new(&lock.key.into()).decrypt(&XNonce::from(nonce), payload);
    let seed = seed.ok().and_then(|seed| <[u8; 32]>::try_from(seed).ok()).ok_or_else(|| {
        Failure::new(format!(
            "open the key {}: the passphrase does not fit, or the file is damaged",
            path.display()
        ))
        .hint(format!(
            "type it again, or set {} or {}; without it the keys are lost",
            VARIABLES.0, VARIABLES.1
        ))
    })?;
    *known = Some(lock);
    Ok(seed)
}

/// The passphrase that the environment names.
fn given((variable, file_variable): (&str, &str)) -> Result<Option<String>> {
    if let Some(phrase) = std::env::var(variable).ok().filter(|phrase| !phrase.is_empty()) {
        return Ok(Some(phrase));
    }
    let Some(path) = std::env::var_os(file_variable).map(PathBuf::from) else { return Ok(None) };
    let failed = |error: std::io::Error| Failure::file("read the passphrase", &path, &error);
    let file = File::open(&path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.is_file() {
        crate::home::owned(&path, &meta)?;
    }
    if meta.is_file() && meta.mode() & 0o077 != 0 {
        return Err(Failure::new(format!("use {}: others can read or change it", path.display()))
            .hint(format!("chmod 600 {}", path.display())));
    }
    let mut text = String::new();
    file.take(MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Asks whoever sits at the terminal, without showing what is typed.
fn ask(question: &str, (variable, file_variable): (&str, &str)) -> Result<String> {
    let unattended = |why: &dyn std::fmt::Display| {
        Failure::new(format!("ask for the passphrase of this peer's keys: {why}")).hint(format!(
            "set {file_variable} to a file that holds it, or {variable} to the passphrase itself"
        ))
    };
    let mut terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|_| unattended(&"nobody sits at a terminal"))?;
    let before = tcgetattr(&terminal).map_err(|error| unattended(&error))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    terminal.write_all(question.as_bytes()).map_err(|error| unattended(&error))?;
    tcsetattr(&terminal, OptionalActions::Flush, &silent).map_err(|error| unattended(&error))?;
    let mut line = String::new();
    let read = BufReader::new((&terminal).take(MAX)).read_line(&mut line);
    let _shown_again = tcsetattr(&terminal, OptionalActions::Flush, &before);
    let _next_line = terminal.write_all(b"\n");
    read.map_err(|error| unattended(&error))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: NET-1
    #[test]
    fn a_key_opens_with_its_passphrase_and_name_alone() {
        let lock = Lock::of("open sesame", (64, 1), [3; 32]).unwrap();
        let text = lock.seal("user.key", &[7; 32]).unwrap();
        assert!(is_sealed(&text) && !text.contains(&to_hex(&[7; 32])));
        let open = |name: &str, text: &str, phrase: &str| {
            let phrase = phrase.to_owned();
            open_with(Path::new("x"), name, text, &|| Ok(phrase.clone()))
        };
        let wrong = open("user.key", &text, "open barley").unwrap_err().to_string();
        assert!(wrong.contains("does not fit") && wrong.contains("hint: "), "{wrong}");
        assert!(open("device.key", &text, "open sesame").is_err(), "it is another file's");
        assert_eq!(open("user.key", &text, "open sesame").unwrap(), [7; 32]);
        // Known by now, it is not asked for again.
        let asked = open_with(Path::new("x"), "user.key", &text, &|| Err(Failure::new("asked")));
        assert_eq!(asked.unwrap(), [7; 32]);
        let spoilt = text.replace("argon2id 64 1", "argon2id 4000000000 1");
        assert!(open("user.key", &spoilt, "open sesame").unwrap_err().to_string().contains("damaged"));
        assert!(open("user.key", "mesh-key-1 x", "y").unwrap_err().to_string().contains("damaged"));
        assert!(Lock::new("", [3; 32]).is_err());
    }
}
