use super::*;
use std::io::Write as _;

const OPEN: OpenHow = OpenHow {
    follow: true,
    create: false,
    exclusive: false,
    truncate: false,
    directory: false,
    write: false,
};
const CREATE: OpenHow = OpenHow { create: true, write: true, ..OPEN };

struct World {
    vfs: Vfs,
    out: NodeId,
}

/// `/in/a` with "hello", `/in/d/b` with "world", an empty `/out` of 100,000 bytes and 10 files, a share with a file.
fn world() -> World {
    let mut vfs =
        Vfs::new(Blocks::new(Some(tempfile::tempfile().unwrap())), Quota { bytes: 100_000, files: 10 }, 7);
    let mut base = tempfile::tempfile().unwrap();
    base.write_all(b"helloworld").unwrap();
    let base = Arc::new(base);
    let dir = || Kind::Dir(BTreeMap::new());
    let file =
        |offset, len| Kind::File(Content::Base { file: base.clone(), offset, len, origin: offset as u32 });
    let input = vfs.furnish(ROOT, "in", dir(), Region::Fixed, 7).unwrap();
    let out = vfs.furnish(ROOT, "out", dir(), Region::Out, 7).unwrap();
    let share = vfs.furnish(ROOT, "share", dir(), Region::Fixed, 7).unwrap();
    vfs.furnish(input, "a", file(0, 5), Region::Fixed, 7).unwrap();
    let d = vfs.furnish(input, "d", dir(), Region::Fixed, 7).unwrap();
    vfs.furnish(d, "b", file(5, 5), Region::Fixed, 7).unwrap();
    let logs = vfs.furnish(share, "logs", dir(), Region::Share(0), 7).unwrap();
    vfs.furnish(logs, "x.log", file(0, 10), Region::Share(0), 9).unwrap();
    World { vfs, out }
}

impl World {
    fn open(&mut self, path: &str, how: OpenHow) -> Result<NodeId> {
        self.vfs.open(ROOT, path, how)
    }

    fn text(&mut self, path: &str) -> String {
        let id = self.open(path, OPEN).unwrap();
        let mut bytes = vec![0; self.vfs.stat(id).size as usize];
        assert_eq!(self.vfs.read(id, 0, &mut bytes), Ok(bytes.len()));
        self.vfs.close(id);
        String::from_utf8(bytes).unwrap()
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<usize> {
        let id = self.open(path, CREATE)?;
        let written = self.vfs.write(id, 0, bytes);
        self.vfs.close(id);
        written
    }
}

// spec: SBX-11
#[test]
fn no_path_leaves_its_folder() {
    let mut w = world();
    for (path, errno) in [
        ("../etc/passwd", Errno::Perm),
        ("in/../../etc", Errno::Perm),
        ("/etc/passwd", Errno::Perm),
        ("in/a/", Errno::NotDir),
        ("in/a/..", Errno::NotDir),
        ("", Errno::NoEntry),
        ("in/\0", Errno::Invalid),
        ("in/none", Errno::NoEntry),
        ("in/none/x", Errno::NoEntry),
        (&"x".repeat(256), Errno::NameTooLong),
        (&"x/".repeat(3000), Errno::NameTooLong),
    ] {
        assert_eq!(w.open(path, OPEN), Err(errno), "{path:?}");
    }
    assert_eq!(w.text("in//./d/../a"), "hello");
    // A folder handed out is a root of its own: its parent is out of reach.
    let d = w.open("in/d", OPEN).unwrap();
    assert_eq!(w.vfs.open(d, "../a", OPEN), Err(Errno::Perm));
    assert_eq!(w.vfs.open(d, "./b", OPEN).map(|_| ()), Ok(()));
}

// spec: SBX-11
#[test]
fn links_lead_nowhere_but_within() {
    let mut w = world();
    let (vfs, out) = (&mut w.vfs, w.out);
    vfs.symlink("../in/a", out, "up").unwrap();
    vfs.symlink("loop2", out, "loop1").unwrap();
    vfs.symlink("loop1", out, "loop2").unwrap();
    vfs.symlink("../../../etc/passwd", out, "far").unwrap();
    assert_eq!(vfs.symlink("/etc/passwd", out, "abs"), Err(Errno::Perm));
    assert_eq!(vfs.symlink("", out, "none"), Err(Errno::NoEntry));
    assert_eq!(w.text("out/up"), "hello", "from the root, /in is within");
    assert_eq!(w.vfs.open(out, "up", OPEN), Err(Errno::Perm), "from /out alone, it is not");
    assert_eq!(w.open("out/far", OPEN), Err(Errno::Perm));
    assert_eq!(w.open("out/loop1", OPEN), Err(Errno::Loop));
    assert_eq!(w.open("out/up", OpenHow { follow: false, ..OPEN }), Err(Errno::Loop));
    assert_eq!(w.vfs.readlink(out, "up").unwrap(), "../in/a");
    assert_eq!(w.open("out/up", OpenHow { exclusive: true, ..CREATE }), Err(Errno::Exist));
}

// spec: SBX-6, SBX-11
#[test]
fn inputs_cannot_be_changed() {
    let mut w = world();
    let out = w.out;
    assert_eq!(w.open("in/a", OpenHow { truncate: true, ..OPEN }), Err(Errno::RoFs));
    assert_eq!(w.open("in/a", OpenHow { write: true, ..OPEN }), Err(Errno::RoFs));
    assert_eq!(w.open("in/new", CREATE), Err(Errno::RoFs));
    assert_eq!(w.open("new", CREATE), Err(Errno::RoFs));
    assert_eq!(w.vfs.unlink(ROOT, "in/a"), Err(Errno::RoFs));
    assert_eq!(w.vfs.rename(ROOT, "in/a", ROOT, "out/a"), Err(Errno::RoFs));
    assert_eq!(w.vfs.link(ROOT, "in/a", false, ROOT, "out/a"), Err(Errno::RoFs));
    assert_eq!(w.vfs.remove_dir(ROOT, "out"), Err(Errno::RoFs));
    assert_eq!(w.vfs.set_times_at(ROOT, "in/a", true, Some(1), None), Err(Errno::RoFs));
    w.write("out/x", b"x").unwrap();
    assert_eq!(w.vfs.rename(out, "x", ROOT, "in/x"), Err(Errno::RoFs));
    assert_eq!(w.vfs.rename(ROOT, "out/x", ROOT, "share/logs/x"), Err(Errno::XDev));
    assert_eq!(w.text("in/a"), "hello");
}

// spec: SBX-6
#[test]
fn bytes_and_names_have_a_quota_that_comes_back() {
    let mut w = world();
    w.write("out/x", &[1; 100_000]).unwrap();
    assert_eq!(w.write("out/y", b"1"), Err(Errno::NoSpace));
    let x = w.open("out/x", CREATE).unwrap();
    assert_eq!(w.vfs.set_size(x, 1 << 40), Err(Errno::NoSpace));
    assert_eq!(w.vfs.set_size(x, u64::MAX), Err(Errno::FileTooBig));
    assert_eq!(w.vfs.write(x, u64::MAX - 1, b"123"), Err(Errno::FileTooBig));
    w.vfs.set_size(x, 10).unwrap();
    assert_eq!(w.write("out/y", &[2; 99_990]), Ok(99_990));
    // A file without a name holds its bytes until it is closed.
    w.vfs.unlink(ROOT, "out/y").unwrap();
    w.vfs.unlink(ROOT, "out/x").unwrap();
    assert_eq!(w.vfs.used(), (10, 0));
    w.vfs.close(x);
    assert_eq!(w.vfs.used(), (0, 0));
    for n in 0..10 {
        w.write(&format!("out/{n}"), b"").unwrap();
    }
    assert_eq!(w.write("out/10", b""), Err(Errno::NoSpace));
    assert_eq!(w.vfs.create_dir(ROOT, "out/d"), Err(Errno::NoSpace));
    assert_eq!(w.vfs.symlink("0", ROOT, "out/l"), Err(Errno::NoSpace));
}

#[test]
fn what_was_cut_off_reads_as_zeros() {
    let mut w = world();
    w.write("out/x", &[9; 10_000]).unwrap();
    let x = w.open("out/x", CREATE).unwrap();
    w.vfs.set_size(x, 5).unwrap();
    w.vfs.set_size(x, 10_000).unwrap();
    let mut bytes = vec![1; 10_000];
    w.vfs.read(x, 0, &mut bytes).unwrap();
    assert!(bytes[..5].iter().all(|&b| b == 9) && bytes[5..].iter().all(|&b| b == 0));
    // Blocks given back hold another file's bytes; they must not show through a new one's gaps.
    w.vfs.set_size(x, 0).unwrap();
    let y = w.open("out/y", CREATE).unwrap();
    w.vfs.write(y, 20_000, b"end").unwrap();
    w.vfs.write(y, 100, b"mid").unwrap();
    let mut bytes = vec![1; 20_003];
    w.vfs.read(y, 0, &mut bytes).unwrap();
    assert_eq!((&bytes[100..103], &bytes[20_000..]), (&b"mid"[..], &b"end"[..]));
    assert_eq!(bytes.iter().filter(|&&b| b != 0).count(), 6);
}

#[test]
fn a_share_is_copied_before_it_is_changed() {
    let mut w = world();
    let log = w.open("share/logs/x.log", CREATE).unwrap();
    w.vfs.write(log, 5, b"WORLD").unwrap();
    assert_eq!(w.text("share/logs/x.log"), "helloWORLD");
    assert_eq!(w.text("in/d/b"), "world", "the file it was copied from is as it was");
    w.vfs.rename(ROOT, "share/logs/x.log", ROOT, "share/logs/x.log.1").unwrap();
    let used = w.vfs.used();
    w.write("share/logs/new", b"").unwrap();
    let names: Vec<_> = w.vfs.list(w.vfs.parent(log), 0).unwrap().map(|(n, _)| n.to_owned()).collect();
    assert_eq!(names, ["new", "x.log.1"]);
    w.vfs.unlink(ROOT, "share/logs/x.log.1").unwrap();
    assert_eq!(w.vfs.used().1, used.1 + 1, "what was handed in was not counted, and gives nothing back");
}

// spec: SBX-6
#[test]
fn of_a_file_that_is_cut_off_only_what_stays_needs_room() {
    let mut w = world();
    w.vfs.quota.bytes = 5;
    let log = w.open("share/logs/x.log", CREATE).unwrap();
    assert_eq!(w.vfs.set_size(log, 6), Err(Errno::NoSpace));
    assert_eq!(w.text("share/logs/x.log"), "helloworld", "it is as it was");
    w.vfs.set_size(log, 5).unwrap();
    assert_eq!((w.text("share/logs/x.log").as_str(), w.vfs.used().0), ("hello", 5));
    let mut w = world();
    w.vfs.quota.bytes = 5;
    let log = w.open("share/logs/x.log", OpenHow { truncate: true, ..CREATE }).unwrap();
    assert_eq!(w.vfs.write(log, 0, b"short"), Ok(5));
    assert_eq!(w.vfs.write(log, 5, b"!"), Err(Errno::NoSpace));
}

#[test]
fn renames_follow_posix() {
    let mut w = world();
    let rename = |w: &mut World, a: &str, b: &str| w.vfs.rename(ROOT, a, ROOT, b);
    for dir in ["out/d", "out/d/e", "out/full"] {
        w.vfs.create_dir(ROOT, dir).unwrap();
    }
    w.write("out/f", b"f").unwrap();
    w.write("out/g", b"g").unwrap();
    w.write("out/full/x", b"x").unwrap();
    assert_eq!(rename(&mut w, "out/d", "out/d/e/d"), Err(Errno::Invalid));
    assert_eq!(rename(&mut w, "out/d", "out/f"), Err(Errno::NotDir));
    assert_eq!(rename(&mut w, "out/f", "out/d"), Err(Errno::IsDir));
    assert_eq!(rename(&mut w, "out/d", "out/full"), Err(Errno::NotEmpty));
    assert_eq!(rename(&mut w, "out/f", "out/f"), Ok(()));
    assert_eq!(rename(&mut w, "out/f/", "out/h"), Err(Errno::NotDir));
    assert_eq!(rename(&mut w, "out/f", "out/g"), Ok(()));
    assert_eq!(w.text("out/g"), "f");
    assert_eq!(rename(&mut w, "out/d/e", "out/e"), Ok(()));
    assert_eq!(w.vfs.remove_dir(ROOT, "out/full"), Err(Errno::NotEmpty));
    assert_eq!(w.vfs.unlink(ROOT, "out/e"), Err(Errno::IsDir));
    assert_eq!(w.vfs.remove_dir(ROOT, "out/e"), Ok(()));
    assert_eq!(w.vfs.remove_dir(ROOT, "out/g"), Err(Errno::NotDir));
}

// spec: SBX-13
#[test]
fn numbers_and_order_do_not_depend_on_the_machine() {
    let listing = |names: &[&str]| {
        let mut w = world();
        for name in names {
            w.write(&format!("out/{name}"), b"").unwrap();
        }
        let list: Vec<_> = w.vfs.list(w.out, 0).unwrap().map(|(name, _)| name.to_owned()).collect();
        list
    };
    assert_eq!(listing(&["b", "a", "c"]), listing(&["c", "b", "a"]));
    let stat = world().vfs.stat_at(ROOT, "in/d/b", true).unwrap();
    assert_eq!(
        (stat.ino, stat.mtim, stat.atim),
        (world().vfs.stat_at(ROOT, "in/d/b", true).unwrap().ino, 7, 7)
    );
}

#[test]
fn depth_is_bounded() {
    let mut w = world();
    w.vfs.quota.files = 1000;
    let mut path = "out".to_owned();
    let mut depth = 1;
    while w.vfs.create_dir(ROOT, &format!("{path}/d")).is_ok() {
        path.push_str("/d");
        depth += 1;
    }
    assert_eq!(depth, MAX_TREE_DEPTH);
    // Long names leave less room below them, also for what is moved there.
    let long = "n".repeat(255);
    let mut path = "out".to_owned();
    while path.len() + 256 <= MAX_TREE_PATH {
        path = format!("{path}/{long}");
        w.vfs.create_dir(ROOT, &path).unwrap();
    }
    assert_eq!(w.vfs.create_dir(ROOT, &format!("{path}/{long}")), Err(Errno::NameTooLong));
    assert_eq!(w.vfs.rename(ROOT, "out/d", ROOT, &format!("{path}/d")), Err(Errno::NameTooLong));
    assert_eq!(w.vfs.symlink(&"t/".repeat(600), ROOT, "out/l"), Err(Errno::NameTooLong));
}

// spec: SBX-8
#[test]
fn a_removed_folder_holds_and_takes_nothing() {
    let mut w = world();
    w.vfs.create_dir(ROOT, "out/a").unwrap();
    w.vfs.create_dir(ROOT, "out/a/b").unwrap();
    w.write("out/x", b"x").unwrap();
    let b = w.open("out/a/b", OPEN).unwrap();
    w.vfs.remove_dir(ROOT, "out/a/b").unwrap();
    w.vfs.remove_dir(ROOT, "out/a").unwrap();
    assert_eq!(w.vfs.open(b, "new", CREATE), Err(Errno::NoEntry));
    assert_eq!(w.vfs.create_dir(b, "new"), Err(Errno::NoEntry));
    assert_eq!(w.vfs.rename(ROOT, "out/x", b, "x"), Err(Errno::NoEntry));
    assert_eq!(w.vfs.list(b, 0).unwrap().count(), 0);
    assert_eq!(w.vfs.parent(b), ROOT);
    w.vfs.close(b);
    assert_eq!(w.vfs.used(), (1, 1));
}

// spec: SBX-4
#[test]
fn names_that_are_looked_at_are_counted() {
    let mut w = world();
    let links = 41;
    w.vfs.quota.files = 1000;
    for n in 0..links {
        w.vfs.symlink(&format!("{}l{}", "./".repeat(500), n + 1), ROOT, &format!("out/l{n}")).unwrap();
    }
    w.vfs.take_steps();
    assert_eq!(w.open("out/l0", OPEN), Err(Errno::Loop));
    assert!((1..=MAX_STEPS + 1).contains(&w.vfs.take_steps()));
    assert_eq!(w.vfs.take_steps(), 0);
}

// spec: SBX-4
#[test]
fn what_a_call_walks_or_copies_is_counted() {
    let mut w = world();
    w.vfs.quota.files = 1000;
    w.vfs.create_dir(ROOT, "out/d").unwrap();
    for n in 0..300 {
        w.write(&format!("out/d/{n}"), b"").unwrap();
    }
    w.vfs.take_steps();
    w.vfs.rename(ROOT, "out/d", ROOT, "out/e").unwrap();
    assert!((300..320).contains(&w.vfs.take_steps()), "a folder's names");

    w.vfs.quota.bytes = 100 * BLOCK;
    let file = tempfile::tempfile().unwrap();
    file.set_len(20 * BLOCK).unwrap();
    let logs = w.open("share/logs", OPEN).unwrap();
    let kind = Kind::File(Content::Base { file: Arc::new(file), offset: 0, len: 20 * BLOCK, origin: 9 });
    w.vfs.furnish(logs, "large", kind, Region::Share(0), 9).unwrap();
    let large = w.open("share/logs/large", CREATE).unwrap();
    w.vfs.take_steps();
    w.vfs.write(large, 0, b"x").unwrap();
    assert_eq!(w.vfs.take_steps(), 20 * 5, "a file that was handed in");
    w.vfs.write(large, 1, b"x").unwrap();
    assert_eq!(w.vfs.take_steps(), 0, "which is copied once");
}

mod against_a_model {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Op {
        Write(u8, u16, u8, u16),
        Size(u8, u16),
        Remove(u8),
        Rename(u8, u8),
    }

    fn op() -> impl Strategy<Value = Op> {
        let name = 0u8..4;
        prop_oneof![
            (name.clone(), 0u16..30_000, any::<u8>(), 0u16..9_000)
                .prop_map(|(n, at, b, len)| Op::Write(n, at, b, len)),
            (name.clone(), 0u16..40_000).prop_map(|(n, len)| Op::Size(n, len)),
            name.clone().prop_map(Op::Remove),
            (name.clone(), name).prop_map(|(a, b)| Op::Rename(a, b)),
        ]
    }

    proptest! {
        // spec: SBX-6
        #[test]
        fn files_hold_what_was_written_and_quotas_hold(ops in proptest::collection::vec(op(), 1..40)) {
            let mut w = world();
            let mut model: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
            for op in ops {
                let used: usize = model.values().map(Vec::len).sum();
                match op {
                    Op::Write(name, at, byte, len) if len > 0 => {
                        let old = model.get(&name).map_or(0, Vec::len);
                        let end = old.max(usize::from(at) + usize::from(len));
                        let fits = used - old + end <= 100_000;
                        let id = w.open(&format!("out/{name}"), CREATE).unwrap();
                        let written = w.vfs.write(id, at.into(), &vec![byte; len.into()]);
                        w.vfs.close(id);
                        prop_assert_eq!(written.is_ok(), fits || end == old);
                        let file = model.entry(name).or_default();
                        if written.is_ok() {
                            file.resize(end, 0);
                            file[at.into()..usize::from(at) + usize::from(len)].fill(byte);
                        }
                    }
                    Op::Write(..) => {}
                    Op::Size(name, len) => if let Some(file) = model.get_mut(&name) {
                        let id = w.open(&format!("out/{name}"), CREATE).unwrap();
                        let fits = used - file.len() + usize::from(len) <= 100_000;
                        let sized = w.vfs.set_size(id, len.into());
                        w.vfs.close(id);
                        prop_assert_eq!(sized.is_ok(), fits);
                        if fits {
                            file.resize(len.into(), 0);
                        }
                    },
                    Op::Remove(name) => {
                        let removed = w.vfs.unlink(ROOT, &format!("out/{name}"));
                        prop_assert_eq!(removed.is_ok(), model.remove(&name).is_some());
                    }
                    Op::Rename(a, b) => {
                        let renamed = w.vfs.rename(ROOT, &format!("out/{a}"), ROOT, &format!("out/{b}"));
                        prop_assert_eq!(renamed.is_ok(), model.contains_key(&a));
                        if a != b && let Some(file) = model.remove(&a) {
                            model.insert(b, file);
                        }
                    }
                }
                let total: usize = model.values().map(Vec::len).sum();
                prop_assert_eq!(w.vfs.used(), (total as u64, model.len() as u32));
            }
            for (name, file) in &model {
                let id = w.open(&format!("out/{name}"), OPEN).unwrap();
                let mut bytes = vec![0; file.len()];
                prop_assert_eq!(w.vfs.read(id, 0, &mut bytes), Ok(file.len()));
                prop_assert_eq!(&bytes, file);
            }
        }
    }
}
