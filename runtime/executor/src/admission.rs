//! May these bytes be compiled at all, and what do they ask for?
//!
//! Linear in the size of the module, and done in the compiling child, so that even a bug here cannot hurt the host.
// spec: SBX-1, SBX-6, SDK-3

use crate::wire::ModuleKind;
use mesh_protocol::abi;
use mesh_protocol::manifest::Manifest;
use mesh_protocol::outcome::Refusal;
use serde::{Deserialize, Serialize};
use wasmparser::{
    ComponentExternalKind, Encoding, ExternalKind, Imports, Parser, Payload, TypeRef, Validator, WasmFeatures,
};

/// Most bytes of a module: beyond it lie programs that are no small jobs.
pub const MAX_MODULE: u64 = 32 << 20;

/// What is counted in a module, how much of it is allowed, and why: compiling takes time and memory by functions and
/// by their size far more than by bytes, and wasm's own limits are too loose for a donor.
const FUNCTIONS: Count = Count("functions", 65_536);
const BODY: Count = Count("bytes in one function", 512 << 10);
const LOCALS: Count = Count("locals in one function", 10_000);
const TYPES: Count = Count("types", 10_000);
const IMPORTS: Count = Count("imports", 2_000);
const EXPORTS: Count = Count("exports", 10_000);
const GLOBALS: Count = Count("globals", 10_000);
const DATA: Count = Count("data segments", 10_000);
const ELEMENTS: Count = Count("element segments", 10_000);
const TABLES: Count = Count("tables", 64);
const TABLE_ELEMENTS: Count = Count("table elements", crate::engine::TABLE_ELEMENTS as u64);
const MEMORIES: Count = Count("memories", 32);
const CUSTOM: Count = Count("custom sections", 1_000);
const DEPTH: Count = Count("levels of nested components", 8);
const MODULES: Count = Count("modules in one component", 32);
const INSTANCES: Count = Count("instances in one component", 1_000);
const ALIASES: Count = Count("aliases in one component", 50_000);

#[derive(Clone, Copy)]
struct Count(&'static str, u64);

impl Count {
    fn check(self, actual: u64) -> Result<(), Refusal> {
        if actual <= self.1 {
            return Ok(());
        }
        Err(Refusal::TooLarge { what: self.0.into(), actual, limit: self.1 })
    }
}

/// What a module is and asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Bytes of the module.
    pub bytes: u64,
    /// Is it a component (WASI 0.2) or a core module (WASI 0.1)?
    pub component: bool,
    /// What it imports, as `module.name` or the component's interface names, sorted.
    pub imports: Vec<String>,
    /// Functions with a body.
    pub functions: u64,
    /// Bytes of memory and tables before its first instruction, where they can be told (core modules).
    pub first_memory: u64,
    /// The text of its manifest, if it carries one.
    pub manifest: Option<String>,
}

impl Summary {
    pub(crate) fn kind(&self) -> ModuleKind {
        if self.component { ModuleKind::Component } else { ModuleKind::Core }
    }

    /// Its manifest, or what a plain WASI program gets.
    pub fn manifest(&self) -> Result<Manifest, Refusal> {
        match &self.manifest {
            None => Ok(Manifest::plain()),
            Some(text) => {
                Manifest::parse(text.as_bytes()).map_err(|error| Refusal::Manifest(error.to_string()))
            }
        }
    }
}

/// What bytes that are not wasm look like, in words.
fn looks_like(bytes: &[u8]) -> String {
    let start = bytes.get(..512).unwrap_or(bytes);
    let text = std::str::from_utf8(start).or_else(|e| std::str::from_utf8(&start[..e.valid_up_to()]));
    let text = text.ok().filter(|text| text.len() + 4 > start.len()).unwrap_or_default();
    let trimmed = text.trim_start();
    let what = match bytes {
        [] => "an empty file",
        [0x7f, b'E', b'L', b'F', ..] => "native code (ELF), or a module compiled for one machine",
        [0x1f, 0x8b, ..] => "a gzip archive",
        [b'P', b'K', 3, 4, ..] => "a zip archive",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "a zstd archive",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "an xz archive",
        [0, b'a', b's', b'm', ..] => "wasm that breaks off in its header",
        [b'M', b'Z', ..] => "a Windows program",
        _ if trimmed.starts_with("(module") || trimmed.starts_with("(component") => {
            "the text form of wasm; turn it into the binary form first (wat2wasm or wasm-tools parse)"
        }
        _ if trimmed.starts_with("<!") || trimmed.starts_with("<html") => "an HTML page",
        _ if !text.is_empty() && !text.chars().any(|c| c.is_control() && !c.is_whitespace()) => "a text file",
        _ => "no format known here",
    };
    what.into()
}

/// Tells by their first bytes whether these may be wasm: quick, so that the wrong file is refused before anything.
pub fn recognise(bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.len() as u64 > MAX_MODULE {
        return Count("bytes", MAX_MODULE).check(bytes.len() as u64);
    }
    match bytes {
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] | [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', _, _, _, _, ..] => Err(Refusal::NotWasm("wasm of an unknown version".into())),
        _ => Err(Refusal::NotWasm(looks_like(bytes))),
    }
}

fn features(component: bool) -> WasmFeatures {
    let core = WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::CALL_INDIRECT_OVERLONG
        | WasmFeatures::BULK_MEMORY_OPT
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::SIMD
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::FLOATS
        | WasmFeatures::GC_TYPES;
    if component { core | WasmFeatures::COMPONENT_MODEL } else { core }
}

/// Checks structure and validity of a module, and reads what it asks for.
pub fn examine(bytes: &[u8]) -> Result<Summary, Refusal> {
    recognise(bytes)?;
    let mut counter = Counter::default();
    for payload in Parser::new(0).parse_all(bytes) {
        counter.take(&payload.map_err(|error| Refusal::Invalid(error.to_string()))?)?;
    }
    let component = counter.component;
    Validator::new_with_features(features(component)).validate_all(bytes).map_err(|error| invalid(&error))?;
    if !component {
        match counter.start {
            Some(true) => {}
            Some(false) => {
                return Err(Refusal::Invalid(
                    "its export `_start` is not a function without parameters and results".into(),
                ));
            }
            None => {
                return Err(Refusal::Invalid(
                    "it exports no `_start`: build it as a program (a WASI command), not as a library".into(),
                ));
            }
        }
    } else if !counter.exports_run {
        return Err(Refusal::Invalid(
            "it does not export wasi:cli/run: build it as a wasi:cli/command".into(),
        ));
    }
    let mut imports = counter.import_names;
    imports.sort();
    imports.dedup();
    Ok(Summary {
        bytes: bytes.len() as u64,
        component,
        imports,
        functions: counter.bodies,
        first_memory: counter.first_memory.saturating_add(counter.table_elements.saturating_mul(8)),
        manifest: counter.manifest,
    })
}

/// Sorts the validator's complaints into features that are off and plain mistakes.
fn invalid(error: &wasmparser::BinaryReaderError) -> Refusal {
    let text = error.to_string();
    let off = [
        "not enabled",
        "support is not",
        "requires",
        "not supported",
        "must be enabled",
        "multiple memories",
    ];
    if off.iter().any(|part| error.message().contains(part)) {
        Refusal::Feature(text)
    } else {
        Refusal::Invalid(text)
    }
}

#[derive(Default)]
struct Counter {
    component: bool,
    depth: u64,
    seen_version: bool,
    types: u64,
    imports: u64,
    exports: u64,
    functions: u64,
    bodies: u64,
    globals: u64,
    data: u64,
    elements: u64,
    tables: u64,
    memories: u64,
    custom: u64,
    modules: u64,
    instances: u64,
    aliases: u64,
    first_memory: u64,
    table_elements: u64,
    manifest: Option<String>,
    import_names: Vec<String>,
    /// For a core module: types, the type of each function, and whether `_start` fits.
    signatures: Vec<bool>,
    function_types: Vec<u32>,
    start: Option<bool>,
    exports_run: bool,
}

impl Counter {
    fn add(count: &mut u64, more: u32, limit: Count) -> Result<(), Refusal> {
        *count += u64::from(more);
        limit.check(*count)
    }

    fn take(&mut self, payload: &Payload<'_>) -> Result<(), Refusal> {
        let bad = |error: wasmparser::BinaryReaderError| Refusal::Invalid(error.to_string());
        match payload {
            // The first one is that of the whole; the others are of modules within.
            Payload::Version { encoding, .. } if !self.seen_version => {
                self.seen_version = true;
                self.component = *encoding == Encoding::Component;
            }
            Payload::TypeSection(reader) => {
                Self::add(&mut self.types, reader.count(), TYPES)?;
                if !self.component {
                    for group in reader.clone() {
                        for ty in group.map_err(bad)?.into_types() {
                            let entry = matches!(&ty.composite_type.inner,
                                wasmparser::CompositeInnerType::Func(f) if f.params().is_empty() && f.results().is_empty());
                            self.signatures.push(entry);
                        }
                    }
                }
            }
            Payload::ImportSection(reader) => {
                Self::add(&mut self.imports, reader.count(), IMPORTS)?;
                if !self.component {
                    for group in reader.clone() {
                        self.import(&group.map_err(bad)?)?;
                    }
                }
            }
            Payload::FunctionSection(reader) => {
                Self::add(&mut self.functions, reader.count(), FUNCTIONS)?;
                if !self.component {
                    for ty in reader.clone() {
                        self.function_types.push(ty.map_err(bad)?);
                    }
                }
            }
            Payload::TableSection(reader) => {
                Self::add(&mut self.tables, reader.count(), TABLES)?;
                for table in reader.clone() {
                    self.table_elements = self.table_elements.saturating_add(table.map_err(bad)?.ty.initial);
                }
                TABLE_ELEMENTS.check(self.table_elements)?;
            }
            Payload::MemorySection(reader) => {
                Self::add(&mut self.memories, reader.count(), MEMORIES)?;
                for memory in reader.clone() {
                    let bytes = memory.map_err(bad)?.initial.saturating_mul(65_536);
                    self.first_memory = self.first_memory.saturating_add(bytes);
                }
            }
            Payload::GlobalSection(reader) => Self::add(&mut self.globals, reader.count(), GLOBALS)?,
            Payload::ExportSection(reader) => {
                Self::add(&mut self.exports, reader.count(), EXPORTS)?;
                if !self.component {
                    for export in reader.clone() {
                        let export = export.map_err(bad)?;
                        if export.name == "_start" {
                            let entry = matches!(export.kind, ExternalKind::Func)
                                && self
                                    .function_types
                                    .get(export.index as usize)
                                    .and_then(|&ty| self.signatures.get(ty as usize))
                                    .copied()
                                    .unwrap_or(false);
                            self.start = Some(entry);
                        }
                    }
                }
            }
            Payload::ElementSection(reader) => Self::add(&mut self.elements, reader.count(), ELEMENTS)?,
            Payload::DataSection(reader) => Self::add(&mut self.data, reader.count(), DATA)?,
            Payload::DataCountSection { count, .. } => DATA.check(u64::from(*count))?,
            Payload::CodeSectionEntry(body) => {
                self.bodies += 1;
                FUNCTIONS.check(self.bodies)?;
                BODY.check(body.range().len() as u64)?;
                let mut locals = 0u64;
                for group in body.get_locals_reader().map_err(bad)? {
                    locals += u64::from(group.map_err(bad)?.0);
                    LOCALS.check(locals)?;
                }
            }
            Payload::CustomSection(section) => {
                Self::add(&mut self.custom, 1, CUSTOM)?;
                if section.name() == abi::MANIFEST_SECTION {
                    self.manifest_section(section.data())?;
                }
            }
            Payload::ModuleSection { .. } => {
                self.depth += 1;
                Self::add(&mut self.modules, 1, MODULES)?;
            }
            Payload::ComponentSection { .. } => {
                self.depth += 1;
                DEPTH.check(self.depth)?;
            }
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            Payload::InstanceSection(reader) => Self::add(&mut self.instances, reader.count(), INSTANCES)?,
            Payload::ComponentInstanceSection(reader) => {
                Self::add(&mut self.instances, reader.count(), INSTANCES)?
            }
            Payload::ComponentAliasSection(reader) => Self::add(&mut self.aliases, reader.count(), ALIASES)?,
            Payload::ComponentTypeSection(reader) => Self::add(&mut self.types, reader.count(), TYPES)?,
            Payload::CoreTypeSection(reader) => Self::add(&mut self.types, reader.count(), TYPES)?,
            Payload::ComponentImportSection(reader) => {
                Self::add(&mut self.imports, reader.count(), IMPORTS)?;
                if self.depth == 0 {
                    for import in reader.clone() {
                        self.import_names.push(import.map_err(bad)?.name.name.into());
                    }
                }
            }
            Payload::ComponentExportSection(reader) => {
                Self::add(&mut self.exports, reader.count(), EXPORTS)?;
                if self.depth == 0 {
                    for export in reader.clone() {
                        let export = export.map_err(bad)?;
                        let run = export.name.name.starts_with("wasi:cli/run@0.2.");
                        self.exports_run |= run && export.kind == ComponentExternalKind::Instance;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, group: &Imports<'_>) -> Result<(), Refusal> {
        let mut one = |module: &str, name: &str, ty: TypeRef| {
            self.import_names.push(format!("{module}.{name}"));
            match ty {
                TypeRef::Func(ty) => self.function_types.push(ty),
                TypeRef::Memory(_)
                | TypeRef::Table(_)
                | TypeRef::Global(_)
                | TypeRef::Tag(_)
                | TypeRef::FuncExact(_) => {}
            }
        };
        match group {
            Imports::Single(_, import) => one(import.module, import.name, import.ty),
            Imports::Compact1 { .. } | Imports::Compact2 { .. } => {
                return Err(Refusal::Feature("compact imports".into()));
            }
        }
        Ok(())
    }

    fn manifest_section(&mut self, data: &[u8]) -> Result<(), Refusal> {
        let refuse = |why: &str| Err(Refusal::Manifest(format!("read the manifest: {why}")));
        if self.depth > 0 {
            return refuse("it stands in a nested module; only one at the top is believed");
        }
        if self.manifest.is_some() {
            return refuse("there are two; only one is allowed");
        }
        if data.len() > abi::MAX_MANIFEST {
            return refuse(&format!(
                "it has {} bytes, at most {} are allowed",
                data.len(),
                abi::MAX_MANIFEST
            ));
        }
        match std::str::from_utf8(data) {
            Ok(text) => self.manifest = Some(text.into()),
            Err(_) => return refuse("it is not UTF-8 text"),
        }
        Ok(())
    }
}

/// Interfaces that a component may import, of any version 0.2.
const COMPONENT_IMPORTS: [&str; 27] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// Checks that everything imported is offered, by name; types are checked when it is linked.
// spec: SBX-10
pub(crate) fn check_imports(summary: &Summary, offered: &dyn Fn(&str) -> bool) -> Result<(), Refusal> {
    if summary.component
        && let Some(http) = summary.imports.iter().find(|name| name.starts_with("wasi:http/"))
    {
        return Err(Refusal::Feature(format!("{http}: this executor gives no task the network")));
    }
    let unknown: Vec<String> = summary
        .imports
        .iter()
        .filter(|name| {
            if summary.component {
                let known = |interface: &str| COMPONENT_IMPORTS.contains(&interface);
                !name
                    .split_once('@')
                    .is_some_and(|(name, version)| known(name) && version.starts_with("0.2."))
            } else {
                !offered(name)
            }
        })
        .map(|name| mesh_protocol::text::sanitise(&name.chars().take(120).collect::<String>(), false))
        .take(20)
        .collect();
    if unknown.is_empty() { Ok(()) } else { Err(Refusal::UnknownImports(unknown)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wat(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    fn refusal(bytes: &[u8]) -> String {
        examine(bytes).unwrap_err().to_string()
    }

    // spec: SBX-1
    #[test]
    fn only_wasm_is_recognised_and_the_rest_is_named() {
        let elf = b"\x7fELF\x02\x01\x01";
        for (bytes, part) in [
            (&b""[..], "an empty file"),
            (b"\0", "no format known"),
            (b"\0asm", "breaks off in its header"),
            (b"\0asm\x02\0\0\0", "unknown version"),
            (elf, "native code"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"PK\x03\x04", "zip"),
            (b"  (module)", "text form of wasm"),
            (b"<!DOCTYPE html>", "HTML"),
            (b"hello there\n", "a text file"),
        ] {
            let said = refusal(bytes);
            assert!(said.contains(part), "{bytes:?}: {said}");
        }
        assert!(refusal(b"\0asm\x01\0\0\0").contains("no `_start`"));
    }

    // spec: SBX-1
    #[test]
    fn a_program_is_known_by_its_start() {
        let good = wat(r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
            (memory (export "memory") 2) (func (export "_start")))"#);
        let summary = examine(&good).unwrap();
        assert_eq!(summary.imports, ["wasi_snapshot_preview1.proc_exit"]);
        assert_eq!((summary.first_memory, summary.functions, summary.component), (131_072, 1, false));
        assert!(
            refusal(&wat(r#"(module (func (export "_start") (param i32)))"#)).contains("without parameters")
        );
        assert!(refusal(&wat(r#"(module (memory (export "_start") 1))"#)).contains("without parameters"));
        assert!(refusal(&wat("(component)")).contains("wasi:cli/run"));
    }

    // spec: SBX-6
    #[test]
    fn structures_are_counted() {
        let functions = format!("(module (func (export \"_start\")) {})", "(func)".repeat(65_536));
        assert!(refusal(&wat(&functions)).contains("65537 functions"));
        let locals = format!("(module (func (export \"_start\") (local {})))", "i32 ".repeat(10_001));
        assert!(refusal(&wat(&locals)).contains("locals"));
        let nested = (0..9).fold("(component)".to_owned(), |inner, _| format!("(component {inner})"));
        assert!(refusal(&wat(&nested)).contains("levels of nested components"));
        let body = format!("(module (func (export \"_start\") {}))", "(drop (i32.const 1))".repeat(180_000));
        assert!(refusal(&wat(&body)).contains("bytes in one function"));
    }

    // spec: SBX-1
    #[test]
    fn features_that_are_off_are_refused_as_such() {
        for text in [
            r#"(module (memory i64 1) (func (export "_start")))"#,
            r#"(module (memory 1 1 shared) (func (export "_start")))"#,
            r#"(module (memory 1) (memory 1) (func (export "_start")))"#,
            r#"(module (tag) (func (export "_start")))"#,
            r#"(module (func (export "_start") (return_call 0)))"#,
            r#"(module (type (struct)) (func (export "_start")))"#,
            r#"(module (func (export "_start") (drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))))"#,
        ] {
            let said = refusal(&wat(text));
            assert!(said.contains("unsupported wasm feature"), "{text}: {said}");
        }
    }

    // spec: SDK-3
    #[test]
    fn one_manifest_at_the_top_is_believed() {
        let custom = |text: &str| format!(r#"(@custom "{}" "{text}")"#, abi::MANIFEST_SECTION);
        let module = |inner: &str| wat(&format!(r#"(module {inner} (func (export "_start")))"#));
        let good = r#"[task]\nname = \"x\"\n"#;
        let summary = examine(&module(&custom(good))).unwrap();
        assert_eq!(summary.manifest().unwrap().name, "x");
        assert!(refusal(&module(&custom(good).repeat(2))).contains("there are two"));
        assert!(refusal(&module(&custom(&"#".repeat(abi::MAX_MANIFEST + 1)))).contains("at most 65536"));
        assert!(refusal(&module(&custom("\\ff"))).contains("UTF-8"));
        let nested = format!("(component (core module {}))", custom(good));
        assert!(refusal(&wat(&nested)).contains("nested"));
    }

    // spec: SBX-1
    #[test]
    fn cut_and_changed_modules_never_panic() {
        let good = wat(
            r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1) (table 3 funcref) (global i32 (i32.const 1)) (data (i32.const 0) "hello")
            (elem (i32.const 0) 1 1) (func (export "_start") (local i64 f32) (loop (br_if 0 (i32.const 0)))))"#,
        );
        examine(&good).unwrap();
        // A cut just before the data or the names leaves a whole module; any other does not.
        let whole = (0..good.len()).filter(|&len| examine(&good[..len]).is_ok()).count();
        assert!(whole <= 2, "{whole} cuts passed");
        for bit in 0..good.len() * 8 {
            let mut changed = good.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let _either = examine(&changed);
        }
    }
}
