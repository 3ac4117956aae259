//! Hashes of what goes into a task and what comes out of it.

use crate::ids::{Digest, InputHash};
use serde::{Deserialize, Serialize};

/// One file, folder or link of a tree, by its path from the tree's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeEntry {
    /// Components joined by `/`.
    pub path: String,
    /// What stands there.
    pub node: TreeNode,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TreeNode {
    /// A folder.
    Dir,
    /// A file of this many bytes with this content.
    File {
        /// Its length in bytes.
        len: u64,
        /// BLAKE3 of its bytes.
        content: Digest,
    },
    /// A symbolic link with this target, as written.
    Link(String),
}

/// The digest of a tree. Entries must be sorted by path, as a depth-first walk over sorted folders gives them.
pub fn tree(entries: &[TreeEntry]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("taskmesh tree v1");
    hasher.update(&crate::canonical::encode(&entries));
    Digest(*hasher.finalize().as_bytes())
}

/// The digest of plain bytes.
pub fn bytes(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

/// The hash of all that a task may read: its stdin, if it is known before the start, and its named inputs.
pub fn input(stdin: Option<Digest>, inputs: Digest) -> InputHash {
    let mut hasher = blake3::Hasher::new_derive_key("taskmesh input v1");
    hasher.update(&[u8::from(stdin.is_some())]).update(&stdin.unwrap_or(Digest::ZERO).0).update(&inputs.0);
    InputHash(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_differ_by_path_kind_and_content() {
        let entry = |path: &str, node| TreeEntry { path: path.into(), node };
        let file = |content: &[u8]| TreeNode::File { len: content.len() as u64, content: bytes(content) };
        let digests = [
            tree(&[]),
            tree(&[entry("a", TreeNode::Dir)]),
            tree(&[entry("a", file(b""))]),
            tree(&[entry("a", file(b"x"))]),
            tree(&[entry("b", file(b"x"))]),
            tree(&[entry("a", TreeNode::Link("x".into()))]),
            tree(&[entry("a", TreeNode::Dir), entry("a/b", file(b"x"))]),
        ];
        for (i, a) in digests.iter().enumerate() {
            assert!(digests[i + 1..].iter().all(|b| a != b), "digest {i} is not alone");
        }
    }

    #[test]
    fn no_stdin_and_empty_stdin_differ() {
        assert_ne!(input(None, tree(&[])), input(Some(bytes(b"")), tree(&[])));
    }
}
