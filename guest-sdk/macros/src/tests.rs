//! What the attribute makes of right and of wrong functions.

use crate::expand::expand;
use proc_macro2::TokenStream;
use quote::quote;

fn program(item: TokenStream) -> String {
    expand(TokenStream::new(), item, true).to_string()
}

/// The text of the first `compile_error!`, and that there is one.
fn refusal(item: TokenStream) -> String {
    let program = program(item);
    let start = program.find("compile_error").expect("no error");
    let text = &program[start..];
    text[..text.find('}').expect("no end")].to_owned()
}

// spec: SDK-1
#[test]
fn main_becomes_task_and_a_program_is_made() {
    let program = program(quote!(
        fn main(ctx: &mut Context, input: Text) -> Result<Text> {
            Ok(input)
        }
    ));
    assert!(program.contains("fn task (ctx : & mut Context , input : Text) -> Result < Text >"), "{program}");
    assert!(program.contains("fn main () -> :: std :: process :: ExitCode"), "{program}");
    assert!(program.contains(":: mesh_guest :: __private :: run :: < Text , _ > (task)"), "{program}");
    assert!(!program.contains("compile_error"), "{program}");
}

#[test]
fn another_name_visibility_and_attributes_are_kept() {
    let program = program(quote!(
        /// Adds.
        pub(crate) fn add(_: &mut mesh_guest::Context, (a, b): (u32, u32)) -> mesh_guest::Result<u32> {
            Ok(a + b)
        }
    ));
    assert!(program.contains("Adds.") && program.contains("pub (crate) fn add"), "{program}");
    assert!(program.contains("run :: < (u32 , u32) , _ > (add)"), "{program}");
}

// spec: SDK-3
#[test]
fn the_manifest_is_a_section_on_wasm_only() {
    let program = program(quote!(
        fn main(ctx: &mut Context, input: ()) -> Result<()> {
            Ok(())
        }
    ));
    let section = format!("link_section = \"{}\"", mesh_protocol::abi::MANIFEST_SECTION);
    assert!(program.contains(&section), "{program}");
    assert!(program.contains("cfg (target_family = \"wasm\")"), "{program}");
}

// spec: SDK-3
#[test]
fn a_missing_manifest_says_what_to_create() {
    let item = quote!(
        fn main(ctx: &mut Context, input: ()) -> Result<()> {
            Ok(())
        }
    );
    let program = expand(TokenStream::new(), item, false).to_string();
    assert!(program.contains("compile_error") && program.contains("no task.toml beside"), "{program}");
}

#[test]
fn wrong_functions_are_refused_with_the_reason() {
    let cases = [
        (
            quote!(
                struct Main;
            ),
            "belongs on a function",
        ),
        (
            quote!(
                async fn main(ctx: &mut Context, input: ()) -> Result<()> {}
            ),
            "cannot be async",
        ),
        (
            quote!(
                unsafe fn main(ctx: &mut Context, input: ()) -> Result<()> {}
            ),
            "cannot be unsafe",
        ),
        (
            quote!(
                fn main<T>(ctx: &mut Context, input: T) -> Result<()> {}
            ),
            "cannot be generic",
        ),
        (
            quote!(
                fn main() -> Result<()> {}
            ),
            "two arguments, not 0",
        ),
        (
            quote!(
                fn main(ctx: &mut Context) -> Result<()> {}
            ),
            "two arguments, not 1",
        ),
        (
            quote!(
                fn main(ctx: &mut Context, a: u8, b: u8) -> Result<()> {}
            ),
            "two arguments, not 3",
        ),
        (
            quote!(
                fn main(ctx: &Context, input: ()) -> Result<()> {}
            ),
            "first argument",
        ),
        (
            quote!(
                fn main(&mut self, input: ()) -> Result<()> {}
            ),
            "without `self`",
        ),
        (
            quote!(
                fn main(ctx: &mut Context, input: ()) {}
            ),
            "returns a `mesh_guest::Result`",
        ),
    ];
    for (item, want) in cases {
        let shown = item.to_string();
        assert!(refusal(item).contains(want), "{shown}: wanted {want}");
    }
}

#[test]
fn several_mistakes_are_told_at_once() {
    let program = program(quote!(
        async fn main<T>() {}
    ));
    assert_eq!(program.matches("compile_error").count(), 4, "{program}");
}

#[test]
fn arguments_of_the_attribute_are_refused() {
    let item = quote!(
        fn main(ctx: &mut Context, input: ()) -> Result<()> {}
    );
    let program = expand(quote!(memory = "1MB"), item, true).to_string();
    assert!(program.contains("takes no arguments"), "{program}");
}
