//! Daemons of other times: from the future, from before the oldest version that is spoken, and what is no daemon at all.

use orlop::engine::{Class, Engine, ListContainers, Result};
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::house::{LONG, attempt, check_sentence, run, script};

/// A daemon that says this of itself, asked for its containers: the answer, and the version that was spoken.
fn daemon_of(ping: &'static str, version: Value) -> (Result<usize>, String) {
    let daemon = Daemon::unix(script(move |request, wire| {
        use std::io::Write;
        match request.path.as_str() {
            "/_ping" => {
                let head = format!("HTTP/1.1 200 OK\r\n{ping}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nOK");
                Some(wire.write_all(head.as_bytes()).map(|()| crate::daemon::Then::Next))
            }
            "/version" => Some(wire.json(&version)),
            _ => None,
        }
    }));
    let answer = run(attempt(&daemon, LONG, async |engine| {
        Ok(engine.containers().list(&ListContainers::default()).await?.len())
    }));
    let spoken = daemon.requests().iter().find(|request| request.path == "/containers/json").map(|r| r.version.clone());
    (answer, spoken.unwrap_or_default())
}

#[test]
fn a_daemon_of_any_time_is_spoken_to_in_words_it_knows() {
    let spoken = |ping, version| {
        let (answer, spoken) = daemon_of(ping, version);
        assert_eq!(answer.unwrap(), 2, "{ping}");
        spoken
    };
    let newest = orlop::api::compat::NEWEST.to_string();
    assert_eq!(spoken("Api-Version: 1.41\r\n", Value::Null), "1.41");
    assert_eq!(spoken("Api-Version: 1.24\r\n", Value::Null), "1.24");
    assert_eq!(spoken("Api-Version: 9.99\r\n", json!({"ApiVersion": "9.99", "MinAPIVersion": "1.44"})), newest);
    assert_eq!(spoken("Api-Version: 9.99\r\n", json!({"ApiVersion": "9.99", "MinAPIVersion": "9.5"})), "9.5");
    assert_eq!(spoken("Api-Version: 9.99\r\n", json!({"MinAPIVersion": {"very": "new"}})), newest);
    assert_eq!(spoken("", json!({"ApiVersion": "1.30"})), "1.30", "a daemon that says it only when asked");
    assert_eq!(spoken("Api-Version: x.y\r\n", json!({"ApiVersion": "1.30"})), "1.30");
}

#[test]
fn a_daemon_that_is_too_old_is_said_to_be() {
    for (ping, version) in [
        ("Api-Version: 1.23\r\n", json!({"ApiVersion": "1.23"})),
        ("Api-Version: 0.1\r\n", Value::Null),
        ("", json!({"ApiVersion": "1.18"})),
    ] {
        let error = daemon_of(ping, version).0.unwrap_err();
        check_sentence(ping, &error);
        assert_eq!(error.class, Class::Unsupported, "{error}");
        assert!(error.message.contains("1.24 is the oldest"), "{error}");
    }
}

#[test]
fn what_is_no_daemon_is_said_to_be_none() {
    for version in [
        Value::Null,
        json!({}),
        json!([]),
        json!("docker"),
        json!({"ApiVersion": null}),
        json!({"ApiVersion": "1e9.1"}),
    ] {
        let error = daemon_of("", version.clone()).0.unwrap_err();
        check_sentence(&version.to_string(), &error);
        assert!(error.message.contains("does not answer as a docker daemon does"), "{error}");
    }
}

/// A container that was there when it was listed.
#[test]
fn what_is_gone_between_the_list_and_the_act_is_said() {
    let daemon = Daemon::unix(script(|request, wire| {
        let verb = request.path.strip_prefix("/containers/")?;
        if verb == "json" {
            return None;
        }
        let (status, said) = match request.method.as_str() {
            "DELETE" => (409, "removal of container x is already in progress"),
            _ if verb.ends_with("/pause") => (409, "Container x is not running"),
            _ if verb.ends_with("/start") => (304, ""),
            _ => (404, "No such container: x"),
        };
        let body = if said.is_empty() { String::new() } else { json!({ "message": said }).to_string() };
        Some(wire.answer(status, "application/json", body.as_bytes()))
    }));
    run(attempt(&daemon, LONG, async |engine| {
        let ctr = &engine.containers().list(&ListContainers::default()).await?.remove(0).id;
        let containers = engine.containers();
        let classes = [
            containers.stop(ctr, &Default::default()).await.unwrap_err(),
            containers.remove(ctr, &Default::default()).await.unwrap_err(),
            containers.pause(ctr).await.unwrap_err(),
            containers.start(ctr).await.unwrap_err(),
            containers.logs(ctr, &Default::default()).await.err().unwrap(),
            containers.attach(ctr, &Default::default()).await.err().unwrap(),
            containers.stats(ctr, &Default::default()).await.err().unwrap(),
            engine
                .execs()
                .create(ctr, &orlop::engine::ExecSpec { cmd: vec!["x".into()], ..Default::default() })
                .await
                .unwrap_err(),
        ];
        for error in &classes {
            check_sentence("gone", error);
        }
        use Class::{Conflict, NotFound, NotModified};
        let wanted = [NotFound, Conflict, Conflict, NotModified, NotFound, NotFound, NotFound, NotFound];
        assert_eq!(classes.iter().map(|error| error.class).collect::<Vec<_>>(), wanted);
        assert_eq!(classes[0].message, format!("No such container: {ctr}"));
        Ok(())
    }))
    .unwrap();
}
