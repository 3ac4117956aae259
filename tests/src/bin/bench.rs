//! Measures what SBX-15 and SBX-16 promise.

fn main() {
    eprintln!("usage: bench SUITE\nno suite is here yet");
    std::process::exit(2);
}
