use super::{Mutant, Switched, switch};

/// What is broken: a genre, the text at whose first place it begins, and what is there instead.
type Broken = (&'static str, &'static str, &'static str);

fn switched(source: &str, broken: &[Broken]) -> Switched {
    let mutant = |(genre, at, replacement): &Broken| {
        let at = source.find(at).expect("it is there");
        let before = &source[..at];
        let column = before.chars().rev().take_while(|it| *it != '\n').count() + 1;
        Mutant {
            name: String::new(),
            file: String::new(),
            genre: (*genre).to_owned(),
            replacement: (*replacement).to_owned(),
            place: (before.matches('\n').count() + 1, column),
        }
    };
    let mutants: Vec<Mutant> = broken.iter().map(mutant).collect();
    switch(source, &mutants.iter().enumerate().collect::<Vec<_>>()).expect("it is Rust")
}

/// The text, with `?N` for how the code asks for a mutant.
fn text(source: &str, broken: &[Broken]) -> String {
    let text = switched(source, broken).text;
    let mut parts = text.split("crate::mutant::on(");
    let first = parts.next().unwrap_or_default().to_owned();
    first
        + &parts
            .filter_map(|it| it.split_once(')'))
            .map(|(on, after)| format!("?{on}{after}"))
            .collect::<String>()
}

#[test]
fn a_function_answers_at_once_and_what_is_in_it_can_still_be_broken() {
    assert_eq!(
        text(
            "fn f(a: &str) -> Option<bool> { a.parse::<u8>().ok()? == 1 }",
            &[
                ("FnValue", "a.parse", "None"),
                ("FnValue", "a.parse", "Some(true)"),
                ("BinaryOperator", "==", "!="),
            ],
        ),
        "fn f(a: &str) -> Option<bool> { if ?0 { return None; } if ?1 { return Some(true); } \
         (match (&(a.parse::<u8>().ok()? ), &( 1)) { (l_, r_) => if ?2 { *l_ != *r_ } else { *l_ == *r_ } }) }"
    );
}

#[test]
fn operators_within_operators() {
    assert_eq!(
        text(
            "fn f(ä: u8) -> bool { ä + 2 * 3 < 4 && !b() }",
            &[
                ("BinaryOperator", "&&", "||"),
                ("BinaryOperator", "+", "-"),
                ("BinaryOperator", "*", "/"),
                ("BinaryOperator", "<", ">"),
                ("BinaryOperator", "<", "=="),
                ("UnaryOperator", "!", ""),
            ],
        ),
        "fn f(ä: u8) -> bool { (if ((match (&((match ((ä ), ( (match ((2 ), ( 3)) \
         { (l_, r_) => if ?2 { l_ / r_ } else { l_ * r_ } }))) \
         { (l_, r_) => if ?1 { l_ - r_ } else { l_ + r_ } }) ), &( 4)) \
         { (l_, r_) => if ?3 { *l_ > *r_ } else if ?4 { *l_ == *r_ } else { *l_ < *r_ } }) ) != ?0 \
         { (match (b()) { r_ => if ?5 { r_ } else { !r_ } }) } else { ?0 }) }"
    );
    assert_eq!(
        text("fn f() { if a || b {} }", &[("BinaryOperator", "||", "&&")]),
        "fn f() { if (if (a ) == ?0 { b } else { !?0 }) {} }"
    );
}

#[test]
fn what_changes_its_left_side_computes_the_right_one_first() {
    assert_eq!(
        text(
            "fn f(&mut self) { self.a += self.b(1 + 2); }",
            &[("BinaryOperator", "+=", "-="), ("BinaryOperator", "+ 2", "-")],
        ),
        "fn f(&mut self) { (match (self.b((match ((1 ), ( 2)) { (l_, r_) => if ?1 { l_ - r_ } else { l_ + r_ } }))) \
         { r_ => if ?0 { self.a -= r_ } else { self.a += r_ } }); }"
    );
}

#[test]
fn a_match_with_guards_and_without_arms() {
    assert_eq!(
        text(
            "fn f() { match a { 1 | 2 => {} 3 if b == c => {} 4 if d => {} _ => {} } }",
            &[
                ("MatchArm", "1 | 2", ""),
                ("MatchArm", "3 if", ""),
                ("MatchArmGuard", "b ==", "true"),
                ("MatchArmGuard", "b ==", "false"),
                ("BinaryOperator", "==", "!="),
                ("MatchArm", "4 if", ""),
            ],
        ),
        "fn f() { match (a) { 1 | 2 if !?0 => {} \
         3 if !?1 && (if ?2 { true } else if ?3 { false } else { \
         (match (&(b ), &( c)) { (l_, r_) => if ?4 { *l_ != *r_ } else { *l_ == *r_ } }) }) => {} \
         4 if !?5 && ({ d }) => {} _ => {} } }"
    );
}

#[test]
fn a_field_comes_from_the_rest() {
    assert_eq!(
        text(
            "fn f() { S { a: 1 + 2, b, ..c() } }",
            &[("StructField", "a:", ""), ("StructField", "b,", ""), ("BinaryOperator", "+", "-")],
        ),
        "fn f() { S { a: if ?0 { match (c()) { S { a: r_, .. } => r_ } } else { \
         (match ((1 ), ( 2)) { (l_, r_) => if ?2 { l_ - r_ } else { l_ + r_ } }) }, \
         b: if ?1 { match (c()) { S { b: r_, .. } => r_ } } else { b }, ..c() } }"
    );
}

#[test]
fn what_no_code_that_runs_could_ask_for_stays() {
    let source = "const A: u8 = 1 + 2; const fn f() -> u8 { 3 - 4 } fn g() -> impl Fn() { h() } \
                  fn i(a: [u8; 5 * 6]) { if let 7 = j && k == 8 {} }";
    let broken = [
        ("BinaryOperator", "+", "-"),
        ("BinaryOperator", "- 4", "+"),
        ("FnValue", "3 -", "0"),
        ("FnValue", "h()", "0"),
        ("BinaryOperator", "*", "+"),
        ("BinaryOperator", "&&", "||"),
    ];
    let switched = switched(source, &broken);
    assert_eq!((&*switched.text, &*switched.refused), (source, &[5][..]));
}

#[test]
fn the_mutant_the_compiler_speaks_of_is_found() {
    let switched = switched(
        "fn f() -> bool { match g() { 1 => a < b, _ => c } }",
        &[
            ("FnValue", "match", "Default::default()"),
            ("MatchArm", "1 =>", ""),
            ("BinaryOperator", "<", "=="),
            ("BinaryOperator", "<", ">"),
        ],
    );
    let blamed = |at: &str| {
        let start = switched.text.find(at).expect("it is there");
        switched.to_blame(&(start..start + at.len())).to_vec()
    };
    assert_eq!(blamed("Default::default()"), [0]);
    // Without an arm, the match is at fault.
    assert_eq!(blamed("(g())"), [1]);
    assert_eq!(blamed("*l_ == *r_"), [2]);
    assert_eq!(blamed("*l_ > *r_"), [3]);
    // Of what is as it was, what stands before may be the cause.
    assert_eq!(blamed("a "), [2, 3]);
}
