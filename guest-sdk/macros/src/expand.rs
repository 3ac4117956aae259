//! From the author's function to a program. Works on `proc_macro2` alone, so that it is tested as plain code.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, Item, ItemFn, ReturnType, Safety, Type};

const SHAPE: &str = "a task is `fn main(ctx: &mut Context, input: In) -> Result<Out>`";

/// The program, or `compile_error!`s that point at what is wrong.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream, has_manifest: bool) -> TokenStream {
    if let Some(first) = attribute.into_iter().next() {
        let error =
            Error::new(first.span(), "`#[mesh_guest::task]` takes no arguments: limits stand in task.toml");
        return broken(&error, item);
    }
    let function = match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Fn(function)) => function,
        Ok(other) => {
            let at =
                other.to_token_stream().into_iter().next().map_or_else(Span::call_site, |token| token.span());
            return broken(
                &Error::new(at, format!("`#[mesh_guest::task]` belongs on a function: {SHAPE}")),
                item,
            );
        }
        Err(error) => return broken(&error, item),
    };
    if let Err(error) = check(&function) {
        return broken(&error, item);
    }
    program(function, has_manifest)
}

/// A `main` is added because rustc would ask for one, and the author would look for the wrong mistake.
fn broken(error: &Error, item: TokenStream) -> TokenStream {
    let error = error.to_compile_error();
    let has_main = syn::parse2::<ItemFn>(item.clone()).is_ok_and(|function| function.sig.ident == "main");
    if has_main { quote!(#error fn main() {}) } else { quote!(#error #item fn main() {}) }
}

fn check(function: &ItemFn) -> Result<(), Error> {
    let sig = &function.sig;
    let mut found: Option<Error> = None;
    let mut wrong = |span: Span, what: String| {
        let error = Error::new(span, what);
        match &mut found {
            Some(found) => found.combine(error),
            None => found = Some(error),
        }
    };
    if let Some(token) = &sig.asyncness {
        wrong(token.span(), format!("a task cannot be async, it runs alone and may block: {SHAPE}"));
    }
    if let Some(token) = &sig.constness {
        wrong(token.span(), format!("a task cannot be const: {SHAPE}"));
    }
    if let Safety::Unsafe(token) = &sig.safety {
        wrong(token.span(), format!("a task cannot be unsafe: {SHAPE}"));
    }
    if let Some(abi) = &sig.abi {
        wrong(abi.span(), format!("a task needs no ABI of its own: {SHAPE}"));
    }
    if !sig.generics.params.is_empty() {
        wrong(sig.generics.span(), format!("a task cannot be generic, its input has one type: {SHAPE}"));
    } else if let Some(clause) = &sig.generics.where_clause {
        wrong(clause.span(), format!("a task cannot have bounds: {SHAPE}"));
    }
    if let Some(variadic) = &sig.variadic {
        wrong(variadic.span(), format!("a task takes two arguments: {SHAPE}"));
    }
    if let ReturnType::Default = sig.output {
        let say =
            format!("a task returns a `mesh_guest::Result`, of `()` when it has nothing to print: {SHAPE}");
        wrong(sig.ident.span(), say);
    }
    let count = sig.inputs.len();
    if let Some(FnArg::Receiver(receiver)) = sig.inputs.first() {
        wrong(receiver.span(), format!("a task is a free function, without `self`: {SHAPE}"));
    } else if count < 2 {
        let say =
            format!("a task takes two arguments, not {count} (an input of `()` reads nothing): {SHAPE}");
        wrong(sig.paren_token.span.join(), say);
    } else if let Some(extra) = sig.inputs.iter().nth(2) {
        wrong(extra.span(), format!("a task takes two arguments, not {count}: {SHAPE}"));
    } else if let Some(FnArg::Typed(first)) = sig.inputs.first()
        && !matches!(&*first.ty, Type::Reference(reference) if reference.mutability.is_some())
    {
        wrong(
            first.ty.span(),
            format!("the first argument of a task is `&mut mesh_guest::Context`: {SHAPE}"),
        );
    }
    found.map_or(Ok(()), Err)
}

fn program(mut function: ItemFn, has_manifest: bool) -> TokenStream {
    if function.sig.ident == "main" {
        function.sig.ident = Ident::new("task", function.sig.ident.span());
    }
    let name = &function.sig.ident;
    let Some(FnArg::Typed(input)) = function.sig.inputs.iter().nth(1) else {
        return broken(&Error::new(name.span(), SHAPE), function.to_token_stream());
    };
    let input = &input.ty;
    // Spans make "cannot be a task's input" and "… result" point at the type that is meant.
    let output = quote_spanned!(function.sig.output.span()=> _);
    let call = quote!(::mesh_guest::__private::run::<#input, #output>(#name));
    let manifest = manifest(has_manifest);
    quote! {
        #function
        fn main() -> ::std::process::ExitCode {
            #call
        }
        #manifest
    }
}

// spec: SDK-3
fn manifest(exists: bool) -> TokenStream {
    if !exists {
        return quote! {
            ::std::compile_error!(
                "no task.toml beside this crate's Cargo.toml: create one that says what the task needs, at the least\n\
                 [task]\n\
                 name = \"my-task\"\n\
                 description = \"What it does\""
            );
        };
    }
    quote! {
        const _: () = {
            const TEXT: &[u8] =
                ::std::include_bytes!(::std::concat!(::std::env!("CARGO_MANIFEST_DIR"), "/task.toml"));
            ::std::assert!(TEXT.len() <= ::mesh_guest::__private::MAX_MANIFEST, "task.toml is over 64 KiB");
            #[cfg(target_family = "wasm")]
            #[used]
            #[allow(unsafe_code, reason = "a link section is the only way to a custom section")]
            #[unsafe(link_section = "mesh_manifest_v1")]
            static MANIFEST: [u8; TEXT.len()] =
                *::std::include_bytes!(::std::concat!(::std::env!("CARGO_MANIFEST_DIR"), "/task.toml"));
        };
    }
}
