//! Puts all mutants of a file into its text at once, each behind a switch that a test run turns on by its number.
//!
//! The code as it is and what cargo-mutants makes of it stand side by side, so that one build serves for all. Where a
//! value is computed, both are given the same operands, computed once and in the order in which they always were. An
//! operator binds as that which it replaces, where cargo-mutants lets those around it regroup.

use proc_macro2::Span;
use std::collections::BTreeMap;
use std::ops::Range;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, Expr, Signature, UnOp};

/// A mutant as cargo-mutants lists it.
pub(super) struct Mutant {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) genre: String,
    pub(super) replacement: String,
    /// Line and column at which it begins, both from 1.
    pub(super) place: (usize, usize),
}

/// A file with its mutants in it.
#[derive(Default)]
pub(super) struct Switched {
    pub(super) text: String,
    /// Those that are no Rust where they stand.
    pub(super) refused: Vec<usize>,
    /// What was inserted where, in the order of places, and for which mutants.
    pub(super) inserted: Vec<(Range<usize>, Vec<usize>)>,
}

impl Switched {
    /// The mutants that are to blame for what the compiler does not like there: the outermost that is there, or what
    /// stands before.
    pub(super) fn to_blame(&self, there: &Range<usize>) -> &[usize] {
        let there_too = |place: &Range<usize>| place.start < there.end && there.start < place.end;
        let found = self.inserted.iter().find(|(place, _)| there_too(place));
        let found = found.or_else(|| self.inserted.iter().rfind(|(place, _)| place.end <= there.start));
        let Some((place, mutants)) = found else { return &[] };
        // Of several in one text, that whose switch was asked last.
        let before = self.text.get(place.start..there.start).unwrap_or_default();
        let last = (0..mutants.len()).max_by_key(|at| mutants.get(*at).and_then(|it| before.rfind(&on(*it))));
        match last.and_then(|at| mutants.get(at..=at)) {
            Some(last) if last.iter().all(|it| before.contains(&on(*it))) => last,
            _ => mutants,
        }
    }
}

/// How the code asks whether a mutant is on.
fn on(mutant: usize) -> String {
    format!("crate::mutant::on({mutant})")
}

/// The module that is asked, in a crate with so many mutants.
pub(super) fn module(mutants: usize) -> String {
    include_str!("on.rs").replace("MUTANTS", &mutants.to_string())
}

/// `source` with its mutants, by their numbers. What is neither inserted nor refused has no place where code that runs
/// could ask for it: a constant, or a function that returns `impl Trait`, whose every `return` must be of one type.
pub(super) fn switch(source: &str, mutants: &[(usize, &Mutant)]) -> syn::Result<Switched> {
    let file = syn::parse_file(source)?;
    let lines: Vec<&str> = source.split_inclusive('\n').collect();
    let mut places: BTreeMap<_, Mutants<'_>> = BTreeMap::new();
    for (number, mutant) in mutants {
        let (line, column) = mutant.place;
        let before = lines.iter().take(line - 1).map(|it| it.len()).sum::<usize>();
        let chars = lines.get(line - 1).into_iter().flat_map(|it| it.chars());
        let at = before + chars.take(column - 1).map(char::len_utf8).sum::<usize>();
        places.entry((mutant.genre.as_str(), at)).or_default().push((*number, &mutant.replacement));
    }
    let mut inserter = Inserter { source, places, steps: Vec::new(), refused: Vec::new() };
    inserter.visit_file(&file);
    let mut switched = Switched { refused: inserter.refused, ..Switched::default() };
    inserter.steps.sort_by_key(|it| it.order);
    let mut done = 0;
    for Step { order: (at, ..), until, text, mutants } in inserter.steps {
        switched.text += source.get(done..at).unwrap_or_default();
        let start = switched.text.len();
        switched.text += &text;
        switched.inserted.push((start..switched.text.len(), mutants));
        done = until;
    }
    switched.text += source.get(done..).unwrap_or_default();
    Ok(switched)
}

/// Numbers of mutants at one place, and what each puts there.
type Mutants<'a> = Vec<(usize, &'a str)>;

/// A text that is inserted.
struct Step {
    /// Its place; there, what closes before what opens; of that, what opened last and what closes last first.
    order: (usize, bool, std::cmp::Reverse<usize>, isize),
    /// Where the source goes on.
    until: usize,
    text: String,
    mutants: Vec<usize>,
}

struct Inserter<'a> {
    source: &'a str,
    /// What is to be inserted, by genre and the place where it begins.
    places: BTreeMap<(&'a str, usize), Mutants<'a>>,
    steps: Vec<Step>,
    refused: Vec<usize>,
}

impl<'a> Inserter<'a> {
    fn found(&mut self, genre: &'static str, at: Span) -> Mutants<'a> {
        self.places.remove(&(genre, at.byte_range().start)).unwrap_or_default()
    }

    fn text(&self, at: Span) -> &'a str {
        self.source.get(at.byte_range()).unwrap_or_default()
    }

    fn wrap(&mut self, at: Range<usize>, before: &str, after: &str, mutants: &[(usize, &str)]) {
        let number = self.steps.len().cast_signed();
        let mutants: Vec<usize> = mutants.iter().map(|it| it.0).collect();
        let order = [(at.start, true, at.end, number), (at.end, false, at.start, -number)];
        for ((at, opens, other, number), text) in order.into_iter().zip([before, after]) {
            let order = (at, opens, std::cmp::Reverse(other), number);
            self.steps.push(Step { order, until: at, text: text.to_owned(), mutants: mutants.clone() });
        }
    }

    fn replace(&mut self, at: Range<usize>, text: &str, mutants: &[(usize, &str)]) {
        let order = (at.start, true, std::cmp::Reverse(at.end), self.steps.len().cast_signed());
        let mutants = mutants.iter().map(|it| it.0).collect();
        self.steps.push(Step { order, until: at.end, text: text.to_owned(), mutants });
    }

    /// A function that answers something else at once.
    fn body(&mut self, signature: &Signature, block: &Block) {
        let mut words = self.text(signature.output.span()).split(|it: char| !it.is_alphanumeric());
        if let Some(first) = block.stmts.first()
            && !words.any(|it| it == "impl")
        {
            // Around all of it, so that nothing that begins where it does is further outside.
            let at = first.span().byte_range().start..block.span().byte_range().end;
            for mutant in self.found("FnValue", first.span()) {
                let before = format!("if {} {{ return {}; }} ", on(mutant.0), mutant.1);
                self.wrap(at.clone(), &before, "", &[mutant]);
            }
        }
    }
}

/// One choice after the other, and else the code as it is.
fn choice(mutants: &[(usize, &str)], of: impl Fn(&str) -> String, is: &str) -> String {
    let ifs = mutants.iter().map(|(number, with)| format!("if {} {{ {} }} else ", on(*number), of(with)));
    ifs.collect::<String>() + &format!("{{ {} }}", of(is))
}

/// Part of a chain with `let`, where nothing but `&&` may stand.
fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(it) => has_let(&it.left) || has_let(&it.right),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Inserter<'_> {
    // What the compiler computes can ask no switch.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}
    fn visit_variant(&mut self, _: &'ast syn::Variant) {}

    fn visit_expr_repeat(&mut self, it: &'ast syn::ExprRepeat) {
        self.visit_expr(&it.expr);
    }

    fn visit_item_fn(&mut self, it: &'ast syn::ItemFn) {
        if it.sig.constness.is_none() {
            self.body(&it.sig, &it.block);
            self.visit_block(&it.block);
        }
    }

    fn visit_impl_item_fn(&mut self, it: &'ast syn::ImplItemFn) {
        if it.sig.constness.is_none() {
            self.body(&it.sig, &it.block);
            self.visit_block(&it.block);
        }
    }

    fn visit_trait_item_fn(&mut self, it: &'ast syn::TraitItemFn) {
        if let Some(block) = &it.default {
            self.body(&it.sig, block);
            self.visit_block(block);
        }
    }

    fn visit_expr_binary(&mut self, it: &'ast syn::ExprBinary) {
        let mutants = self.found("BinaryOperator", it.op.span());
        let Some((first, _)) = mutants.first() else { return visit::visit_expr_binary(self, it) };
        if has_let(&it.left) || has_let(&it.right) {
            self.refused.extend(mutants.iter().map(|it| it.0));
            return visit::visit_expr_binary(self, it);
        }
        let (whole, right) = (it.span().byte_range(), it.right.span().byte_range());
        let (sign, left, on) = (self.text(it.op.span()), self.text(it.left.span()), on(*first));
        let (before, between, after) = match sign {
            // The right side is computed only if it matters, and just once in the text.
            "&&" => ("(if (", &*format!(") != {on} {{"), format!(" }} else {{ {on} }})")),
            "||" => ("(if (", &*format!(") == {on} {{"), format!(" }} else {{ !{on} }})")),
            "==" | "!=" | "<" | "<=" | ">" | ">=" => {
                let choice = choice(&mutants, |sign| format!("*l_ {sign} *r_"), sign);
                ("(match (&(", "), &(", format!(")) {{ (l_, r_) => {choice} }})"))
            }
            // The right side may need what the left one changes, and is computed first.
            _ if sign.ends_with('=') => {
                let choice = choice(&mutants, |sign| format!("{left} {sign} r_"), sign);
                self.wrap(whole.clone(), "(match (", &format!(") {{ r_ => {choice} }})"), &mutants);
                self.replace(whole.start..right.start, "", &mutants);
                return self.visit_expr(&it.right);
            }
            _ => {
                let choice = choice(&mutants, |sign| format!("l_ {sign} r_"), sign);
                ("(match ((", "), (", format!(")) {{ (l_, r_) => {choice} }})"))
            }
        };
        self.wrap(whole, before, &after, &mutants);
        self.replace(it.op.span().byte_range(), between, &mutants);
        visit::visit_expr_binary(self, it);
    }

    fn visit_expr_unary(&mut self, it: &'ast syn::ExprUnary) {
        let mutants = self.found("UnaryOperator", it.op.span());
        if let (UnOp::Not(_) | UnOp::Neg(_), false) = (&it.op, mutants.is_empty()) {
            let choice = choice(&mutants, |sign| format!("{sign}r_"), self.text(it.op.span()));
            let after = format!(") {{ r_ => {choice} }})");
            self.wrap(it.span().byte_range(), "(match (", &after, &mutants);
            self.replace(it.op.span().byte_range(), "", &mutants);
        }
        visit::visit_expr_unary(self, it);
    }

    fn visit_expr_match(&mut self, it: &'ast syn::ExprMatch) {
        let place = |arm: &syn::Arm| ("MatchArm", arm.span().byte_range().start);
        let gone: Vec<_> =
            it.arms.iter().filter_map(|it| self.places.get(&place(it))).flatten().copied().collect();
        // That without an arm not everything is matched, the compiler says here and not there.
        if !gone.is_empty() {
            self.wrap(it.expr.span().byte_range(), "(", ")", &gone);
        }
        visit::visit_expr_match(self, it);
    }

    fn visit_arm(&mut self, it: &'ast syn::Arm) {
        let gone = self.found("MatchArm", it.span());
        let there = gone.first().map(|it| format!("!{}", on(it.0)));
        if let Some((_, guard)) = &it.guard {
            let mutants = self.found("MatchArmGuard", guard.span());
            let before = choice(&mutants, str::to_owned, "");
            let before =
                format!("{} && ({}", there.as_deref().unwrap_or("true"), before.trim_end_matches(" }"));
            let all: Vec<_> = gone.into_iter().chain(mutants).collect();
            if !all.is_empty() {
                self.wrap(guard.span().byte_range(), &before, " })", &all);
            }
        } else if let Some(there) = there {
            let end = it.pat.span().byte_range().end;
            self.replace(end..end, &format!(" if {there}"), &gone);
        }
        visit::visit_arm(self, it);
    }

    /// A field that is left out is that of what follows `..`, which is computed once more for it.
    fn visit_expr_struct(&mut self, it: &'ast syn::ExprStruct) {
        for field in &it.fields {
            for mutant in self.found("StructField", field.span()) {
                let rest = it.rest.as_ref().map(|it| self.text(it.span())).unwrap_or_default();
                let [path, name] = [it.path.span(), field.member.span()].map(|it| self.text(it));
                let label = if field.colon_token.is_some() { String::new() } else { format!("{name}: ") };
                let rest = format!("match ({rest}) {{ {path} {{ {name}: r_, .. }} => r_ }}");
                let before = format!("{label}if {} {{ {rest} }} else {{ ", on(mutant.0));
                self.wrap(field.expr.span().byte_range(), &before, " }", &[mutant]);
            }
        }
        visit::visit_expr_struct(self, it);
    }
}

#[cfg(test)]
mod tests;
