//! Templates as docker's users write them, with what docker 28 printed for them; and noise, which must never panic.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn data() -> Value {
    json!({
        "Id": "sha256:459f3b66da3e", "Os": "linux", "Size": 1982369, "RepoTags": ["busybox:latest", "bb:1"],
        "State": {"Running": true, "ExitCode": 0, "Health": null},
        "Config": {"Labels": {"x": "y", "com.a": "1"}, "Env": ["A=b", "C=d"], "Cmd": null},
        "Mounts": [{"Type": "volume", "Name": "data"}, {"Type": "bind", "Name": ""}],
        "@labels": {"x": "y"}
    })
}

fn check(template: &str, expected: &str) {
    let rendered = Template::parse(template).and_then(|parsed| parsed.render(&data()));
    assert_eq!(rendered.map_err(|error| error.to_string()).as_deref(), Ok(expected), "{template}");
}

fn check_error(template: &str, expected: &str) {
    let rendered = Template::parse(template).and_then(|parsed| parsed.render(&data()));
    assert_eq!(rendered.unwrap_err().to_string(), expected, "{template}");
}

#[test]
fn fields_functions_and_literals() {
    check("{{.Id}}|{{ .State.Running }}", "sha256:459f3b66da3e|true");
    check("{{len .RepoTags}} {{index .RepoTags 0}} {{upper .Os}} {{slice .Id 7 11}}", "2 busybox:latest LINUX 459f");
    check(
        "{{printf \"%s|%q|%v|%d|%5d|%-4s|%.2f\" .Os .Os .Size .Size 7 `a` 1.5}}",
        "linux|\"linux\"|1982369|1982369|    7|a   |1.50",
    );
    check("{{json .Config.Labels}}", "{\"x\":\"y\",\"com.a\":\"1\"}");
    check(
        "{{.Config.Labels}} {{.RepoTags}} {{.Mounts}}",
        "map[com.a:1 x:y] [busybox:latest bb:1] [map[Name:data Type:volume] map[Name: Type:bind]]",
    );
    check("{{index .Config.Labels \"com.a\"}}{{index .Config.Labels \"none\"}}", "1");
    check("{{.Config.Labels.nope}}", "<no value>");
    check(
        "{{join .Config.Env \",\"}} {{(split .Id \":\") | len}} {{title \"a bc\"}} {{truncate .Id 6}}{{pad .Os 1 2}}|",
        "A=b,C=d 2 A Bc sha256 linux  |",
    );
    check("{{println .Os 1}}{{print 1 2 \"a\" 3}}", "linux 1\n1 2a3");
    check("{{.Label \"x\"}}", "y");
    check("{{.Os | printf \"<%s>\" | upper}}", "<LINUX>");
}

#[test]
fn control_flow() {
    check("{{if eq .Os \"linux\"}}L{{else}}N{{end}}", "L");
    check("{{if .State.Health}}h{{else if .State.Running}}up{{else}}down{{end}}", "up");
    check("{{range .Mounts}}{{.Type}} {{end}}", "volume bind ");
    check("{{range $i, $m := .Mounts}}{{if $i}},{{end}}{{$m.Name}}{{end}}", "data,");
    check("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "com.a=1;x=y;");
    check("{{range .Config.Cmd}}x{{else}}none{{end}}", "none");
    check("{{with .State}}{{.ExitCode}}{{$.Os}}{{end}}", "0linux");
    check("{{$a := 1}}{{if true}}{{$a = 2}}{{end}}{{$a}}", "2");
    check("{{range .RepoTags}}{{.}}{{break}}{{end}}", "busybox:latest");
    check(
        "{{if and .State.Running (not .State.Health) (ne .Size 3) (gt .Size 10)}}y{{end}}{{or .State.Health \"none\"}}",
        "ynone",
    );
    check("a  {{- /* gone */ -}}  b {{- .Os -}}  c", "ab{{.Os}}c".replace("{{.Os}}", "linux").as_str());
    check("{{/* c */}}{{`raw }} text`}}", "raw }} text");
}

#[test]
fn errors_say_what_docker_says() {
    check_error("{{.Names", "template: :1: unclosed action");
    check_error("{{nope .}}", "template: :1: function \"nope\" not defined");
    check_error("{{.Nope}}", "template: :1: executing \"\" at <.Nope>: map has no entry for key \"Nope\"");
    check_error("{{if .Os}}x", "template: :1: unexpected EOF");
    check_error("{{end}}", "template: :1: unexpected {{end}}");
    check_error(
        "{{index .RepoTags 9}}",
        "template: :1: executing \"\" at <index>: error calling index: index out of range: 9",
    );
}

proptest! {
    #[test]
    fn noise_never_panics(text in "[{}|().$\"`a-zA-Z0-9 :=,%-]{0,60}") {
        let _ = Template::parse(&text).and_then(|parsed| parsed.render(&data()));
    }

    #[test]
    fn actions_of_noise_never_panic(inner in "[|().$\"a-z 0-9:=,%-]{0,24}", name in "(if|range|with|printf|index|slice|pad|len)") {
        let _ = Template::parse(&format!("{{{{{name} {inner}}}}}x{{{{end}}}}")).and_then(|parsed| parsed.render(&data()));
    }
}
