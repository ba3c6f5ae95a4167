//! Keys in, screen out: the real update, view and executor on the scripted fake engine, without a terminal.
//! Every test types what a person would type and reads what a person would read.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house

use std::sync::Arc;
use std::time::Duration;

use orlop::engine::fake::Fake;
use orlop::engine::{Access, Class, Engine, EngineError, HostColor, HostEntry, Hosts};
use orlop::tui::TuiOptions;
use orlop::tui::app::App;
use orlop::tui::headless::Headless;
use orlop::tui::input::Parser;
use orlop::tui::msg::{Command, Msg};
use orlop::tui::screen::{Charset, Depth};
use orlop::tui::terminal::Abilities;

/// A screen on an engine, and the engine.
struct Person {
    screen: Headless,
    fake: Fake,
}

/// The scripted engine, and an empty one called `prod` that is to be looked at only.
struct TwoHosts(Fake);

impl Hosts for TwoHosts {
    fn known(&self) -> Vec<HostEntry> {
        let here = HostEntry { name: "test".into(), address: "in this process".into(), ..HostEntry::default() };
        let far = HostEntry {
            name: "prod".into(),
            address: "ssh://ops@prod".into(),
            color: HostColor::Red,
            access: Access::ReadOnly,
            ..HostEntry::default()
        };
        vec![here, far]
    }

    fn open(&self, name: &str) -> Result<(HostEntry, Arc<dyn Engine>), EngineError> {
        let found = self.known().into_iter().find(|host| host.name == name);
        let host = found.ok_or_else(|| {
            EngineError::new(Class::NotFound, name, format!("no host is called {name}"))
                .with_hint("an address begins with unix://, tcp:// or ssh://")
        })?;
        let fake = if name == "prod" { Fake::empty() } else { self.0.clone() };
        Ok((host, Arc::new(fake)))
    }
}

fn options(fake: &Fake) -> TuiOptions {
    let clock = fake.clone();
    TuiOptions {
        engine: Arc::new(fake.clone()),
        host: HostEntry { name: "test".into(), ..HostEntry::default() },
        hosts: Some(Arc::new(TwoHosts(fake.clone()))),
        lines: Some(Arc::new(orlop::cli::CommandLine::default())),
        config: None,
        themes: Vec::new(),
        abilities: Abilities { depth: Depth::True, charset: Charset::Unicode },
        clock: Arc::new(move || clock.now()),
    }
}

impl Person {
    async fn at(fake: Fake, cols: u16, rows: u16) -> Self {
        let mut screen = Headless::start(&options(&fake), cols, rows);
        screen.rest().await;
        Self { screen, fake }
    }

    async fn scripted() -> Self {
        Self::at(Fake::scripted(), 120, 40).await
    }

    /// Types keys by name: `j`, `Enter`, `ctrl-p`; words in quotes are typed as they are.
    async fn press(&mut self, keys: &str) {
        for key in keys.split(' ') {
            self.screen.type_bytes(&bytes_of(key)).await;
        }
    }

    async fn write(&mut self, text: &str) {
        self.screen.type_bytes(text.as_bytes()).await;
    }

    /// Moves to a container by filter and takes the filter away again.
    async fn go_to(&mut self, name: &str) {
        self.press("/").await;
        self.write(&format!("re:^{name}$")).await;
        self.press("Enter Esc").await;
        assert_eq!(self.screen.model().containers.selected().map(|row| row.name.as_str()), Some(name));
    }

    fn sees(&self, text: &str) {
        let screen = self.screen.text();
        assert!(screen.contains(text), "`{text}` is not on the screen:\n{screen}");
    }

    fn misses(&self, text: &str) {
        let screen = self.screen.text();
        assert!(!screen.contains(text), "`{text}` is on the screen:\n{screen}");
    }

    async fn state_of(&self, name: &str) -> String {
        let detail = self.fake.containers().inspect(name).await.unwrap();
        detail.state.status.as_str().to_owned()
    }
}

fn bytes_of(key: &str) -> Vec<u8> {
    match key {
        "Enter" => b"\r".to_vec(),
        "Esc" => b"\x1b".to_vec(),
        "Tab" => b"\t".to_vec(),
        "S-Tab" => b"\x1b[Z".to_vec(),
        "Space" => b" ".to_vec(),
        "Up" => b"\x1b[A".to_vec(),
        "Down" => b"\x1b[B".to_vec(),
        "Right" => b"\x1b[C".to_vec(),
        "Left" => b"\x1b[D".to_vec(),
        "BS" => b"\x7f".to_vec(),
        "F2" => b"\x1bOQ".to_vec(),
        "PgDn" => b"\x1b[6~".to_vec(),
        _ => match key.strip_prefix("ctrl-").and_then(|rest| rest.bytes().next()) {
            Some(b']') => vec![0x1d],
            Some(letter) => vec![letter & 0x1f],
            None => key.as_bytes().to_vec(),
        },
    }
}

#[tokio::test]
async fn the_first_screen_says_what_is_there() {
    let person = Person::scripted().await;
    for text in
        ["orlop", "1 Containers", "2 Images", "3 Volumes", "4 Networks", "web-1", "postgres", "up", "Summary", "? help"]
    {
        person.sees(text);
    }
}

#[tokio::test]
async fn an_empty_store_greets_the_newcomer_with_keys() {
    let mut person = Person::at(Fake::empty(), 120, 40).await;
    person.sees("Nothing here yet.");
    person.sees("add an image");
    person.press("A").await;
    for text in ["Load an archive", "Import a root file system", "Make one from this host"] {
        person.sees(text);
    }
    person.press("h").await;
    person.sees("Make an image from this host");
}

#[tokio::test]
async fn from_host_then_run_by_keys_alone() {
    let mut person = Person::at(Fake::empty(), 120, 40).await;
    person.press("A h").await;
    person.write("tools:latest").await;
    person.press("ctrl-s").await;
    person.screen.wait_for("made tools:latest").await;
    person.press("2 n").await;
    person.sees("Run an image");
    person.write("first").await;
    person.press("ctrl-s").await;
    person.screen.wait_for("started first").await;
    assert_eq!(person.state_of("first").await, "running");
    assert_eq!(person.screen.model().containers.selected().map(|row| row.name.as_str()), Some("first"));
}

#[tokio::test]
async fn a_wrong_field_is_named_and_nothing_is_created() {
    let mut person = Person::scripted().await;
    person.press("2 n").await;
    person.write("-bad name").await;
    person.press("ctrl-s").await;
    person.sees("letters, digits");
    person.sees("Run an image");
    assert!(person.fake.containers().inspect("-bad").await.is_err());
}

#[tokio::test]
async fn a_container_gets_the_usual_network_of_its_host_or_another_one() {
    let mut person = Person::scripted().await;
    for (name, keys, network) in [("usual", "", "bridge"), ("alone", "Right ", "none")] {
        person.press("2 n").await;
        person.write(name).await;
        // From the name down to the network.
        person.press(&format!("{}{keys}ctrl-s", "Tab ".repeat(7))).await;
        person.screen.wait_for(&format!("started {name}")).await;
        let detail = person.fake.containers().inspect(name).await.unwrap();
        assert_eq!(detail.spec.network_mode.as_deref(), Some(network));
    }
}

#[tokio::test]
async fn motions_stop_at_the_ends_and_selection_follows_the_id() {
    let mut person = Person::scripted().await;
    person.press("G").await;
    let last = person.screen.model().containers.selected_id().map(str::to_owned);
    person.press("j j ctrl-f").await;
    assert_eq!(person.screen.model().containers.selected_id().map(str::to_owned), last);
    person.press("g k").await;
    assert_eq!(person.screen.model().containers.cursor(), 0);
    // Another container appears above; the cursor stays with the one it was on.
    let before = person.screen.model().containers.selected_id().map(str::to_owned);
    let spec = orlop::engine::ContainerSpec { image: "nginx:1.27".into(), ..Default::default() };
    person.fake.add_running("aaa", &spec).unwrap();
    person.screen.wait_for("aaa").await;
    assert_eq!(person.screen.model().containers.selected_id().map(str::to_owned), before);
    assert_ne!(person.screen.model().containers.cursor(), 0);
}

#[tokio::test]
async fn stop_start_pause_and_restart() {
    let mut person = Person::scripted().await;
    person.go_to("web-1").await;
    person.press("P").await;
    person.screen.wait_for("paused web-1").await;
    assert_eq!(person.state_of("web-1").await, "paused");
    person.press("P").await;
    person.screen.wait_for("unpaused web-1").await;
    person.press("s").await;
    person.screen.wait_for("stopped web-1").await;
    assert_eq!(person.state_of("web-1").await, "exited");
    person.press("S").await;
    person.screen.wait_for("started web-1").await;
    person.press("r").await;
    person.screen.wait_for("restarted web-1").await;
    assert_eq!(person.state_of("web-1").await, "running");
}

#[tokio::test]
async fn an_action_that_cannot_be_done_says_why() {
    let mut person = Person::scripted().await;
    person.go_to("web-1").await;
    person.press("S").await;
    person.sees("it runs already");
}

#[tokio::test]
async fn removal_names_what_goes_and_asks_first() {
    let mut person = Person::scripted().await;
    person.go_to("web-1").await;
    person.press("x").await;
    let screen = person.screen.wait_for("on disk").await;
    assert!(screen.contains("Remove 1 container") && screen.contains("It RUNS"), "{screen}");
    // Enter alone is the safe answer.
    person.press("Enter").await;
    person.misses("Remove 1 container");
    assert_eq!(person.state_of("web-1").await, "running");
    person.press("x y").await;
    person.screen.wait_for("removed web-1").await;
    person.screen.wait_gone(" web-1 ").await;
    assert!(person.fake.containers().inspect("web-1").await.is_err());
}

#[tokio::test]
async fn removal_without_force_is_refused_by_the_engine_with_its_reason() {
    let mut person = Person::scripted().await;
    person.go_to("web-1").await;
    person.press("x f y").await;
    person.screen.wait_for("Not removed").await;
    person.press("Esc").await;
    person.misses("Not removed");
    assert_eq!(person.state_of("web-1").await, "running");
}

#[tokio::test]
async fn marks_make_one_action_of_many() {
    let mut person = Person::scripted().await;
    person.press("/").await;
    person.write("web-").await;
    person.press("Enter Space Space").await;
    person.sees("2 marked");
    person.press("Esc").await;
    person.press("x").await;
    person.sees("Remove 2 containers");
    person.press("y").await;
    person.screen.wait_for("removed 2").await;
    assert!(person.fake.containers().inspect("web-2").await.is_err());
}

#[tokio::test]
async fn the_filter_understands_its_grammar() {
    let mut person = Person::scripted().await;
    person.press("/").await;
    person.write("state=exited").await;
    person.sees("backup");
    person.misses(" web-1 ");
    person.press("ctrl-u").await;
    person.write("re:[").await;
    person.sees("is not a regular expression yet");
    person.press("Esc").await;
    person.sees("web-1");
    person.press("/").await;
    person.write("no-such-thing").await;
    person.press("Enter").await;
    person.sees("nothing passes the filter");
}

#[tokio::test]
async fn why_did_it_die() {
    let mut person = Person::scripted().await;
    person.go_to("thumbnails").await;
    person.sees("Why it ended");
    person.sees("out of memory");
    person.go_to("backup").await;
    person.screen.wait_for("Last lines").await;
    person.sees("2: misuse");
}

#[tokio::test]
async fn tabs_show_logs_stats_processes_and_the_tree() {
    let mut person = Person::scripted().await;
    person.go_to("db").await;
    person.press("l").await;
    person.screen.wait_for("FOLLOW").await;
    person.screen.wait_for("checkpoint").await;
    person.press("] ").await;
    person.screen.wait_for("Stats").await;
    person.fake.advance(Duration::from_secs(2));
    person.press("]").await;
    person.screen.wait_for("PID").await;
    person.press("]").await;
    person.sees("Id");
    person.press("/").await;
    person.write("hostname").await;
    person.press("Enter").await;
    person.sees("matches of hostname");
    person.press("y").await;
    person.sees("db as JSON");
    person.sees("\"Id\":");
}

#[tokio::test]
async fn help_comes_from_the_table_and_runs_its_entries() {
    let mut person = Person::scripted().await;
    person.go_to("web-1").await;
    person.press("?").await;
    person.sees("Keys here");
    person.write("another name").await;
    person.press("Enter").await;
    person.sees("Rename web-1");
    person.press("ctrl-u").await;
    person.write("renamed").await;
    person.press("Enter").await;
    person.screen.wait_for("renamed to renamed").await;
    assert!(person.fake.containers().inspect("renamed").await.is_ok());
}

#[tokio::test]
async fn every_action_can_be_found_in_the_palette_with_its_key() {
    let mut person = Person::scripted().await;
    person.go_to("web-1").await;
    person.press("ctrl-p").await;
    person.write("signal chosen").await;
    person.sees("Send a signal");
    person.press("Enter").await;
    person.sees("TERM");
    person.press("k").await;
    person.screen.wait_for("sent KILL to web-1").await;
}

#[tokio::test]
async fn the_command_line_runs_verbs() {
    let mut person = Person::scripted().await;
    person.press(":").await;
    person.write("ps --format {{.Names}}").await;
    person.press("Enter").await;
    person.screen.wait_for("done").await;
    person.sees(":ps --format");
    person.sees("web-1");
    person.press("Esc").await;
    person.press(":").await;
    person.write("theme light").await;
    person.press("Enter").await;
    assert_eq!(person.screen.model().theme.name, "light");
    person.press(":").await;
    person.write("stop nobody").await;
    person.press("Enter").await;
    person.screen.wait_for("No such container: nobody").await;
}

#[tokio::test]
async fn a_shell_opens_echoes_and_leaves() {
    let mut person = Person::scripted().await;
    person.go_to("web-1").await;
    person.press("e").await;
    person.screen.wait_for("# ").await;
    person.sees("ctrl-]");
    person.write("echo hel''lo\r").await;
    person.screen.wait_for("hel").await;
    person.write("exit\r").await;
    person.screen.wait_for("the shell in web-1 ended").await;
    person.sees("1 Containers");
    // The detach key leaves at once.
    person.press("e").await;
    person.screen.wait_for("# ").await;
    person.press("ctrl-]").await;
    person.sees("1 Containers");
    assert_eq!(person.state_of("web-1").await, "running");
}

#[tokio::test]
async fn what_is_typed_while_a_terminal_opens_reaches_the_process() {
    let mut person = Person::scripted().await;
    person.go_to("web-1").await;
    person.fake.set_latency(Duration::from_secs(1));
    person.screen.type_on(b"e");
    person.screen.type_on(b"echo ahead\r");
    person.sees("opening…");
    person.pass_time_until("ahead").await;
}

#[tokio::test]
async fn images_can_be_tagged_removed_and_pruned() {
    let mut person = Person::scripted().await;
    person.press("2 /").await;
    person.write("nginx").await;
    person.press("Enter Esc t ctrl-u").await;
    person.write("mine:1").await;
    person.press("Enter").await;
    person.screen.wait_for("tagged mine:1").await;
    person.screen.wait_for("mine:1").await;
    assert!(person.fake.images().inspect("mine:1").await.is_ok());
    person.press("x").await;
    person.sees("loses this name");
    person.press("Esc").await;
    person.press("X").await;
    person.sees("Prune images");
}

#[tokio::test]
async fn volumes_can_be_created_and_removed() {
    let mut person = Person::scripted().await;
    person.press("3 n").await;
    person.write("scratch").await;
    person.press("Enter").await;
    person.screen.wait_for("created volume scratch").await;
    person.press("/").await;
    person.write("scratch").await;
    person.press("Enter x").await;
    person.sees("Everything inside is lost");
    person.press("y").await;
    person.screen.wait_for("removed scratch").await;
}

#[tokio::test]
async fn an_error_opens_a_box_with_the_hint() {
    let mut person = Person::scripted().await;
    person.go_to("web-1").await;
    let error =
        EngineError::new(Class::Internal, "web-1", "cannot stop web-1: the kernel says no").with_hint("ask it nicely");
    person.fake.fail_next("containers.stop", error);
    person.press("s").await;
    person.screen.wait_for("the kernel says no").await;
    person.sees("ask it nicely");
    person.press("Esc").await;
    person.misses("ask it nicely");
}

#[tokio::test]
async fn a_dead_engine_leaves_the_rows_with_a_banner_and_comes_back() {
    let mut person = Person::scripted().await;
    person.go_to("web-2").await;
    person.fake.go_away("cannot connect to the engine");
    person.screen.wait_for("reconnecting").await;
    person.sees("web-1");
    person.press("j k").await;
    person.fake.come_back();
    person.screen.wait_gone("reconnecting").await;
    assert_eq!(person.screen.model().containers.selected().map(|row| row.name.as_str()), Some("web-2"));
}

#[tokio::test]
async fn a_banner_with_a_long_address_still_says_what_is_being_done() {
    for cols in [120, 80, 40] {
        let mut person = Person::at(Fake::scripted(), cols, 24).await;
        person.fake.go_away(&format!("cannot reach ssh://somebody@{}", "far.away.".repeat(20)));
        person.screen.wait_for("reconnecting, try ").await;
        person.sees("stale");
    }
}

#[tokio::test]
async fn quit_goes_back_first_and_never_stops_anything() {
    let mut person = Person::scripted().await;
    person.press("Enter q").await;
    assert!(!person.screen.model().is_quitting);
    person.press("q").await;
    assert!(person.screen.model().is_quitting);
    assert!(person.screen.take_orders().iter().any(|order| matches!(order, Command::Quit)));
    let calls = person.fake.take_calls().join(" ");
    assert!(!calls.contains("stop") && !calls.contains("kill"), "{calls}");
}

#[tokio::test]
async fn copying_goes_to_the_clipboard() {
    let mut person = Person::scripted().await;
    person.go_to("web-1").await;
    person.press("c r").await;
    let orders = person.screen.take_orders();
    let copied = orders.iter().find_map(|order| match order {
        Command::Clipboard(text) => Some(text.clone()),
        _ => None,
    });
    assert!(copied.as_deref().is_some_and(|text| text.starts_with("docker run -d --name web-1")), "{copied:?}");
}

#[tokio::test]
async fn stats_are_asked_for_rows_on_screen_alone() {
    let person = Person::at(Fake::crowded(500), 120, 40).await;
    let watched = person.screen.model().due.watched.ids.len();
    assert!(watched > 0 && watched < 40, "{watched} watched");
}

#[tokio::test]
async fn hostile_names_do_not_reach_the_screen() {
    let fake = Fake::empty();
    fake.add_image("busybox:1", 1000);
    let spec = orlop::engine::ContainerSpec {
        image: "busybox:1".into(),
        cmd: Some(vec!["sh".into(), "\u{1b}]0;owned\u{7}\u{202e}".into()]),
        labels: [("evil".to_owned(), "\u{1b}[2J".to_owned())].into(),
        env: vec!["X=\u{9b}31m".into()],
        ..Default::default()
    };
    fake.add_running("plain", &spec).unwrap();
    let mut person = Person::at(fake, 120, 40).await;
    person.screen.wait_for("plain").await;
    for _ in 0..5 {
        person.press("]").await;
        let (buf, _) = person.screen.buffer();
        for cell in &buf.content {
            assert!(!cell.symbol().chars().any(|c| c.is_control() || c == '\u{202e}'), "{:?}", cell.symbol());
        }
    }
}

#[tokio::test]
async fn no_size_breaks_any_page() {
    let mut person = Person::scripted().await;
    person.go_to("db").await;
    let pages = [
        "", "Enter", "]", "]", "]", "]", "Esc", "n", "Esc", "x", "Esc", "?", "Esc", "ctrl-p", "Esc", ":", "Esc", "K",
        "Esc", "2", "]", "3", "4", "6", "1", "z", "e", "ctrl-]", "/", "Esc",
    ];
    for keys in pages {
        if !keys.is_empty() {
            person.press(keys).await;
        }
        for (cols, rows) in [
            (1, 1),
            (2, 1),
            (1, 40),
            (24, 6),
            (25, 7),
            (40, 10),
            (60, 3),
            (99, 24),
            (100, 6),
            (100, 10),
            (101, 25),
            (200, 60),
            (120, 40),
        ] {
            person.screen.resize(cols, rows);
            let (buf, _) = person.screen.buffer();
            assert_eq!((buf.area.width, buf.area.height), (cols, rows));
        }
    }
}

#[tokio::test]
async fn a_bad_config_is_said_and_defaults_stay() {
    let fake = Fake::scripted();
    let config = "theme = \"neon\"\n[keys]\n\"container.stop\" = \"e\"\n\"quit\" = \"ctrl-q\"\n";
    let options = TuiOptions { config: Some((config.into(), "config.toml".into())), ..options(&fake) };
    let mut screen = Headless::start(&options, 120, 40);
    screen.rest().await;
    let text = screen.text();
    assert!(text.contains("config.toml:3: container.stop cannot have e: it belongs to container.shell"), "{text}");
    assert!(text.contains("there is no theme `neon`"), "{text}");
    screen.type_bytes(&[b'q' & 0x1f]).await;
    assert!(screen.model().is_quitting);
}

#[tokio::test]
async fn no_color_still_shows_the_selection() {
    use ratatui::style::{Color, Modifier};
    let fake = Fake::scripted();
    let abilities = Abilities { depth: Depth::None, charset: Charset::Unicode };
    let options = TuiOptions { abilities, ..options(&fake) };
    let mut screen = Headless::start(&options, 120, 40);
    screen.rest().await;
    let (buf, _) = screen.buffer();
    let row = &buf.content[3 * 120..4 * 120];
    assert!(row.iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)), "the selected row is not reversed");
    assert!(buf.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
}

#[tokio::test]
async fn a_narrow_screen_shows_one_pane_and_its_tabs() {
    let mut person = Person::at(Fake::scripted(), 40, 10).await;
    person.sees("1 Containers");
    person.sees("api");
    person.press("Enter").await;
    person.sees("State");
    person.press("Esc 2").await;
    person.sees("2 Images");
    person.screen.resize(20, 5);
    person.sees("too small");
}

#[tokio::test]
async fn one_goes_to_another_host_and_back() {
    let mut person = Person::scripted().await;
    person.press("H").await;
    let menu = person.screen.wait_for("another address").await;
    assert!(menu.contains("prod") && menu.contains("ssh://ops@prod"), "{menu}");
    person.press("j Enter").await;
    let there = person.screen.wait_for("Containers 0").await;
    assert!(there.lines().next().unwrap().contains("prod  read-only"), "{there}");
    // What changes something is refused there, by key and by line; what looks is not.
    person.press("n").await;
    person.screen.wait_for("this host is read-only").await;
    person.press(":").await;
    person.write("volume create x").await;
    person.press("Enter").await;
    person.screen.wait_for("prod is read-only").await;
    person.press(":").await;
    person.write("volume ls").await;
    person.press("Enter").await;
    person.screen.wait_for("VOLUME NAME").await;
    person.press("Esc :").await;
    person.write("host test").await;
    person.press("Enter").await;
    let back = person.screen.wait_for("web-1").await;
    assert!(!back.lines().next().unwrap().contains("read-only"), "{back}");
}

#[tokio::test]
async fn a_host_that_is_not_there_is_refused_and_one_stays() {
    let mut person = Person::scripted().await;
    person.press(":").await;
    person.write("host staging").await;
    person.press("Enter").await;
    let refused = person.screen.wait_for("no host is called staging").await;
    assert!(refused.contains("an address begins with"), "{refused}");
    person.press("Esc").await;
    let stays = person.screen.wait_for("web-1").await;
    assert!(stays.lines().next().unwrap().contains("test"), "{stays}");
}

impl Person {
    /// Lets the fake's time pass until the screen shows this.
    async fn pass_time_until(&mut self, shown: &str) {
        for _ in 0..2000 {
            self.fake.advance(Duration::from_millis(100));
            tokio::task::yield_now().await;
            if self.screen.wait_for("").await.contains(shown) {
                return;
            }
        }
        panic!("`{shown}` does not show up:\n{}", self.screen.text());
    }
}

#[tokio::test]
async fn a_pull_shows_its_layers_is_cancelled_and_goes_on() {
    let mut person = Person::scripted().await;
    person.press("2 p").await;
    person.sees("Pull an image");
    person.write("debian:13").await;
    person.screen.type_on(b"\r");
    person.pass_time_until("fetching").await;
    for text in ["pulling debian:13", "1f7ce2fa46ab", "present", "█", "leave it in the background"] {
        person.sees(text);
    }
    person.screen.type_on(b"x");
    person.screen.wait_for("○ pulling debian:13").await;
    person.sees("cancelled");
    person.screen.type_on(b"r");
    person.screen.wait_for("▸ pulling debian:13").await;
    // The list can be left: the footer goes on telling.
    person.screen.type_on(b"\x1b");
    person.screen.wait_gone("Jobs").await;
    person.sees("pulling debian:13");
    person.pass_time_until("pulled debian:13").await;
    person.screen.rest().await;
    assert!(person.fake.images().inspect("debian:13").await.is_ok());
    person.press("J").await;
    person.sees("✓ pulling debian:13");
}

#[tokio::test]
async fn a_pull_that_is_refused_says_why() {
    let mut person = Person::scripted().await;
    person.press("2 p").await;
    person.write("team/missing\r").await;
    person.screen.wait_for("pull access denied").await;
    person.sees("login");
}

#[tokio::test]
async fn a_registry_is_searched_and_what_is_found_is_pulled() {
    let mut person = Person::scripted().await;
    person.press("A s").await;
    person.write("nginx\r").await;
    person.screen.wait_for("Found for nginx").await;
    person.sees("official · Official build of Nginx.");
    person.press("j").await;
    person.screen.type_on(b"\r");
    person.pass_time_until("pulling nginx/nginx-ingress").await;
}

#[tokio::test]
async fn an_image_is_pushed() {
    let mut person = Person::scripted().await;
    person.press("2 u").await;
    person.sees("Push an image");
    person.screen.type_on(b"\r");
    person.pass_time_until("✓ pushing").await;
    person.sees("exists");
}

#[tokio::test]
async fn the_files_of_each_layer_can_be_looked_through() {
    let mut person = Person::scripted().await;
    person.press("2 L").await;
    for text in ["bottom first", "4.0K wasted", "+1 ~1 -1", "RUN /bin/sh -c apt"] {
        person.sees(text);
    }
    person.misses("ssl/");
    person.press("j Enter").await;
    person.sees("etc/");
    person.press("j Enter j j Enter").await;
    for text in ["ssl/", "~     hosts", "certs.pem", "old.pem"] {
        person.sees(text);
    }
    person.press("v").await;
    person.misses("old.pem");
    person.press("h").await;
    assert_eq!(person.screen.model().focus, orlop::tui::model::Pane::Images);
}

#[tokio::test]
async fn a_slow_link_never_holds_up_a_key() {
    let mut person = Person::scripted().await;
    let name_of = |person: &Person| person.screen.model().containers.selected().map(|row| row.name.clone());
    // Nothing is answered any more: the fake's clock stands still.
    person.fake.set_latency(Duration::from_secs(3600));
    let before = name_of(&person);
    person.screen.type_on(b"j");
    assert_ne!(name_of(&person), before);
    person.screen.type_on(b"i");
    person.sees("loading…");
    person.screen.type_on(b"h2");
    assert_eq!(person.screen.model().focus, orlop::tui::model::Pane::Images);
    person.screen.type_on(b"x");
    person.sees("Layers that no other image uses are deleted.");
    person.screen.type_on(b"\x1b");
    person.misses("Layers that no other image uses are deleted.");
    person.screen.type_on(b"1/");
    person.screen.type_on(b"web");
    person.sees("of 16");
    person.screen.type_on(b"\r");
    person.screen.type_on(b"s");
    person.sees("stopping web");
    person.screen.type_on(b"?");
    person.sees("Keys here");
}

#[tokio::test]
async fn a_link_that_can_be_felt_is_told_in_the_header() {
    let mut person = Person::scripted().await;
    person.misses(" ms ");
    person.screen.hear_latency(Duration::from_millis(210));
    person.sees("test  210 ms");
    person.screen.hear_latency(Duration::from_millis(211));
    person.sees("test  210 ms");
    person.screen.hear_latency(Duration::from_millis(1));
    person.misses(" ms ");
}

#[tokio::test]
async fn every_list_has_its_orders() {
    let mut person = Person::scripted().await;
    let names =
        |person: &Person| -> Vec<u64> { person.screen.model().images.visible().map(|row| row.it.size_bytes).collect() };
    let by_name = names(&person);
    person.press("2 o l").await;
    let mut largest = by_name.clone();
    largest.sort_by_key(|size| std::cmp::Reverse(*size));
    assert_eq!(names(&person), largest);
    assert_ne!(by_name, largest, "the script has images that tell the orders apart");
    person.press("3 o u 4 o d").await;
    let orders = person.screen.model().orders;
    assert_eq!((orders.volumes.title(), orders.networks.title()), ("unused first", "driver"));
}

#[tokio::test]
async fn the_files_of_the_layers_are_searched() {
    let mut person = Person::scripted().await;
    person.press("2 L /").await;
    person.write(".pem").await;
    person.press("Enter").await;
    person.sees("1 of 3 with .pem");
    person.press("n").await;
    for text in ["2 of 3 with .pem", "certs.pem"] {
        person.sees(text);
    }
    person.press("N N").await;
    person.sees("3 of 3 with .pem");
    person.press("Esc").await;
    person.misses("with .pem");
}

#[tokio::test]
async fn a_prune_names_what_goes_and_follows_its_switch() {
    let mut person = Person::scripted().await;
    person.press("2 X").await;
    let before = person.screen.text();
    person.press("a").await;
    let after = person.screen.text();
    assert_ne!(before, after);
    let used = person.screen.model().images.all().iter().find(|row| row.n_users > 0).map(|row| row.handle.clone());
    let dialog: String = after.lines().skip_while(|line| !line.contains("Prune images")).collect();
    let dialog = dialog.split("[x] a").next().unwrap();
    assert!(used.as_deref().is_some_and(|used| !dialog.contains(&format!(" {used} "))), "{after}");
}

#[tokio::test]
async fn what_a_guarded_host_refuses_says_so() {
    let mut person = Person::scripted().await;
    person.press("ctrl-w").await;
    person.sees("read-only");
    person.press("s").await;
    person.sees("read-only here");
    person.press("?").await;
    person.sees("ctrl-w allows changes");
    person.press("Esc ctrl-w").await;
    person.sees("changes are allowed");
}

#[tokio::test]
async fn the_run_before_is_found_in_the_log() {
    let mut person = Person::scripted().await;
    person.go_to("web-1").await;
    person.press("p").await;
    let model = person.screen.model();
    assert_eq!(model.tab(), orlop::tui::model::Tab::Logs);
    assert!(model.detail.find_time.is_none() && model.detail.logs.is_some());
}

#[tokio::test]
async fn an_image_is_copied_to_another_host() {
    let mut person = Person::scripted().await;
    person.press("2 C").await;
    let menu = person.screen.wait_for("Copy 1 image to").await;
    assert!(menu.contains("prod") && menu.contains("another address"), "{menu}");
    // The first of the others is guarded.
    person.press("Enter").await;
    person.screen.wait_for("prod is read-only here").await;
    person.press("Esc Esc C j Enter").await;
    person.sees("Copy to a host");
    person.write("nowhere").await;
    person.press("Enter").await;
    person.screen.wait_for("no host is called nowhere").await;
}

/// What was on its way to the log of one container while the cursor went to another is nobody's line there.
#[tokio::test]
async fn a_late_line_is_not_shown_in_another_containers_log() {
    let mut app = App::start(&options(&Fake::scripted()));
    app.take(Msg::Resize(120, 40));
    until(&mut app, |app, msg| {
        msg.into_iter().for_each(|msg| app.take(msg));
        app.model.containers.selected().is_some()
    })
    .await;
    type_at(&mut app, b"g/db\r");
    type_at(&mut app, b"l");
    let mut late = None;
    until(&mut app, |app, msg| {
        match msg {
            Some(Msg::Logs(batch)) if !batch.chunks.is_empty() => late = Some(batch),
            Some(msg) => app.take(msg),
            None => {}
        }
        late.is_some()
    })
    .await;
    let of = |app: &App| -> Vec<String> {
        app.model.detail.logs.iter().flat_map(|logs| logs.sources().map(|source| source.label.clone())).collect()
    };
    assert_eq!(of(&app), ["db"]);
    type_at(&mut app, b"1/\x15web-1\r");
    until(&mut app, |app, msg| {
        msg.into_iter().filter(|msg| !matches!(msg, Msg::Logs(_))).for_each(|msg| app.take(msg));
        of(app) == ["web-1"]
    })
    .await;
    app.take(Msg::Logs(late.unwrap()));
    assert_eq!(app.model.detail.logs.unwrap().n_lines(), 0);
}

fn type_at(app: &mut App, bytes: &[u8]) {
    let (mut parser, mut inputs) = (Parser::default(), Vec::new());
    parser.feed(bytes, &mut inputs);
    parser.flush(&mut inputs);
    for input in inputs {
        app.input(input);
        app.settle();
    }
}

/// Gives one message after the other to `step` until that says it is enough, and lets time pass where there is none.
async fn until(app: &mut App, mut step: impl FnMut(&mut App, Option<Msg>) -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let msg = tokio::time::timeout(Duration::from_millis(20), app.next()).await.ok().flatten();
        let is_enough = step(app, msg);
        app.settle();
        if is_enough {
            return;
        }
        assert!(std::time::Instant::now() < end, "it does not come so far");
    }
}
