//! What may be handed in as a module: bytes of every kind, and modules too large or too twisted for text.

use crate::support::{Home, Run, assemble, files};
use std::io::Write;
use std::path::Path;

/// A number as wasm writes it.
fn leb(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

const HEADER: &[u8] = b"\0asm\x01\0\0\0";

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], &leb(content.len() as u64)[..], content].concat()
}

fn custom(name: &str, content: &[u8]) -> Vec<u8> {
    section(0, &[&leb(name.len() as u64), name.as_bytes(), content].concat())
}

fn module(sections: &[Vec<u8>]) -> Vec<u8> {
    [HEADER, &sections.concat()].concat()
}

fn types() -> Vec<u8> {
    section(1, &[1, 0x60, 0, 0])
}

fn entry() -> Vec<u8> {
    section(7, b"\x01\x06_start\0\0")
}

/// So many functions that do nothing; the first is `_start`.
fn functions(count: u64) -> Vec<u8> {
    let declared = [leb(count), vec![0; count as usize]].concat();
    let bodies = [leb(count), [2, 0, 0x0b].repeat(count as usize)].concat();
    module(&[types(), section(3, &declared), entry(), section(10, &bodies)])
}

/// `_start` with this body, locals and end included.
fn body(body: &[u8]) -> Vec<u8> {
    let code = [&[1], &leb(body.len() as u64)[..], body].concat();
    module(&[types(), section(3, &[1, 0]), entry(), section(10, &code)])
}

fn good() -> Vec<u8> {
    assemble(
        "good",
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "_start")
              ;; Not a data segment: the code must come last, so that nothing before its end is a whole module.
              (i64.store (i32.const 8) (i64.const 0x0a646f6f67))
              (i32.store (i32.const 0) (i32.const 8))
              (i32.store (i32.const 4) (i32.const 5))
              (drop (call 0 (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#,
    )
}

fn run(home: &Home, bytes: &[u8]) -> Run {
    home.run().args(["--fuel", "100000000"]).arg(home.file("module.wasm", bytes)).go()
}

/// Refused, or run to an outcome of its own; never a failure of the sandbox.
fn decided(run: &Run) -> &Run {
    let code = run.code.unwrap_or(-1);
    run.holds((0..=128).contains(&code), "it should be refused or run").holds(
        !run.stderr.contains("panicked") && !run.stderr.contains("overflowed its stack"),
        "nothing of the host may panic",
    )
}

// Cases 1, 4, 28.
// spec: SBX-1, SBX-8
#[test]
fn what_is_no_module_is_refused_with_what_it_looks_like() {
    let home = Home::new();
    let mut zip = b"PK\x03\x04\x14\0\0\0\x08\0".to_vec();
    zip.extend([0; 100]);
    let cases: [(&str, &[u8]); 17] = [
        ("nothing at all", b""),
        ("one byte", b"\0"),
        ("half the magic number", b"\0as"),
        ("the magic number alone", b"\0asm"),
        ("half a version", b"\0asm\x01\0"),
        ("an unknown version", b"\0asm\x02\0\0\0"),
        ("an unknown layer", b"\0asm\x0d\0\x02\0"),
        ("a header alone", HEADER),
        ("a component's header alone", b"\0asm\x0d\0\x01\0"),
        ("text of wasm", b"(module (func (export \"_start\")))"),
        ("a program of this machine", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0"),
        ("a program of another machine", b"MZ\x90\0\x03\0\0\0"),
        ("a compressed module", b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
        ("an archive", &zip),
        ("a web page", b"<!doctype html><html><body>404</body></html>"),
        ("a script", b"#!/bin/sh\nrm -rf /\n"),
        ("zeros", &[0; 4096]),
    ];
    for (what, bytes) in cases {
        let run = run(&home, bytes);
        run.refused("").holds(!run.stderr.contains("panicked"), what);
    }
    run(&home, HEADER).refused("_start");
    let text = run(&home, b"(module (func (export \"_start\")))");
    text.says_error("text");
}

// spec: SBX-1, SBX-8
#[test]
fn a_module_that_is_not_there_or_is_no_file_is_a_failure_of_the_call() {
    let home = Home::new();
    let run = home.mesh().arg("run").arg(home.path("files/none.wasm")).go();
    run.holds(run.code == Some(134), "there is no such file").says_error("none.wasm");
    let run = home.mesh().arg("run").arg(home.path("files")).go();
    run.holds(matches!(run.code, Some(126 | 134)), "a folder is no module");
    let run = home.mesh().arg("run").arg("/dev/zero").go();
    run.holds(matches!(run.code, Some(126 | 134)), "a file without end is no module");
    let run = home.mesh().arg("run").go();
    run.holds(run.code == Some(2), "nothing to run");
}

// Case 2.
// spec: SBX-1
#[test]
fn a_module_cut_short_anywhere_is_refused() {
    let home = Home::new();
    let good = good();
    run(&home, &good).exits(0).says("good");
    for len in 0..good.len() {
        let run = run(&home, &good[..len]);
        run.refused("").holds(!run.stderr.contains("panicked"), &format!("cut to {len} bytes"));
    }
}

// Case 3.
// spec: SBX-1, SBX-8
#[test]
fn a_module_with_a_flipped_bit_is_refused_or_runs_like_any_other() {
    let home = Home::new();
    let good = good();
    // Steps of a prime cover every byte, and every bit somewhere.
    for bit in (0..good.len() * 8).step_by(13) {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        decided(&run(&home, &bytes));
    }
}

// Case 3.
// spec: SBX-1
#[test]
fn a_module_whose_numbers_lie_is_refused() {
    let home = Home::new();
    let rest = [section(3, &[1, 0]), entry(), section(10, &[1, 2, 0, 0x0b])].concat();
    let with = |start: &[u8]| [HEADER, start, &rest].concat();
    let cases = [
        ("a size in six bytes", with(b"\x01\x84\x80\x80\x80\x80\x00\x01\x60\0\0")),
        ("a size beyond 32 bits", with(b"\x01\x84\x80\x80\x80\x10\x01\x60\0\0")),
        ("a size that never ends", with(&[&[1][..], &[0x80; 64]].concat())),
        ("a section larger than the file", [HEADER, b"\x01\xff\xff\xff\xff\x0f\x01"].concat()),
        ("four billion types", with(b"\x01\x05\xff\xff\xff\xff\x0f")),
        ("four billion functions", module(&[types(), section(3, &leb(u32::MAX.into())), entry()])),
        (
            "a body larger than its section",
            module(&[types(), section(3, &[1, 0]), entry(), section(10, &[1, 0x7f, 0, 0x0b])]),
        ),
        (
            "more bodies than functions",
            module(&[types(), section(3, &[1, 0]), entry(), section(10, &[2, 2, 0, 0x0b, 2, 0, 0x0b])]),
        ),
        ("a section twice", module(&[types(), types(), rest.clone()])),
        ("sections in the wrong order", module(&[rest.clone(), types()])),
        ("an unknown section", module(&[section(77, b"x"), types(), rest.clone()])),
        ("a name that is not text", module(&[section(0, b"\x02\xff\xfe"), types(), rest.clone()])),
        ("a name longer than its section", module(&[section(0, b"\x7fx"), types(), rest.clone()])),
        ("bytes after the end", [module(&[types(), rest.clone()]), vec![0xff; 9]].concat()),
    ];
    for (what, bytes) in cases {
        let run = run(&home, &bytes);
        run.holds(run.code == Some(126), what).refused("");
    }
}

// Case 5.
// spec: SBX-1, SBX-12
#[test]
fn precompiled_code_is_refused_even_our_own() {
    let home = Home::new();
    run(&home, &good()).exits(0);
    let kept = files(&home.cache());
    assert!(!kept.is_empty(), "a compiled module should be kept in {}", home.cache().display());
    for path in kept {
        let bytes = std::fs::read(&path).unwrap();
        run(&home, &bytes).refused("");
        // Without what the cache puts around it, as an engine would write it.
        if let Some(at) = bytes.windows(4).position(|four| four == b"\x7fELF") {
            run(&home, &bytes[at..]).refused("");
        }
    }
}

// Cases 25 and 26.
// spec: SBX-6
#[test]
fn a_module_of_a_million_functions_is_refused() {
    let home = Home::new();
    run(&home, &functions(1_000_000)).refused("functions");
}

// spec: SBX-6
#[test]
fn sixty_thousand_functions_are_refused_or_compiled_in_time() {
    let home = Home::new();
    decided(&run(&home, &functions(60_000)));
}

// spec: SBX-6
#[test]
fn a_function_of_seven_megabytes_is_refused() {
    let home = Home::new();
    // Seven million times: nothing.
    let code = [&[0], &[0x01].repeat(7_000_000)[..], &[0x0b]].concat();
    run(&home, &body(&code)).refused("");
}

// spec: SBX-6
#[test]
fn what_is_costly_to_compile_is_refused_or_compiled_in_time() {
    let home = Home::new();
    let nested = |depth: usize| {
        let code = [&[0], &[0x02, 0x40].repeat(depth)[..], &[0x0b].repeat(depth + 1)].concat();
        body(&code)
    };
    let table = |targets: u64| {
        let head = [&[0][..], &[0x02, 0x40, 0x41, 0, 0x0e], &leb(targets)].concat();
        let code = [&head, &vec![0; targets as usize + 1][..], &[0x0b, 0x0b]].concat();
        body(&code)
    };
    let locals = |count: u64, kinds: &[u8]| {
        let groups: Vec<u8> = kinds.iter().flat_map(|&kind| [leb(count), vec![kind]].concat()).collect();
        body(&[leb(kinds.len() as u64), groups, vec![0x0b]].concat())
    };
    // Every local is kept alive to the end, which is what makes them costly.
    let kept_alive = {
        let count = 5_000u64;
        let set = (0..count).flat_map(|n| [vec![0x42, 1, 0x21], leb(n)].concat());
        let get = (0..count).flat_map(|n| [vec![0x20], leb(n), vec![0x1a]].concat());
        let code: Vec<u8> =
            [vec![1], leb(count), vec![0x7e]].concat().into_iter().chain(set).chain(get).collect();
        body(&[code, vec![0x0b]].concat())
    };
    let params = |count: usize| {
        let kind = [&[1, 0x60][..], &leb(count as u64), &[0x7e].repeat(count), &[0]].concat();
        module(&[section(1, &kind), section(3, &[1, 0]), entry(), section(10, &[1, 2, 0, 0x0b])])
    };
    for (what, bytes) in [
        ("20,000 blocks, each in the one before", nested(20_000)),
        ("a jump table of 60,000 targets", table(60_000)),
        ("a jump table of a million targets", table(1_000_000)),
        ("50,000 locals", locals(50_000, &[0x7e])),
        ("50,001 locals", locals(50_001, &[0x7e])),
        ("locals beyond 32 bits", locals(0xffff_ffff, &[0x7e, 0x7d, 0x7c])),
        ("5,000 locals kept alive", kept_alive),
        ("1,000 parameters", params(1_000)),
        ("1,001 parameters", params(1_001)),
    ] {
        let run = run(&home, &bytes);
        decided(&run).holds(run.code != Some(127), what);
    }
}

// Case 24.
// spec: SBX-6
#[test]
fn a_hundred_thousand_segments_are_refused() {
    let home = Home::new();
    let count = 100_000;
    let rest = [entry(), section(12, &leb(count)), section(10, &[1, 2, 0, 0x0b])].concat();
    let memory = section(5, &[1, 0, 1]);
    let data = section(11, &[leb(count), [0, 0x41, 0, 0x0b, 1, b'x'].repeat(count as usize)].concat());
    run(&home, &module(&[types(), section(3, &[1, 0]), memory, rest, data])).refused("");

    let table = section(4, &[1, 0x70, 0, 1]);
    let elements = section(9, &[leb(count), [0, 0x41, 0, 0x0b, 1, 0].repeat(count as usize)].concat());
    let code = section(10, &[1, 2, 0, 0x0b]);
    run(&home, &module(&[types(), section(3, &[1, 0]), table, entry(), elements, code])).refused("");
}

// spec: SBX-6, SBX-10
#[test]
fn a_hundred_thousand_imports_are_refused_and_not_all_listed() {
    let home = Home::new();
    let count = 100_000u64;
    let imports: Vec<u8> = (0..count)
        .flat_map(|n| {
            let name = format!("f{n}");
            [b"\x03env".to_vec(), leb(name.len() as u64), name.into_bytes(), vec![0, 0]].concat()
        })
        .collect();
    let imports = section(2, &[leb(count), imports].concat());
    let entry = section(7, &[b"\x01\x06_start\0".to_vec(), leb(count)].concat());
    let run =
        run(&home, &module(&[types(), imports, section(3, &[1, 0]), entry, section(10, &[1, 2, 0, 0x0b])]));
    run.refused("").holds(run.stderr_bytes < 100_000, "the reason must be readable");
}

// Case 29.
// spec: SBX-6
#[test]
fn custom_sections_of_a_hundred_megabytes_are_refused() {
    let home = Home::new();
    let ballast = custom("ballast", &vec![0; 100_000_000]);
    run(&home, &[good(), ballast].concat()).refused("");
}

// spec: SBX-6
#[test]
fn ten_thousand_custom_sections_are_refused() {
    let home = Home::new();
    run(&home, &[good(), custom("x", b"y").repeat(10_000)].concat()).refused("");
}

// Case 5 of the names: a forged name section is for debuggers, not for the terminal.
// spec: SBX-11
#[test]
fn names_in_a_module_cannot_steer_the_terminal() {
    let home = Home::new();
    let bytes = assemble(
        "names",
        r#"(module
            (import "\1b]0;owned\07\1b[2J" "\e2\80\aegnp.exe" (func))
            (func (export "_start")))"#,
    );
    let refused = run(&home, &bytes);
    refused.refused("");
    let inspected = home.mesh().arg("inspect").arg(home.path("files/module.wasm")).go();
    for text in [&refused.stderr, &inspected.stderr, &inspected.out()] {
        assert!(!text.contains(['\x1b', '\x07', '\u{202e}']), "steers the terminal: {text:?}");
    }
}

const MANIFEST: &str = "[task]\nname = \"good\"\n";

fn with_manifest(text: &[u8]) -> Vec<u8> {
    [good(), custom("mesh_manifest_v1", text)].concat()
}

// spec: SDK-3
#[test]
fn a_manifest_that_stands_twice_is_too_long_or_no_text_is_refused() {
    let home = Home::new();
    run(&home, &with_manifest(MANIFEST.as_bytes())).exits(0).says("good");
    let twice =
        [with_manifest(MANIFEST.as_bytes()), custom("mesh_manifest_v1", MANIFEST.as_bytes())].concat();
    run(&home, &twice).refused("manifest");
    let long = format!("{MANIFEST}# {}", "x".repeat(64 * 1024));
    run(&home, &with_manifest(long.as_bytes())).refused("manifest");
    run(&home, &with_manifest(b"\xff\xfe")).refused("manifest");
    run(&home, &with_manifest(b"")).refused("manifest");
    run(&home, &with_manifest(&[b'['; 60_000])).refused("manifest");
    run(&home, &with_manifest(&[b"a = ", &[b'['; 60_000][..]].concat())).refused("manifest");
}

// spec: SDK-3
#[test]
fn a_manifest_inside_a_nested_module_is_refused() {
    let home = Home::new();
    let inner = with_manifest(MANIFEST.as_bytes());
    let component = [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &inner)].concat();
    run(&home, &component).refused("manifest");
    let outer = [component, custom("mesh_manifest_v1", MANIFEST.as_bytes())].concat();
    run(&home, &outer).refused("manifest");
}

// Cases 46 and 59.
// spec: SBX-10, SDK-3
#[test]
fn a_manifest_that_asks_for_what_nobody_may_have_is_refused() {
    let home = Home::new();
    for (asks, part) in [
        ("[permissions]\nshares = { \"/\" = \"rw\" }", "shares"),
        ("[permissions]\nshares = { \"..\" = \"ro\" }", "shares"),
        ("[permissions]\nshares = { \"~/.ssh\" = \"ro\" }", "shares"),
        ("[permissions]\ninputs = [\"../../etc/passwd\"]", "inputs"),
        ("[permissions]\nenv = [\"LD_PRELOAD=/x\"]", "env"),
        ("[permissions]\nhttp = [\"http://169.254.169.254/\"]", "http"),
        ("[permissions]\nroot = true", "root"),
        ("[limits]\nmemory = \"-1MB\"", "memory"),
        ("[limits]\nmemory = \"99999999999999999999GB\"", "memory"),
        ("[limits]\nfuel = 0", "fuel"),
        ("[limits]\nfuel = -5", "fuel"),
        ("[limits]\nduration = \"1000000h\"", "duration"),
        ("[limits]\nout_files = 1000000000", "out_files"),
        ("[limits]\ncolour = \"blue\"", "colour"),
    ] {
        let run = run(&home, &with_manifest(format!("{MANIFEST}{asks}\n").as_bytes()));
        run.holds(run.code == Some(126), asks).refused(part);
    }
}

// spec: SBX-10
#[test]
fn a_manifest_that_asks_for_a_share_or_the_network_does_not_get_it_by_asking() {
    let home = Home::new();
    for asks in
        ["shares = { logs = \"rw\" }", "http = [\"example.org\"]", "clock = \"real\"", "random = \"real\""]
    {
        let run = run(&home, &with_manifest(format!("{MANIFEST}[permissions]\n{asks}\n").as_bytes()));
        // Either it says what is missing, or it runs without it.
        if run.code == Some(126) {
            run.refused("grant");
        } else {
            let why = run.field("not_comparable").to_string();
            let given =
                ["real-clock", "real-random", "network", "shares"].iter().any(|what| why.contains(what));
            run.exits(0).says("good").holds(!given, "it must have run without what it asked for");
        }
    }
}

// Case 46.
// spec: SBX-6
#[test]
fn too_many_arguments_or_variables_are_refused() {
    let home = Home::new();
    let module = home.file("module.wasm", good());
    let run = home.run().arg(&module).args((0..5_000).map(|n| n.to_string())).go();
    run.refused("argument");
    let run = home.run().arg(&module).arg("x".repeat(120_000)).arg("y".repeat(120_000)).go();
    run.refused("argument");
    let run =
        home.run().args((0..2_000).flat_map(|n| ["--env".to_owned(), format!("K{n}=v")])).arg(&module).go();
    run.holds(matches!(run.code, Some(126 | 2)), "2,000 variables are too many");
    let run = home.run().args(["--env", "1BAD=x"]).arg(&module).go();
    run.holds(matches!(run.code, Some(126 | 2)), "no name of a variable starts with a digit");
}

/// Stands for whatever a component may do: its outcome is its own, and never the sandbox's failure.
fn component(home: &Home, name: &str, text: &str) -> Run {
    run(home, &assemble(name, text))
}

// Case 8.
// spec: SBX-1
#[test]
fn a_component_that_is_no_command_is_refused() {
    let home = Home::new();
    component(&home, "empty", "(component)").refused("run");
    let alien = r#"(component
        (import "evil:host/shell" (instance (export "system" (func))))
        (core module $m (func (export "f") (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func $f (result (result)) (canon lift (core func $i "f")))
        (instance $run (export "run" (func $f)))
        (export "wasi:cli/run@0.2.0" (instance $run)))"#;
    component(&home, "alien", alien).refused("evil:host");
    let wrong = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (instance $run (export "run" (func $f)))
        (export "wasi:cli/run@0.2.0" (instance $run)))"#;
    component(&home, "wrong-run", wrong).refused("");
}

// Case 50: no list of hosts was granted.
// spec: SBX-10
#[test]
fn a_component_that_wants_the_network_is_refused() {
    let home = Home::new();
    for import in ["wasi:http/outgoing-handler@0.2.0", "wasi:sockets/tcp-create-socket@0.2.0"] {
        let text = r#"(component
            (import "IMPORT" (instance (export "steal" (func))))
            (core module $m (func (export "f") (result i32) (i32.const 0)))
            (core instance $i (instantiate $m))
            (func $f (result (result)) (canon lift (core func $i "f")))
            (instance $run (export "run" (func $f)))
            (export "wasi:cli/run@0.2.0" (instance $run)))"#;
        component(&home, "network", &text.replace("IMPORT", import)).refused("wasi:");
    }
}

// Cases 26b and 30.
// spec: SBX-6, SBX-8
#[test]
fn bombs_made_of_components_are_refused_or_compiled_in_time() {
    let home = Home::new();
    let nested = |depth: usize| {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        for _ in 0..depth {
            bytes = [b"\0asm\x0d\0\x01\0".to_vec(), section(4, &bytes)].concat();
        }
        bytes
    };
    for depth in [100, 5_000] {
        let run = run(&home, &nested(depth));
        run.holds(run.code == Some(126), &format!("{depth} components in each other")).refused("");
    }
    let instances = format!(
        "(component (core module $m (memory 1)) {})",
        (0..1_000).map(|n| format!("(core instance $i{n} (instantiate $m))")).collect::<String>(),
    );
    component(&home, "instances", &instances).refused("");
    let memories = format!(
        "(component {})",
        (0..100)
            .map(|n| format!("(core module $m{n} (memory 1)) (core instance (instantiate $m{n}))"))
            .collect::<String>(),
    );
    component(&home, "memories", &memories).refused("");
    let fields: String = (0..10_000).map(|n| format!("(field \"f{n}\" u8)")).collect();
    component(&home, "record", &format!("(component (type (record {fields})))")).refused("");
    // Each type holds the one before twice: a hundred of them are larger than anything that can be counted.
    let doubled: String = (1..100).map(|n| format!("(type $t{n} (tuple $t{} $t{}))", n - 1, n - 1)).collect();
    component(&home, "types", &format!("(component (type $t0 (tuple u8 u8)) {doubled})")).refused("");
    // Each component instantiates the one before twice: a hundred of them never come to an end.
    let mut text = "(component $c0 (core module $m (memory 1)) (core instance (instantiate $m)))".to_owned();
    for n in 1..60 {
        text = format!(
            "(component $c{n} {text} (instance (instantiate $c{0})) (instance (instantiate $c{0})))",
            n - 1
        );
    }
    component(&home, "doubling", &text).refused("");
}

// Case 26b: two of its parts, with a memory each, speak to each other.
// spec: SBX-1, SBX-8
#[test]
fn a_composed_component_runs_or_is_refused_and_the_host_lives() {
    let home = Home::new();
    let text = r#"(component
        (component $one
          (core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
            (func (export "len") (param i32 i32) (result i32) (local.get 1)))
          (core instance $i (instantiate $m))
          (func (export "len") (param "s" string) (result u32)
            (canon lift (core func $i "len") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))
        (component $two
          (import "len" (func $host (param "s" string) (result u32)))
          (core module $libc
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 2048)))
          (core instance $libc (instantiate $libc))
          (core func $len (canon lower (func $host)
            (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
          (core module $main
            (import "host" "len" (func $len (param i32 i32) (result i32)))
            (func (export "f") (result i32)
              (i32.ne (call $len (i32.const 0) (i32.const 5)) (i32.const 5))))
          (core instance $main (instantiate $main (with "host" (instance (export "len" (func $len))))))
          (func (export "f") (result (result)) (canon lift (core func $main "f"))))
        (instance $one (instantiate $one))
        (instance $two (instantiate $two (with "len" (func $one "len"))))
        (alias export $two "f" (func $f))
        (instance $run (export "run" (func $f)))
        (export "wasi:cli/run@0.2.0" (instance $run)))"#;
    let run = component(&home, "composed", text);
    decided(&run).holds(matches!(run.code, Some(0 | 126)), "it should work or be refused");
}

/// A component that calls `get-random-bytes`; the rest is up to what stands in for `REALLOC`, `LEN` and `MORE`.
const RANDOM: &str = r#"(component
    (import "wasi:random/random@0.2.0" (instance $r
      (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
    (core module $libc
      (memory (export "memory") 1)
      (func $realloc (export "realloc") (param i32 i32 i32 i32) (result i32) REALLOC))
    (core instance $libc (instantiate $libc))
    (core func $get (canon lower (func $r "get-random-bytes")
      (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
    (core module $main
      (import "host" "get" (func $get (param i64 i32)))
      (func (export "f") (result i32) MORE (call $get (i64.const LEN) (i32.const 16)) (i32.const 0)))
    (core instance $main (instantiate $main (with "host" (instance (export "get" (func $get))))))
    (func $f (result (result)) (canon lift (core func $main "f")))
    (instance $run (export "run" (func $f)))
    (export "wasi:cli/run@0.2.0" (instance $run)))"#;

fn random(home: &Home, name: &str, realloc: &str, len: &str) -> Run {
    component(home, name, &RANDOM.replace("REALLOC", realloc).replace("LEN", len).replace("MORE", ""))
}

// Cases 45, 51, 53.
// spec: SBX-6, SBX-8
#[test]
fn a_component_cannot_get_more_from_a_host_call_than_is_given() {
    let home = Home::new();
    random(&home, "modest", "(i32.const 1024)", "64").exits(0);
    let traps = [
        random(&home, "random-4-gib", "(i32.const 1024)", "4294967296"),
        random(&home, "random-all", "(i32.const 1024)", "-1"),
        random(&home, "realloc-outside", "(i32.const -1)", "64"),
        random(&home, "realloc-at-the-edge", "(i32.const 65535)", "64"),
        random(&home, "realloc-traps", "unreachable", "64"),
    ];
    for run in traps {
        run.holds(run.code == Some(127), "it should trap")
            .holds(!run.stderr.contains("panicked"), "nothing panics");
    }
    random(&home, "realloc-loops", "(loop (br 0)) (i32.const 0)", "64").ends(128, r#""OutOfFuel""#);
    let deep = random(
        &home,
        "realloc-recurses",
        "(call $realloc (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))",
        "64",
    );
    deep.ends(127, r#"{"Trapped":"StackOverflow"}"#);
    let for_ever = RANDOM
        .replace("REALLOC", "(i32.const 1024)")
        .replace("MORE", "(loop (call $get (i64.const 60000) (i32.const 16)) (br 0))")
        .replace("LEN", "1");
    component(&home, "random-for-ever", &for_ever).ends(128, r#""OutOfFuel""#);
}

/// A component that gets its stdout, a resource, and does `WITH` it.
const STREAM: &str = r#"(component
    (import "wasi:io/streams@0.2.0" (instance $s (export "output-stream" (type (sub resource)))))
    (alias export $s "output-stream" (type $stream))
    (import "wasi:cli/stdout@0.2.0" (instance $o
      (alias outer 1 $stream (type $alias))
      (export "output-stream" (type $t (eq $alias)))
      (export "get-stdout" (func (result (own $t))))))
    (core func $get (canon lower (func $o "get-stdout")))
    (core func $drop (canon resource.drop $stream))
    (core module $main
      (import "host" "get" (func $get (result i32)))
      (import "host" "drop" (func $drop (param i32)))
      (func (export "f") (result i32) (local $h i32)
        (local.set $h (call $get))
        WITH
        (i32.const 0)))
    (core instance $main (instantiate $main (with "host" (instance
      (export "get" (func $get)) (export "drop" (func $drop))))))
    (func $f (result (result)) (canon lift (core func $main "f")))
    (instance $run (export "run" (func $f)))
    (export "wasi:cli/run@0.2.0" (instance $run)))"#;

// Cases 32 and 52.
// spec: SBX-5, SBX-8
#[test]
fn a_component_cannot_forge_handles_nor_hoard_them() {
    let home = Home::new();
    let with = |what: &str| component(&home, "stream", &STREAM.replace("WITH", what));
    with("(call $drop (local.get $h))").exits(0);
    for misuse in [
        "(call $drop (local.get $h)) (call $drop (local.get $h))",
        "(call $drop (i32.const 4711))",
        "(call $drop (i32.const 0))",
        "(call $drop (i32.const -1))",
    ] {
        let run = with(misuse);
        run.holds(run.code == Some(127), misuse).holds(!run.stderr.contains("panicked"), "nothing panics");
    }
    let hoard = with("(loop (drop (call $get)) (br 0))");
    hoard.holds(matches!(hoard.code, Some(127 | 128)), "handles are bounded");
    hoard.holds(
        hoard.number("usage.peak_resident") < hoard.number("limits.memory_bytes") + (64 << 20),
        "and so is what they take",
    );
}

// spec: SDK-4, SBX-8
#[test]
fn looking_at_a_hostile_module_is_as_safe_as_running_it() {
    let home = Home::new();
    let inspect = |bytes: &[u8]| home.mesh().arg("inspect").arg(home.file("module.wasm", bytes)).go();
    let good = inspect(&good());
    good.holds(good.code == Some(0), "a good module can be looked at");
    let sample: Vec<Vec<u8>> =
        vec![vec![], HEADER.to_vec(), b"\x7fELF".to_vec(), functions(200_000), with_manifest(b"\xff")];
    for bytes in sample {
        let run = inspect(&bytes);
        run.holds(run.code.is_some_and(|code| code != 101), "it must not panic")
            .holds(!run.stderr.contains("panicked"), "it must not panic");
    }
}

/// Keeps a large module out of memory of the test while it is written.
fn write_sparse(path: &Path, len: u64) {
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(HEADER).unwrap();
    file.set_len(len).unwrap();
}

// spec: SBX-6
#[test]
fn a_file_of_ten_gigabytes_is_refused_without_reading_it() {
    let home = Home::new();
    let path = home.path("files/huge.wasm");
    write_sparse(&path, 10_000_000_000);
    let run = home.run().arg(&path).go();
    run.refused("").holds(run.took.as_secs() < 30, "it must not be read");
}
