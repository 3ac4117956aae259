//! Which wasm runs, and what it costs? The two engines and the profile that names them.

use mesh_protocol::ids::Digest;
use mesh_protocol::profile::EngineProfile;
use std::hash::{Hash as _, Hasher};
use wasmtime::{Config, Engine, OperatorCost, Strategy};

/// Bytes of stack a guest may use.
pub(crate) const WASM_STACK: usize = 512 << 10;
/// Bytes of the whole stack, guest and host calls together. Overflow of the host's part would abort, so it gets three
/// times the guest's.
const ASYNC_STACK: usize = 2 << 20;
/// Table elements over all tables of a task.
pub(crate) const TABLE_ELEMENTS: usize = 100_000;
/// Open files, folders, streams and other handles of a task.
pub(crate) const HANDLES: usize = 1024;
/// Bytes a component may hand to one host call.
pub(crate) const HOSTCALL_BYTES: usize = 8 << 20;
/// Most random bytes in one call.
pub(crate) const RANDOM_BYTES: u64 = 1 << 20;
/// Core instances, tables and memories of a core module, and of a component.
pub(crate) const CORE_COUNTS: (usize, usize, usize) = (1, 4, 1);
/// Components consist of several core modules.
pub(crate) const COMPONENT_COUNTS: (usize, usize, usize) = (128, 64, 32);

/// Fuel between two looks at whether the task should end or wait: about a millisecond of computing.
pub(crate) const YIELD_FUEL: u64 = 5_000_000;

/// Fuel for any host call, and for one that goes to files.
pub(crate) const CALL_FUEL: u64 = 100;
/// A file operation costs the host about as much as this many operators.
pub(crate) const FILE_FUEL: u64 = 2_000;
/// A name of a path that is followed.
pub(crate) const STEP_FUEL: u64 = 100;
/// A checkpoint is taken across processes; the price keeps a task from spending its time on nothing else.
pub(crate) const CHECKPOINT_FUEL: u64 = 5_000_000;

fn config() -> Config {
    let mut config = Config::new();
    let mut cost = OperatorCost::new();
    // Fresh pages must be cleared by the system: 1,000 pages take about 4 ms, but would cost 3 units.
    cost.variable.memory_grow_per_page = 255;
    config
        .consume_fuel(true)
        .operator_cost(cost)
        .strategy(Strategy::Cranelift)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_stack_switching(false)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(ASYNC_STACK)
        .async_stack_zeroing(true)
        .native_unwind_info(false)
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable)
        .concurrency_support(false);
    config
}

/// The engine of core modules.
pub(crate) fn core() -> wasmtime::Result<Engine> {
    Engine::new(config().wasm_multi_memory(false))
}

/// The engine of components. An ordinary composed component needs several memories inside its adapters, and makes this
/// wasmtime panic without them; admission counts the memories of inner modules instead.
pub(crate) fn component() -> wasmtime::Result<Engine> {
    Engine::new(config().wasm_multi_memory(true).wasm_component_model(true))
}

/// Names all that decides whether compiled code can be loaded: every setting of the engines, and what this machine's
/// processor can do.
// spec: SBX-12
pub(crate) fn code_format() -> wasmtime::Result<Digest> {
    Ok(format_of(&[core()?, component()?]))
}

fn format_of(engines: &[Engine]) -> Digest {
    struct Bytes(blake3::Hasher);
    impl Hasher for Bytes {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut bytes = Bytes(blake3::Hasher::new_derive_key("taskmesh compiled code v1"));
    for engine in engines {
        engine.precompile_compatibility_hash().hash(&mut bytes);
    }
    Digest(*bytes.0.finalize().as_bytes())
}

/// Names everything here that could change a task's output or fuel.
// spec: SBX-13
pub fn profile() -> EngineProfile {
    let limits = [
        ("core-instances", COMPONENT_COUNTS.0 as u64),
        ("handles", HANDLES as u64),
        ("host-call-bytes", HOSTCALL_BYTES as u64),
        ("random-bytes", RANDOM_BYTES),
        ("stack", WASM_STACK as u64),
        ("table-elements", TABLE_ELEMENTS as u64),
    ];
    EngineProfile {
        engine: format!("wasmtime {}", wasmtime_environ::VERSION),
        features: ["bulk-memory", "canonical-nan", "multi-value", "mutable-globals", "reference-types", "sign-extension", "simd"]
            .map(String::from)
            .to_vec(),
        fuel_table: format!(
            "wasmtime default; memory.grow page 255; host call {CALL_FUEL} + 1 a byte, file {FILE_FUEL}, name {STEP_FUEL}, checkpoint {CHECKPOINT_FUEL}"
        ),
        world: "virtual clock from 2026-01-01T00:00:00Z, 10 fuel a nanosecond; BLAKE3 randomness; own file system 2".into(),
        limits: limits.map(|(name, value)| (name.to_owned(), value)).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SBX-12
    #[test]
    fn what_code_is_compiled_for_is_known_by_the_processor_and_the_engines_settings() {
        let format = |change: &dyn Fn(&mut Config) -> wasmtime::Result<()>| {
            let mut config = config();
            change(&mut config).expect("settings that there are");
            format_of(&[Engine::new(&config).expect("a sound engine")])
        };
        let here = format(&|_| Ok(()));
        assert_eq!(here, format(&|_| Ok(())));
        // Named as a target, it is any processor of its kind, and none of what this one can do beyond is counted on.
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        assert_ne!(here, format(&|config| config.target(&target).map(|_| ())));
        let guarded = |config: &mut Config| {
            config.memory_guard_size(1 << 20);
            Ok(())
        };
        assert_ne!(here, format(&guarded));
    }
}
