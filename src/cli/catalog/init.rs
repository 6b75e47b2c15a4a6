//! `catalog init`: a commented file to begin with.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::catalog::{self, Source};

/// The file, with its name and place to be filled in.
const TEXT: &str = include_str!("init.toml");

/// Arguments of `catalog init`.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// The catalogue's name; its topics begin with it
    pub name: String,
    /// The file to write; - is standard output [default: NAME.toml]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// The text of a catalogue with this name, to be kept in `file`.
fn text(name: &str, file: &str) -> Result<String> {
    let text = TEXT.replace("%FILE%", file).replace("%NAME%", name);
    // Whatever is wrong with it is wrong with the name.
    match catalog::lint(&[Source { file: file.to_owned(), text: text.clone() }]).first() {
        Some(_) => bail!("{name:?} cannot begin the names of topics: use letters, digits, - and _, as in shop"),
        None => Ok(text),
    }
}

pub(super) fn run(args: &InitArgs, out: &mut dyn Write) -> Result<u8> {
    let file = args.file.clone().unwrap_or_else(|| PathBuf::from(format!("{}.toml", args.name)));
    if file.as_os_str() == "-" {
        write!(out, "{}", text(&args.name, &format!("{}.toml", args.name))?)?;
        return Ok(0);
    }
    let shown = file.display().to_string();
    let text = text(&args.name, &shown)?;
    let mut written = match OpenOptions::new().write(true).create_new(true).open(&file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{shown} is there already and stays as it is; --file names another")
        }
        Err(error) => return Err(error).with_context(|| format!("writing {shown}")),
    };
    written.write_all(text.as_bytes()).with_context(|| format!("writing {shown}"))?;
    writeln!(out, "{shown} is written. `streamgauge catalog lint {shown}` checks it after each change.")?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_has_every_rule_and_nothing_wrong() {
        let text = text("shop", "shop.toml").unwrap();
        assert!(!text.contains('%'), "{text}");
        for rule in ["count", "unique", "recent", "top", "max", "last", "forward", "member"] {
            assert!(text.contains(&format!("{{ {rule} = ")), "{rule}");
        }
        // What is commented out must be right as well, for whoever takes the # away.
        let is_example =
            |line: &str| line.starts_with('#') && line.as_bytes().get(1).is_some_and(u8::is_ascii_lowercase);
        let open = |line: &str| if is_example(line) { line[1..].to_owned() } else { line.to_owned() };
        let opened: Vec<String> = text.lines().map(open).collect();
        assert!(opened.iter().any(|line| line == "retention = \"7d\""), "{opened:?}");
        let findings = catalog::lint(&[Source { file: "shop.toml".to_owned(), text: opened.join("\n") }]);
        assert!(findings.is_empty(), "{findings:?}");
    }

    #[test]
    fn a_file_that_is_there_stays_and_a_name_that_no_topic_can_have_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        let init = |name: &str, file: &std::path::Path| {
            let args = InitArgs { name: name.to_owned(), file: Some(file.to_owned()) };
            let mut out = Vec::new();
            run(&args, &mut out).map(|code| (code, String::from_utf8(out).unwrap())).map_err(|error| error.to_string())
        };
        for name in ["", "my shop", "a/b", "\"", "x\ny", "{x}", &"n".repeat(250)] {
            let refused = init(name, &file).unwrap_err();
            assert!(refused.contains("use letters, digits"), "{name:?}: {refused}");
        }
        assert!(!file.exists());
        assert_eq!(init("my-shop_2", &file).unwrap().0, 0);
        let before = std::fs::read_to_string(&file).unwrap();
        assert!(before.contains("name = \"my-shop_2.orders\""), "{before}");
        assert!(init("other", &file).unwrap_err().contains("is there already"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
        assert!(init("shop", std::path::Path::new("-")).unwrap().1.starts_with("# The catalogue shop:"));
    }
}
