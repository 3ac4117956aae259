//! The attribute `#[mesh_guest::task]`. Link `mesh-guest`, which exports it, rather than this crate.

mod expand;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;
use std::path::PathBuf;

/// Makes a function the whole of a task.
///
/// ```ignore
/// #[mesh_guest::task]
/// fn main(ctx: &mut Context, input: In) -> Result<Out> { todo!() }
/// ```
///
/// What is generated:
/// - a `fn main()` that reads the input from stdin, calls the function, writes the result to stdout, and ends with
///   the exit code that goes with the outcome (see `mesh_guest::ErrorKind`);
/// - the author's function as it is, so that tests call it like any other. It keeps its name; only one called `main`
///   gives that name up and is called `task`;
/// - on wasm, a custom section with the manifest `task.toml` that lies beside the crate's `Cargo.toml`.
///
/// The function takes a `&mut mesh_guest::Context` and an input (`mesh_guest::Input`: any `serde::Deserialize` type, or
/// one of the raw ones) and returns `mesh_guest::Result` of an output (`mesh_guest::Output`). It stands at the root of a
/// program (`src/main.rs`), and is neither async nor generic.
// spec: SDK-1
#[proc_macro_attribute]
pub fn task(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    expand::expand(attribute.into(), item.into(), folder.join("task.toml").is_file()).into()
}
