//! Reads as much of a core wasm module as it takes to list its imports.

use anyhow::{Context, Result, bail};

const IMPORTS: u8 = 2;

const FUNCTION: u8 = 0;
const TABLE: u8 = 1;
const MEMORY: u8 = 2;
const GLOBAL: u8 = 3;
const TAG: u8 = 4;

/// The imports of a core module, as `module.name`.
pub(crate) fn imports(module: &[u8]) -> Result<Vec<String>> {
    let mut rest = module.strip_prefix(b"\0asm\x01\0\0\0").context("this is no core wasm module")?;
    while !rest.is_empty() {
        let id = byte(&mut rest)?;
        let length = number(&mut rest)?;
        let mut section = bytes(&mut rest, length)?;
        if id != IMPORTS {
            continue;
        }
        let count = number(&mut section)?;
        let mut imports = Vec::new();
        for _ in 0..count {
            let (module, name) = (text(&mut section)?, text(&mut section)?);
            skip_type(&mut section)?;
            imports.push(format!("{module}.{name}"));
        }
        return Ok(imports);
    }
    Ok(Vec::new())
}

fn skip_type(rest: &mut &[u8]) -> Result<()> {
    match byte(rest)? {
        FUNCTION => number(rest).map(drop),
        TABLE => byte(rest).and_then(|_| skip_limits(rest)),
        MEMORY => skip_limits(rest),
        GLOBAL => bytes(rest, 2).map(drop),
        TAG => byte(rest).and_then(|_| number(rest)).map(drop),
        kind => bail!("an import is of the unknown kind {kind}"),
    }
}

fn skip_limits(rest: &mut &[u8]) -> Result<()> {
    let has_maximum = byte(rest)? & 1 == 1;
    number(rest)?;
    if has_maximum {
        number(rest)?;
    }
    Ok(())
}

fn text(rest: &mut &[u8]) -> Result<String> {
    let length = number(rest)?;
    Ok(String::from_utf8_lossy(bytes(rest, length)?).into_owned())
}

/// An unsigned LEB128 number.
fn number(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = byte(rest)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number in the module is too long")
}

fn byte(rest: &mut &[u8]) -> Result<u8> {
    Ok(bytes(rest, 1)?[0])
}

fn bytes<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8]> {
    let length = usize::try_from(length).context("the module is cut off")?;
    let (taken, left) = rest.split_at_checked(length).context("the module is cut off")?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::imports;

    const HEADER: &[u8] = b"\0asm\x01\0\0\0";

    fn module(sections: &[&[u8]]) -> Vec<u8> {
        std::iter::once(HEADER).chain(sections.iter().copied()).collect::<Vec<_>>().concat()
    }

    // spec: ARC-1
    #[test]
    fn finds_imports_of_every_kind_behind_other_sections() {
        let custom = b"\0\x03\x02ab";
        let list = b"\x02?\x05\
            \x01e\x01f\0\x07\
            \x01e\x01t\x01\x70\x01\x01\x80\x01\
            \x01e\x01m\x02\0\x11\
            \x01e\x01g\x03\x7f\0\
            \x01e\x02ex\x04\0\x03";
        let mut list = list.to_vec();
        list[1] = u8::try_from(list.len() - 2).unwrap();
        let found = imports(&module(&[custom, &list])).unwrap();
        assert_eq!(found, ["e.f", "e.t", "e.m", "e.g", "e.ex"]);
    }

    #[test]
    fn a_module_without_imports_has_none() {
        assert!(imports(HEADER).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_whole_module_is_an_error() {
        assert!(imports(b"\0asm\x0d\0\x01\0").is_err(), "a component");
        assert!(imports(b"").is_err());
        assert!(imports(&module(&[b"\x02\x20\x01"])).is_err(), "a section longer than the file");
        assert!(imports(&module(&[b"\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"])).is_err());
    }
}
