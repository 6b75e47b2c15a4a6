//! `.env.example`, made from the table.

use std::fmt::Write;

use super::{
    setting::{Area, Kind, Setting, State},
    table,
};

const HEAD: &str = "\
# Every setting of streamgauge, each with its default and meaning.
# Copy to .env, or export what you need; `streamgauge config check` says what is wrong, `config show` what is in force.
# The same names in lower case are the keys of a TOML file (--config FILE or CONFIG_FILE); the environment wins.
# A secret can also come from a file: NAME_FILE=/path. An empty value counts as unset.
";

/// The text of `.env.example`.
pub fn env_example() -> String {
    let mut text = String::from(HEAD);
    for area in Area::ALL {
        let _ = write!(text, "\n# --- {} ---\n", area.title());
        for setting in table::ALL.iter().filter(|setting| setting.area == area) {
            if setting.state == State::Works && setting.kind != Kind::Tables {
                write_setting(&mut text, setting);
            }
        }
    }
    text.push_str("\n# --- Known, not done by this version: refused by name where it would change anything ---\n");
    for setting in table::ALL.iter().filter(|setting| setting.state != State::Works && setting.kind != Kind::Tables) {
        let _ = writeln!(text, "# {}: {}", setting.name, setting.meaning);
    }
    text
}

fn write_setting(text: &mut String, setting: &Setting) {
    let _ = writeln!(text, "# {}", setting.meaning);
    if !matches!(setting.kind, Kind::Text | Kind::Path) {
        let _ = writeln!(text, "# Takes {}", setting.kind.expects());
    }
    let _ = writeln!(text, "#{}={}", setting.name, setting.default.unwrap_or_default());
    if let Some(file) = setting.file_name() {
        let _ = writeln!(text, "#{file}=");
    }
}
