//! Where settings come from, and what is refused.

use super::*;

fn home() -> Vec<(String, String)> {
    env(&[("HOME", "/home/mara")])
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn in_file(text: &str) -> Result<Config, ConfigError> {
    resolve(Some((Path::new("node.toml"), text)), &home(), Vec::new())
}

fn refusal(text: &str) -> String {
    in_file(text).unwrap_err().to_string()
}

#[test]
fn nothing_set_works() {
    let config = resolve(None, &home(), Vec::new()).unwrap();
    assert_eq!(config.data_dir, Path::new("/home/mara/.local/share/openprod"));
    assert_eq!(config.socket, Some(config.data_dir.join("openprod.sock")));
    assert_eq!(config.listen, Some("127.0.0.1:7117".parse().unwrap()));
    assert_eq!((config.state_cache_mb, config.max_clients, config.shutdown_seconds), (64, 256, 10));
    assert!(config.entries().iter().all(|entry| entry.origin == Origin::Default));
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = "max_clients = 1\nlog = \"warn\"\nlog_format = \"json\"";
    let env = env(&[("HOME", "/h"), ("OPENPROD_MAX_CLIENTS", "2"), ("OPENPROD_LOG", "debug")]);
    let flag = Flag { name: "max-clients".to_owned(), value: "3".to_owned() };
    let config = resolve(Some((Path::new("node.toml"), file)), &env, vec![flag]).unwrap();
    assert_eq!((config.max_clients, config.log.as_str(), config.log_format), (3, "debug", LogFormat::Json));
    let origin = |name| config.entries().iter().find(|e| e.name == name).unwrap().origin.to_string();
    assert_eq!(
        ["max_clients", "log", "log_format", "listen"].map(origin),
        ["--max-clients", "OPENPROD_LOG", "node.toml:3:1", "default"]
    );
}

#[test]
fn what_is_not_understood_is_refused_where_it_stands() {
    assert_eq!(
        refusal("# mine\n  max_client = 3"),
        "node.toml:2:3: there is no setting \"max_client\"; did you mean max_clients?"
    );
    assert!(refusal("[listen]\nport = 3").starts_with("node.toml:1:2: listen = "));
    assert!(refusal("log = \"info\"\nlog = \"warn\"").starts_with("node.toml:2:1: this is not TOML"));
    assert!(refusal("max_clients = \"3\"").ends_with("write a whole number without quotes"));
    assert!(refusal("max_clients = 0").starts_with("node.toml:1:1: max_clients = \"0\": write a whole number from 1"));
    assert!(refusal("listen = \"0.0.0.0:7117\"\ntls = \"off\"").contains("ssh -L"));
    assert!(refusal("tls = \"yes\"").contains("\"auto\""));
    assert!(refusal("log = \"inof\"").contains("no level"));
    assert!(refusal("data_dir = \"~/show\"").contains("in full"));
    assert!(refusal("allowed_origins = [\"https://a/b\"]").contains("host and port only"));
    assert!(refusal("listen = \"off\"\nsocket = \"off\"").contains("nobody could reach"));
}

#[test]
fn a_slip_in_a_variable_is_refused_and_others_names_are_let_be() {
    let typo = resolve(None, &env(&[("HOME", "/h"), ("OPENPROD_LISTN", "off")]), Vec::new()).unwrap_err();
    assert!(typo.to_string().ends_with("did you mean OPENPROD_LISTEN?"));
    let link = env(&[("HOME", "/h"), ("OPENPROD_PORT_7117_TCP", "tcp://10.0.0.1")]);
    assert!(resolve(None, &link, Vec::new()).is_ok());
}

#[test]
fn systemd_gives_the_folder_and_without_a_home_there_is_a_sentence() {
    let config = resolve(None, &env(&[("STATE_DIRECTORY", "/var/lib/openprod")]), Vec::new()).unwrap();
    assert_eq!(config.data_dir, Path::new("/var/lib/openprod"));
    assert!(matches!(resolve(None, &[], Vec::new()), Err(ConfigError::NoHome)));
}

#[test]
fn the_example_is_the_shipped_file_and_resolves_with_its_comments_removed() {
    assert_eq!(example(), include_str!("../../../deploy/openprod.example.toml"), "write config::example() there");
    let example = example();
    let lines = example.lines().filter_map(|line| line.strip_prefix('#')).filter(|l| !l.starts_with(' '));
    let config = in_file(&lines.collect::<Vec<_>>().join("\n")).unwrap();
    assert_eq!(config.entries().len(), SETTINGS.len());
    for (entry, default) in config.entries().iter().zip(in_file("").unwrap().entries()).skip(4) {
        assert_eq!(entry.value, default.value, "the example shows another default for {}", entry.name);
    }
}

#[test]
fn one_name_gives_key_variable_and_flag() {
    for s in SETTINGS {
        assert_eq!(s.env, format!("OPENPROD_{}", s.name.to_uppercase()));
        assert_eq!(s.flag, s.name.replace('_', "-"));
    }
}

#[test]
fn beyond_this_machine_there_is_tls_and_nothing_else() {
    let speaks = |text: &str| in_file(text).unwrap().speaks_tls();
    for here in ["127.0.0.1:7117", "127.0.0.2:7117", "[::1]:7117", "[::ffff:127.0.0.1]:7117", "off"] {
        assert!(!speaks(&format!("listen = {here:?}")), "{here}");
        assert!(!speaks(&format!("listen = {here:?}\ntls = \"off\"")), "{here}");
    }
    for beyond in ["0.0.0.0:7117", "[::]:7117", "10.0.0.5:7117", "[::ffff:10.0.0.5]:7117", "[fd00::2]:7117"] {
        assert!(speaks(&format!("listen = {beyond:?}")), "{beyond}");
        assert!(refusal(&format!("listen = {beyond:?}\ntls = \"off\"")).contains("tls"), "{beyond}");
    }
    assert!(speaks("tls = \"on\""));
}
