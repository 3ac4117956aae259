//! Each service as it answers, and as it fails.

use super::server::{Reply, Request, Server, json};
use crate::config::secret::Secret;
use crate::energy::fields::{Http, Path, Paths};
use crate::energy::gb::Gb;
use crate::energy::http::{Asking, check, shown};
use crate::energy::observed::{Field, Observation, Signal, Source, Trouble};
use crate::energy::sdk::Sdk;
use mesh_protocol::energy::{Kind, Scope};
use serde_json::json as value;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

/// 2026-06-21, ten past ten in Greenwich.
const NOW: u64 = 1_782_036_600_000;
const HALF_HOUR: u64 = 1_800_000;
const TOKEN: &str = "eyJhbGciOi.surely-secret";

fn asking(url: String) -> Asking {
    Asking { url, token: None, header: None }
}

/// A file that holds the token, and is its owner's alone.
fn secret(folder: &std::path::Path) -> Secret {
    let path = folder.join("token");
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    Secret::File(path)
}

fn values(seen: &Observation) -> Vec<(Field, f64)> {
    seen.values.clone()
}

/// Home Assistant, with one entity.
fn home_assistant(request: &Request) -> Reply {
    if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return Reply::Say(401, vec![("Content-Type", "text/plain".into())], b"401: Unauthorized".to_vec());
    }
    match request.path.as_str() {
        "/api/states/sensor.pv_power" => json(
            200,
            &value!({
                "entity_id": "sensor.pv_power", "state": "3.21",
                "attributes": { "unit_of_measurement": "kW", "friendly_name": "PV" },
                "last_changed": "2026-06-21T10:09:00+00:00", "last_reported": "2026-06-21T10:09:58.5+00:00",
                "last_updated": "2026-06-21T10:09:00+00:00", "context": { "id": "01H", "parent_id": null },
            }),
        ),
        "/api/states/sensor.gone" => {
            json(200, &value!({ "entity_id": "sensor.gone", "state": "unavailable", "attributes": {} }))
        }
        _ => json(404, &value!({ "message": "Entity not found." })),
    }
}

fn entity(server: &Server, name: &str, token: Option<Secret>) -> Http {
    Http {
        asking: Asking { url: server.url(&format!("/api/states/{name}")), token, header: None },
        paths: Paths {
            fields: vec![(
                Field::Solar,
                Path { path: "/state".into(), unit: Some("/attributes/unit_of_measurement".into()) },
            )],
            time: Some("/last_reported".into()),
            ..Paths::default()
        },
    }
}

// spec: EN-1, EN-2
#[test]
fn home_assistant_is_asked_for_an_entity_with_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(home_assistant);
    let token = secret(folder.path());
    let seen = entity(&server, "sensor.pv_power", Some(token.clone())).read(NOW).unwrap();
    assert_eq!((values(&seen), seen.at_ms), (vec![(Field::Solar, 3210.0)], Some(1_782_036_598_500)));
    let why = |name: &str, token| entity(&server, name, token).read(NOW).unwrap_err().why;
    assert!(
        why("sensor.pv_powr", Some(token.clone())).contains("status 404: it has nothing at this address")
    );
    assert!(why("sensor.gone", Some(token.clone())).contains("no number: \"unavailable\""));
    assert!(why("sensor.pv_power", None).contains("status 401: it wants a token"));
    std::fs::write(folder.path().join("token"), "another").unwrap();
    let refused = why("sensor.pv_power", Some(token.clone()));
    assert!(refused.contains("status 401: it does not take the token"), "{refused}");
    std::fs::remove_file(folder.path().join("token")).unwrap();
    let missing = why("sensor.pv_power", Some(token));
    assert!(missing.contains("the token cannot be read from"), "{missing}");
    assert_eq!(server.asked().len(), 5, "without a token nobody is asked");
}

// spec: EN-1
#[test]
fn a_token_stands_in_no_error_and_goes_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = Server::new(|_| json(200, &value!({ "state": 1 })));
    let there = elsewhere.url("/");
    let server = Server::new(move |request| match request.path.as_str() {
        "/moved" => Reply::Say(302, vec![("Location", there.clone())], Vec::new()),
        // It repeats what it was told, as careless services do.
        _ => json(500, &value!({ "error": format!("{:?}", request.headers) })),
    });
    for (path, says) in [("/moved", "status 302: it answers from elsewhere"), ("/x?key=hidden", "status 500")]
    {
        let asking = Asking {
            url: server.url(path),
            token: Some(secret(folder.path())),
            header: Some("auth-token".into()),
        };
        let text = format!("{:?}", asking.get("").unwrap_err());
        assert!(text.contains(says), "{text}");
        assert!(!text.contains(TOKEN) && !text.contains("hidden"), "{text}");
    }
    assert!(elsewhere.asked().is_empty(), "it is not handed on to where a service points");
    assert_eq!(server.asked()[0].header("auth-token"), Some(TOKEN));
    assert_eq!(shown("https://x/y?token=z"), "https://x/y");
}

// spec: EN-1, EN-3
#[test]
fn whatever_a_service_does_ends_and_is_said() {
    let answer = |request: &Request| match request.path.as_str() {
        "/limit" => Reply::Say(429, vec![("Retry-After", "120".into())], b"slow down".to_vec()),
        "/limit-for-ever" => Reply::Say(429, vec![("Retry-After", "999999".into())], Vec::new()),
        "/broken" => Reply::Say(503, Vec::new(), b"<html>sorry</html>".to_vec()),
        "/page" => {
            Reply::Say(200, vec![("Content-Type", "text/html".into())], b"<html>login</html>".to_vec())
        }
        "/half" => Reply::CutOff(br#"{"carbonIntensity": 3"#.to_vec()),
        "/huge" => Reply::Say(200, Vec::new(), vec![b' '; 3 << 20]),
        "/nothing" => Reply::Say(204, Vec::new(), Vec::new()),
        "/hang-up" => Reply::HangUp,
        "/drip" => Reply::Drip,
        _ => Reply::Silence,
    };
    let server = Server::new(answer);
    let ask = |path: &str| {
        let asking = asking(server.url(path));
        asking
            .get_within("", Duration::from_millis(1500))
            .and_then(|answer| answer.ok_or_else(|| "nothing".into()))
    };
    let why = |path: &str| ask(path).unwrap_err();
    let limit = why("/limit");
    assert_eq!(limit.rest, Some(Duration::from_secs(120)));
    assert!(limit.why.contains("asked too often") && limit.why.contains("wants 120 s of rest"), "{limit:?}");
    assert_eq!(why("/limit-for-ever").rest, Some(Duration::from_secs(3600)), "nobody silences it for ever");
    for (path, says) in [
        ("/broken", "status 503: it is in trouble itself"),
        ("/page", "its answer is no JSON"),
        ("/half", "broke off"),
        ("/huge", "more than 1048576 bytes"),
        ("/nothing", "nothing"),
        ("/hang-up", "could not be reached or broke off"),
        ("/drip", "did not answer within 1.5 s"),
        ("/silence", "did not answer within 1.5 s"),
    ] {
        let Trouble { why, rest } = why(path);
        assert!(why.contains(says) && rest.is_none(), "{path}: {why}");
    }
    // Whoever answers in the clear where a certificate is wanted is not believed.
    let secure = asking(format!("https://{}/", server.addr)).get("").unwrap_err().why;
    assert!(secure.starts_with("https://127.0.0.1") && !secure.contains("status"), "{secure}");
    // Nobody listens there any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = asking(format!("http://{closed}/")).get("").unwrap_err().why;
    assert!(refused.contains("could not be reached"), "{refused}");
}

// spec: EN-1, CLI-5
#[test]
fn an_address_that_cannot_be_asked_is_refused_at_once() {
    for good in ["http://127.0.0.1:80/x", "https://api.example.org/v3?zone=DE", "http://[::1]:8123/"] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for (bad, says) in [
        ("", "no address"),
        ("homeassistant.local:8123/api", "no address"),
        ("ftp://x/y", "no address"),
        ("file:///etc/passwd", "no address"),
        ("http://", "no address"),
        ("http://me:secret@x/y", "token_file"),
    ] {
        let why = check(bad).unwrap_err();
        assert!(why.contains(says) && !why.contains("secret"), "{bad}: {why}");
    }
}

/// The service of Great Britain: half hours from the one that was asked for.
fn great_britain(request: &Request) -> Reply {
    let mix = value!([
        { "fuel": "biomass", "perc": 4.9 }, { "fuel": "coal", "perc": 1.5 }, { "fuel": "imports", "perc": 8.0 },
        { "fuel": "gas", "perc": 35.1 }, { "fuel": "nuclear", "perc": 20.0 }, { "fuel": "other", "perc": 0.0 },
        { "fuel": "hydro", "perc": 2.5 }, { "fuel": "solar", "perc": 18.0 }, { "fuel": "wind", "perc": 10.0 },
    ]);
    let slot = |from: &str, to: &str, forecast: u32, with_mix: bool| {
        let mut slot = value!({ "from": from, "to": to,
            "intensity": { "forecast": forecast, "actual": null, "index": "moderate" } });
        // Only a region's half hours bring theirs.
        if with_mix {
            slot["generationmix"] = mix.clone();
        }
        slot
    };
    let slots = |with_mix: bool| {
        value!([
            slot("2026-06-21T10:00Z", "2026-06-21T10:30Z", 176, with_mix),
            slot("2026-06-21T10:30Z", "2026-06-21T11:00Z", 150, with_mix),
            slot("2026-06-21T11:00Z", "2026-06-21T11:30Z", 120, with_mix),
        ])
    };
    match request.path.as_str() {
        "/intensity/2026-06-21T10:10Z/fw48h" => json(200, &value!({ "data": slots(false) })),
        "/generation" => json(
            200,
            &value!({ "data": { "from": "2026-06-21T10:00Z", "to": "2026-06-21T10:30Z", "generationmix": mix } }),
        ),
        "/regional/intensity/2026-06-21T10:10Z/fw48h/regionid/13" => json(
            200,
            &value!({ "data": { "regionid": 13, "dnoregion": "UKPN London", "shortname": "London", "data": slots(true) } }),
        ),
        _ => json(
            400,
            &value!({ "error": { "code": "400 Bad Request", "message": "Please enter a valid date." } }),
        ),
    }
}

// spec: EN-1, EN-2
#[test]
fn great_britain_tells_its_half_hours_and_its_mix() {
    let server = Server::new(great_britain);
    for (region, zone) in [(None, "GB"), (Some(13), "GB London")] {
        let mut gb = Gb { asking: asking(server.url("")), region };
        let seen = gb.read(NOW).unwrap();
        let expected = vec![(Field::Grams, 176.0), (Field::Renewable, 35.4)];
        assert_eq!((values(&seen), seen.zone.as_deref()), (expected, Some(zone)));
        assert_eq!(seen.signal, Some(Signal { scope: Scope::Direct, kind: Kind::Average }));
        let half = NOW - NOW % HALF_HOUR;
        assert_eq!((seen.at_ms, seen.until_ms), (Some(half), Some(half + HALF_HOUR)));
        assert!(seen.estimated, "the half hour is not over");
        let ahead: Vec<_> = seen.ahead.iter().map(|it| (it.from_ms - half, it.g_per_kwh)).collect();
        assert_eq!(ahead, [(0, 176.0), (HALF_HOUR, 150.0), (2 * HALF_HOUR, 120.0)]);
    }
    let asked: Vec<_> = server.asked().into_iter().map(|request| request.path).collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    let why = Gb { asking: asking(server.url("")), region: Some(3) }.read(NOW).unwrap_err().why;
    assert!(why.contains("status 400"), "{why}");
}

// spec: EN-3
#[test]
fn what_great_britain_leaves_out_is_said() {
    let slot = |more: serde_json::Value| value!({ "data": [more] });
    for (answer, says) in [
        (value!({}), "no list of half hours"),
        (value!({ "data": [] }), "no half hour that is now"),
        (
            slot(value!({ "from": "2026-06-21T09:00Z", "to": "2026-06-21T09:30Z" })),
            "no half hour that is now",
        ),
        (
            slot(value!({ "from": "2026-06-21T10:00Z", "to": "2026-06-21T10:30Z", "intensity": null })),
            "no intensity",
        ),
        (slot(value!({ "from": "soon", "to": "later" })), "no half hour that is now"),
    ] {
        let server = Server::new(move |_| json(200, &answer));
        let why = Gb { asking: asking(server.url("")), region: None }.read(NOW).unwrap_err().why;
        assert!(why.contains(says), "{why}");
    }
    // Without its mix, its figure counts all the same.
    let server = Server::new(|request| match request.path.as_str() {
        "/generation" => Reply::Say(500, Vec::new(), Vec::new()),
        _ => great_britain(request),
    });
    let seen = Gb { asking: asking(server.url("")), region: None }.read(NOW).unwrap();
    assert_eq!(values(&seen), [(Field::Grams, 176.0)]);
    assert!(seen.missing[0].1.contains("status 500"), "{:?}", seen.missing);
}

/// The Carbon Aware SDK's WebApi.
fn web_api(request: &Request) -> Reply {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let known = query.contains("location=westeurope");
    match path {
        "/emissions/bylocation" if known => json(
            200,
            &value!([
                { "location": "NL", "time": "2026-06-21T08:00:00+00:00", "rating": 311.0, "duration": "01:00:00" },
                { "location": "NL", "time": "2026-06-21T09:00:00+00:00", "rating": 302.5, "duration": "01:00:00" },
            ]),
        ),
        "/emissions/bylocation" if query.contains("location=quiet") => {
            Reply::Say(204, Vec::new(), Vec::new())
        }
        "/emissions/forecasts/current" if known => json(
            200,
            &value!([{ "generatedAt": "2026-06-21T10:00:00+00:00", "location": "westeurope",
                "optimalDataPoints": [{ "location": "NL", "timestamp": "2026-06-21T11:00:00+00:00", "duration": 60, "value": 120.0 }],
                "forecastData": [
                    { "location": "NL", "timestamp": "2026-06-21T10:00:00+00:00", "duration": 60, "value": 280.0 },
                    { "location": "NL", "timestamp": "2026-06-21T11:00:00+00:00", "duration": 60, "value": 120.0 },
                ] }]),
        ),
        "/emissions/forecasts/current" => json(501, &value!({ "title": "NotImplemented", "status": 501 })),
        _ => json(
            400,
            &value!({ "title": "One or more validation errors occurred.", "status": 400, "errors": { "location": ["Unknown"] } }),
        ),
    }
}

// spec: EN-1, EN-2
#[test]
fn the_carbon_aware_sdks_web_api_tells_what_was_last_and_what_it_expects() {
    let server = Server::new(web_api);
    let sdk =
        |location: &str| Sdk { asking: asking(server.url("")), location: location.into(), forecasts: true };
    let seen = sdk("westeurope").read(NOW).unwrap();
    assert_eq!((values(&seen), seen.zone.as_deref()), (vec![(Field::Grams, 302.5)], Some("westeurope")));
    assert_eq!((seen.at_ms, seen.until_ms), (Some(NOW - 70 * 60_000), None));
    let ahead: Vec<_> = seen.ahead.iter().map(|it| (it.until_ms - it.from_ms, it.g_per_kwh)).collect();
    assert_eq!(ahead, [(3_600_000, 280.0), (3_600_000, 120.0)]);
    let path = &server.asked()[0].path;
    assert_eq!(
        path,
        "/emissions/bylocation?location=westeurope&time=2026-06-21T04:10:00Z&toTime=2026-06-21T10:10:00Z"
    );
    assert!(sdk("nowhere").read(NOW).unwrap_err().why.contains("status 400"));
    assert!(sdk("quiet").read(NOW).unwrap_err().why.contains("nothing of \"quiet\""));
    // One that does not forecast tells what it knows.
    let server = Server::new(|request| match request.path.contains("forecasts") {
        true => json(501, &value!({ "title": "NotImplemented" })),
        false => web_api(request),
    });
    let mut sdk = Sdk { asking: asking(server.url("")), location: "westeurope".into(), forecasts: true };
    let seen = sdk.read(NOW).unwrap();
    assert!(seen.ahead.is_empty() && values(&seen) == [(Field::Grams, 302.5)]);
}

// spec: EN-1, EN-2, EN-3
#[test]
fn electricity_maps_is_asked_for_a_zone_with_its_own_header() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(|request| match (request.header("auth-token"), request.path.as_str()) {
        (Some(TOKEN), "/v3/carbon-intensity/latest?zone=DE") => json(
            200,
            &value!({ "zone": "DE", "carbonIntensity": 302, "datetime": "2026-06-21T09:00:00.000Z",
                "updatedAt": "2026-06-21T09:47:07.350Z", "emissionFactorType": "lifecycle", "isEstimated": true }),
        ),
        (Some(TOKEN), _) => json(404, &value!({ "error": "No recent data for zone" })),
        _ => json(401, &value!({ "error": "Invalid auth-token" })),
    });
    let mut maps = Http {
        asking: Asking {
            url: server.url("/v3/carbon-intensity/latest?zone=DE"),
            token: Some(secret(folder.path())),
            header: Some("auth-token".into()),
        },
        paths: Paths {
            fields: vec![(Field::Grams, Path { path: "/carbonIntensity".into(), unit: None })],
            time: Some("/datetime".into()),
            zone: Some("/zone".into()),
            estimated: Some("/isEstimated".into()),
            ..Paths::default()
        },
    };
    let seen = maps.read(NOW).unwrap();
    assert_eq!(
        (values(&seen), seen.zone.as_deref(), seen.estimated),
        (vec![(Field::Grams, 302.0)], Some("DE"), true)
    );
    assert_eq!(seen.at_ms, Some(NOW - 70 * 60_000));
    maps.asking.header = None;
    assert!(maps.read(NOW).unwrap_err().why.contains("status 401"));
}
