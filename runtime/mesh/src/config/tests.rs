//! What goes over what, what is shown of it, and what each wrong line says.

use super::*;
use crate::args::{Args, Command};
use clap::Parser as _;

fn typed(args: &[&str]) -> Up {
    let Command::Up(up) = Args::try_parse_from(["mesh", "up"].iter().chain(args)).unwrap().command else {
        panic!("not up")
    };
    *up
}

/// A home with these files.
fn home(file: &str, dotenv: &str) -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    if !file.is_empty() {
        std::fs::write(folder.path().join(FILE), file).unwrap();
    }
    if !dotenv.is_empty() {
        std::fs::write(folder.path().join(".env"), dotenv).unwrap();
    }
    let home = Home::at(folder.path());
    (folder, home)
}

fn load(file: &str, dotenv: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Config> {
    let (_folder, home) = home(file, dotenv);
    Loader::with(home, environment, Some(&typed(flags))).load()
}

fn value(config: &Config, key: &str) -> (String, String) {
    let shown = config.shown().into_iter().find(|shown| shown.key == key).unwrap();
    (shown.value, shown.from)
}

// spec: CLI-7
#[test]
fn flags_go_over_the_environment_that_over_a_dotenv_and_that_over_the_file() {
    let file = "enabled = true\npeer_name = \"file\"\nmax_task_duration = \"1h\"\n\n[energy]\ntype = \"wind\"\npercent_clean = 10\n";
    let dotenv =
        "MESH_PEER_NAME=dotenv\n\nMESH_MAX_TASK_DURATION_MS=120000\nMESH_CURRENT_ENERGY_PERCENT_CLEAN=20\n";
    let environment = [("MESH_PEER_NAME", "environment"), ("MESH_CURRENT_ENERGY_TYPE", "Hydro")];
    for (dotenv, environment, flags, key, shows, from) in [
        ("", &[][..], &[][..], "peer_name", "file", "mesh.toml:2"),
        (dotenv, &[], &[], "peer_name", "dotenv", ".env:1"),
        (dotenv, &environment, &[], "peer_name", "environment", "$MESH_PEER_NAME"),
        ("", &[], &[], "max_task_duration", "1h", "mesh.toml:3"),
        (dotenv, &environment, &[], "max_task_duration", "2m", ".env:3"),
        (dotenv, &environment, &["--longest", "30s"], "max_task_duration", "30s", "--longest"),
        ("", &[], &[], "energy.type", "wind", "mesh.toml:6"),
        ("", &environment, &[], "energy.type", "hydro", "$MESH_CURRENT_ENERGY_TYPE"),
        ("", &environment, &[], "energy.percent_clean", "10", "mesh.toml:7"),
        (dotenv, &environment, &[], "energy.percent_clean", "20", ".env:4"),
        (dotenv, &environment, &["--energy", "grid:40:300"], "energy.type", "grid", "--energy"),
        (dotenv, &environment, &["--energy", "grid:40:300"], "energy.percent_clean", "40", "--energy"),
        (dotenv, &environment, &["--energy", "command:x"], "energy.type", "not said", "--energy"),
        ("", &[], &[], "enabled", "true", "mesh.toml:1"),
        ("", &[], &[], "timezone", "this machine's", "default"),
        ("", &[("MESH_ENABLED", "")], &[], "enabled", "true", "mesh.toml:1"),
        ("", &[("MESH_ENABLED", "false")], &[], "enabled", "false", "$MESH_ENABLED"),
    ] {
        let config = load(file, dotenv, environment, flags).unwrap();
        assert_eq!(value(&config, key), (shows.into(), from.into()), "{dotenv:?} {environment:?} {flags:?}");
    }
    let nothing = load("", "", &[], &[]).unwrap();
    assert_eq!(nothing.settings, Settings::default());
    assert!(nothing.shown().iter().all(|shown| shown.from == "default"));
}

// spec: CLI-7
#[test]
fn each_named_variable_sets_what_it_names() {
    for (name, text, key, shows) in [
        ("MESH_ENABLED", "false", "enabled", "false"),
        ("MESH_PEER_ID", "AB12cd", "peer_id", "ab12cd"),
        ("MESH_PEER_NAME", "garden-pi", "peer_name", "garden-pi"),
        ("MESH_PEER_LOCATION", "52.5,13.4", "location", "53,13"),
        ("MESH_ALLOWED_TASKS", "database-*, word-count", "allowed_tasks", "database-*, word-count"),
        ("MESH_MAX_TASK_DURATION_MS", "90500", "max_task_duration", "90500ms"),
        ("MESH_TIMEZONE", "Europe/Berlin", "timezone", "Europe/Berlin"),
        ("MESH_CURRENT_ENERGY_TYPE", "solar", "energy.type", "solar"),
    ] {
        for (dotenv, environment, from) in [
            (format!("{name}={text}\n"), None, ".env:1".to_owned()),
            (String::new(), Some((name, text)), format!("${name}")),
        ] {
            let config = load("", &dotenv, environment.as_slice(), &[]).unwrap();
            assert_eq!(value(&config, key), (shows.into(), from), "{name}");
        }
    }
    let both = [("MESH_CURRENT_ENERGY_TYPE", "solar"), ("MESH_CURRENT_ENERGY_PERCENT_CLEAN", "90.5")];
    let word = load("", "", &both, &[]).unwrap().settings.energy().word.unwrap();
    assert_eq!((word.source, word.percent), (Source::Solar, 90.5));
    assert_eq!(
        KEYS.iter().filter(|key| key.variable.is_some()).count(),
        9,
        "all that the specification names"
    );
}

// spec: CLI-7, CLI-5
#[test]
fn a_wrong_value_of_each_key_is_refused_with_its_line() {
    let wrong = [
        ("enabled", "\"yes\"", "true or false"),
        ("enabled", "[true]", "one value"),
        ("peer_id", "\"xyz\"", "device's key"),
        ("peer_name", "\"\"", "plain text"),
        ("location", "\"Berlin\"", "LATITUDE,LONGITUDE"),
        ("location", "\"91,0\"", "LATITUDE,LONGITUDE"),
        ("allowed_tasks", "[\"Data*\"]", "pattern"),
        ("allowed_tasks", "[[\"a\"]]", "table"),
        ("max_task_duration", "\"soon\"", "duration"),
        ("max_task_duration", "90", "duration"),
        ("timezone", "\"Berlin/Europe\"", "time zone"),
        ("listen", "\"4433\"", "ADDRESS:PORT"),
        ("api", "\"here\"", "ADDRESS:PORT"),
        ("api_for_others", "1", "true or false"),
        ("slots", "0", "from 1 to 1024"),
        ("slots", "-1", "from 1 to 1024"),
        ("memory", "\"much\"", "size"),
        ("memory", "\"1\"", "hold no task"),
        ("watts", "5000", "from 1 to 2000"),
        ("hours", "\"mon\"", "mon-fri"),
        ("on_battery", "\"\"", "true or false"),
        ("most_load", "101", "from 0 to 100"),
        ("surplus_only", "2", "true or false"),
        ("disk", "\"much\"", "size"),
        ("upload", "-1", "size"),
        ("hook", "[\"a\"]", "one value"),
        ("hook", "\" \"", "write a command"),
        ("shares", "[\"/tmp\"]", "NAME=FOLDER"),
        ("relay", "-1", "size"),
        ("mdns", "\"no\"", "true or false"),
        ("energy.type", "\"coal\"", "solar, wind, hydro, battery or grid"),
        ("energy.percent_clean", "101", "from 0 to 100"),
        ("energy.percent_clean", "nan", "from 0 to 100"),
        ("energy.g_per_kwh", "3000", "from 0 to 2000"),
        ("energy.zone_g_per_kwh", "-1", "from 0 to 2000"),
        ("energy.source", "3", "[[energy.source]]"),
        ("battery.round_trip_percent", "0", "from 1 to 100"),
        ("battery.floor_percent", "101", "from 0 to 100"),
    ];
    for (key, text, says) in wrong {
        let file = format!("# mine\n\n{key} = {text}\n");
        let why = load(&file, "", &[], &[]).unwrap_err().to_string();
        assert!(why.contains("mesh.toml, line 3: ") && why.contains(says), "{key} = {text}: {why}");
    }
    let known: std::collections::BTreeSet<_> = wrong.iter().map(|(key, ..)| *key).collect();
    let all: std::collections::BTreeSet<_> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(known, all, "each key is tried");
    let dotenv = load("", "\nMESH_ENABLED=maybe\n", &[], &[]).unwrap_err().to_string();
    assert!(
        dotenv.contains(".env, line 2: MESH_ENABLED=maybe") && dotenv.contains("true or false"),
        "{dotenv}"
    );
    let environment = load("", "", &[("MESH_MAX_TASK_DURATION_MS", "1h")], &[]).unwrap_err().to_string();
    assert!(environment.contains("MESH_MAX_TASK_DURATION_MS=1h"), "{environment}");
}

// spec: CLI-7
#[test]
fn an_unknown_key_is_an_error_with_its_line_and_the_nearest_one() {
    let source = "[[energy.source]]\nkind = \"http\"\nurl = \"http://x.local/\"\n";
    for (file, line, says) in [
        ("enabeld = true\n".to_owned(), 1, "did you mean enabled?"),
        ("\n\npeer-name = \"x\"\n".into(), 3, "did you mean peer_name?"),
        ("frobnicate = 1\n".into(), 1, "its keys are enabled, "),
        ("[energi]\ntype = \"solar\"\n".into(), 1, "did you mean energy?"),
        ("[energy]\ntpye = \"solar\"\n".into(), 2, "did you mean type?"),
        ("[battery]\nfloor = 3\n".into(), 2, "its keys are "),
        (format!("{source}utl = 3\n[energy.source.fields]\nsolar_watts = \"/s\"\n"), 4, "did you mean url?"),
        (format!("{source}[energy.source.fields]\nsolar_wats = \"/s\"\n"), 5, "did you mean solar_watts?"),
        (
            format!("{source}[energy.source.fields]\nsolar_watts = {{ path = \"/s\", unt = \"W\" }}\n"),
            5,
            "did you mean unit?",
        ),
        ("enabled = \n".into(), 1, ""),
        ("enabled = true\nenabled = false\n".into(), 2, "duplicate"),
    ] {
        let why = load(&file, "", &[], &[]).unwrap_err().to_string();
        assert!(why.contains(&format!("line {line}: ")) && why.contains(says), "{file}: {why}");
    }
    let near = load("", "MESH_PEER_NAEM=x\n", &[], &[]).unwrap_err().to_string();
    assert!(near.contains("line 1") && near.contains("did you mean MESH_PEER_NAME?"), "{near}");
    assert!(load("", "MESH_SOMETHING=x\n", &[], &[]).is_err(), "that file is ours");
    assert!(load("", "HA_TOKEN=x\nMESH_HOME=y\n", &[], &[]).is_ok(), "tokens stand there, too");
    assert!(load("", "", &[("MESH_ENABELD", "true")], &[]).is_err());
    assert!(load("", "", &[("MESH_OF_ANOTHER_PROGRAM", "x"), ("MESH_HOME", "y")], &[]).is_ok());
}

// spec: CLI-7, EN-1
#[test]
fn sources_are_read_from_the_file() {
    let file = "
location = \"52.5,13.4\"

[energy]
zone_g_per_kwh = 380

[[energy.source]]
name = \"pv\"
kind = \"http\"
url = \"http://homeassistant.local:8123/api/states/sensor.pv_power\"
token_file = \"ha.token\"
every = \"30s\"
time = \"/last_reported\"
fields = { solar_watts = { path = \"/state\", unit = \"/attributes/unit_of_measurement\" } }

[[energy.source]]
kind = \"http\"
url = \"https://api.electricitymap.org/v3/carbon-intensity/latest?zone=DE&key=hidden\"
token_env = \"EM_TOKEN\"
token_header = \"auth-token\"
time = \"/datetime\"
fields.g_per_kwh = \"/carbonIntensity\"

[[energy.source]]
kind = \"gb\"
region = 13

[[energy.source]]
kind = \"carbon-aware-sdk\"
url = \"http://localhost:8090/\"
location = \"westeurope\"
signal = \"marginal\"

[[energy.source]]
kind = \"power-supply\"

[[energy.source]]
kind = \"command\"
run = \"read-meter\"
holds = \"1h\"
constant = true
";
    let config = load(file, "", &[], &[]).unwrap();
    let sources = &config.settings.sources;
    let kinds: Vec<_> = sources.iter().map(|source| source.kind.word()).collect();
    assert_eq!(kinds, ["http", "http", "gb", "carbon-aware-sdk", "power-supply", "command"]);
    let seconds: Vec<_> =
        sources.iter().map(|it| (it.every.map(|every| every.as_secs()), it.holds.as_secs())).collect();
    let grid = 3 * 3600;
    assert_eq!(
        seconds,
        [
            (Some(30), 90),
            (Some(300), grid),
            (Some(300), grid),
            (Some(300), grid),
            (Some(10), 30),
            (None, 3600)
        ]
    );
    assert_eq!(sources[3].signal.kind, mesh_protocol::energy::Kind::Marginal);
    assert_eq!(sources[2].signal.scope, mesh_protocol::energy::Scope::Direct);
    assert!(sources[5].constant && sources[0].name == "pv");
    let (shown, from) = value(&config, "energy.source");
    assert!(
        shown.contains("pv (http http://homeassistant.local:8123/api/states/sensor.pv_power)"),
        "{shown}"
    );
    assert!(!shown.contains("hidden") && from == "mesh.toml:7", "{shown} {from}");
    let debug = format!("{:?}", sources[0]);
    assert!(debug.contains("ha.token"), "{debug}");
}

// spec: CLI-7, EN-1, CLI-5
#[test]
fn a_wrong_source_is_refused_with_its_line() {
    let http = "kind = \"http\"\nurl = \"http://x.local/\"\n";
    for (text, line, says) in [
        ("name = \"x\"\n".to_owned(), 1, "kind is missing"),
        ("kind = \"mqtt\"\n".into(), 2, "there are trace, command, http"),
        ("kind = \"http\"\n".into(), 1, "url is missing"),
        ("kind = \"http\"\nurl = \"x\"\n".into(), 3, "no address"),
        (http.into(), 1, "fields is missing"),
        (format!("{http}fields = 3\n"), 4, "not a table"),
        (format!("{http}fields = {{}}\n"), 1, "fields is missing"),
        (format!("{http}fields = {{ solar_watts = \"state\" }}\n"), 4, "begins with a slash: /state"),
        (format!("{http}fields = {{ solar_watts = [1] }}\n"), 4, "path"),
        (format!("{http}fields = {{ solar_watts = {{ unit = \"W\" }} }}\n"), 4, "path is missing"),
        (
            format!("{http}fields = {{ solar_watts = {{ path = \"/s\", unit = \"g/kWh\" }} }}\n"),
            4,
            "W, kW, MW",
        ),
        (format!("{http}token = \"abc\"\nfields = {{ solar_watts = \"/s\" }}\n"), 4, "token_file"),
        (
            format!("{http}token_file = \"a\"\ntoken_env = \"B\"\nfields = {{ solar_watts = \"/s\" }}\n"),
            5,
            "two tokens",
        ),
        (
            format!("{http}token_header = \"a b\"\nfields = {{ solar_watts = \"/s\" }}\n"),
            4,
            "name of a header",
        ),
        (format!("{http}every = \"10ms\"\nfields = {{ solar_watts = \"/s\" }}\n"), 4, "from 1 s"),
        (format!("{http}signal = \"both\"\nfields = {{ solar_watts = \"/s\" }}\n"), 4, "average or marginal"),
        (format!("{http}scope = \"half\"\nfields = {{ solar_watts = \"/s\" }}\n"), 4, "life-cycle or direct"),
        ("kind = \"gb\"\nregion = 18\n".into(), 3, "from 1 to 17"),
        ("kind = \"gb\"\nscope = \"life-cycle\"\n".into(), 3, "scope cannot be set for gb"),
        ("kind = \"gb\"\nregion = 1\nsignal = \"average\"\n".into(), 4, "take signal away"),
        ("kind = \"carbon-aware-sdk\"\nurl = \"http://x.local\"\n".into(), 1, "location is missing"),
        (
            "kind = \"carbon-aware-sdk\"\nurl = \"http://x.local\"\nlocation = \"x\"\n".into(),
            1,
            "signal is missing",
        ),
        ("kind = \"trace\"\nfile = \"nowhere.csv\"\n".into(), 3, "nowhere.csv"),
        ("kind = \"command\"\n".into(), 1, "run is missing"),
        ("kind = \"power-supply\"\nname = \"a name that is much too long\"\n".into(), 3, "24 bytes"),
    ] {
        let file = format!("[[energy.source]]\n{text}");
        let why = load(&file, "", &[], &[]).unwrap_err().to_string();
        assert!(why.contains(&format!("line {line}: ")) && why.contains(says), "{file}: {why}");
        assert!(!why.contains("abc"), "a token is not repeated: {why}");
    }
    let many = "[[energy.source]]\nkind = \"power-supply\"\n".repeat(17);
    assert!(load(&many, "", &[], &[]).unwrap_err().to_string().contains("more than 16 sources"));
    let percent = load("[energy]\npercent_clean = 3\n", "", &[], &[]).unwrap_err().to_string();
    assert!(
        percent.contains("without energy.type") && percent.contains("MESH_CURRENT_ENERGY_TYPE"),
        "{percent}"
    );
    let huge = "#".repeat(300_000);
    assert!(load(&huge, "", &[], &[]).unwrap_err().to_string().contains("more than"));
}

// spec: CLI-7
#[test]
fn what_can_change_while_it_runs_does_and_the_rest_waits() {
    let old = load("most_load = 10\nslots = 1\nmdns = true\n", "", &[], &["--relay", "1GB"]).unwrap();
    let new = load("\nmost_load = 20\nslots = 2\nmdns = false\n", "", &[], &["--relay", "1GB"]).unwrap();
    let (taken, wait) = old.taking_up(&new);
    assert_eq!(wait, ["mdns"]);
    assert_eq!(value(&taken, "most_load"), ("20".into(), "mesh.toml:2".into()));
    assert_eq!(value(&taken, "mdns"), ("true".into(), "mesh.toml:3".into()), "what runs, and whence");
    assert_eq!(value(&taken, "relay").1, "--relay");
    assert_eq!((taken.settings.slots, taken.settings.mdns), (Some(2), true));
    let live: Vec<_> = KEYS.iter().filter(|key| key.live).map(|key| key.name).collect();
    for key in ["enabled", "allowed_tasks", "max_task_duration", "timezone", "hours", "energy.source"] {
        assert!(live.contains(&key), "{key}");
    }
}

// spec: EN-4, PERM-5
#[test]
fn a_laptop_on_battery_is_no_donor_unless_its_owner_says_so() {
    let terms = |flags: &[&str]| load("", "", &[], flags).unwrap().settings.terms().unwrap();
    assert!(terms(&[]).mains_only && !terms(&["--on-battery"]).mains_only);
    assert!(terms(&["--surplus-only"]).surplus_only && !terms(&[]).off);
    assert!(load("enabled = false\n", "", &[], &[]).unwrap().settings.terms().unwrap().off);
    assert_eq!(terms(&["--hours", "mon:9-17"]).hours[0], [(540, 1020)]);
}

// spec: CLI-7, PERM-2
#[test]
fn an_empty_list_in_the_environment_is_none_of_all() {
    let config = load("", "", &[("MESH_ALLOWED_TASKS", "")], &[]).unwrap();
    let file = load("allowed_tasks = []", "", &[], &[]).unwrap();
    assert_eq!(config.settings.accepts, file.settings.accepts);
    assert!(config.settings.accepts.is_empty());
}

// spec: CLI-7
#[test]
fn a_variable_that_is_no_text_is_not_passed_over() {
    use std::os::unix::ffi::OsStringExt as _;
    let folder = tempfile::tempdir().unwrap();
    let said = |name: &str| {
        let variable = (OsString::from(name), OsString::from_vec(vec![0xff]));
        Loader::among([variable].into_iter(), Home::at(folder.path()), None).load()
    };
    let failure = said("MESH_PEER_NAME").unwrap_err().to_string();
    assert!(failure.contains("MESH_PEER_NAME") && failure.contains("hint:"), "{failure}");
    assert!(said("MESH_HOME").is_ok() && said("LANG").is_ok());
}

// spec: CLI-5, CLI-7
#[test]
fn a_file_that_cannot_be_read_as_text_is_said_how_to_mend() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let said = || Loader::with(Home::at(folder.path()), &[], None).load().unwrap_err().to_string();
    std::fs::create_dir(&path).unwrap();
    let failure = said();
    assert!(failure.contains("it is a folder") && failure.contains("hint:"), "{failure}");
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, b"peer_name = \"caf\xe9\"").unwrap();
    let failure = said();
    assert!(failure.contains("UTF-8") && failure.contains("hint:"), "{failure}");
}
