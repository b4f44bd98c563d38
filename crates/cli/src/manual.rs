//! `completions` and `man`: files for the shell and for the manual, made from the definition of the arguments.

use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;
use serde_json::json;

use crate::problem::Problem;

#[derive(clap::Args)]
pub(crate) struct CompletionsOptions {
    /// The shell
    shell: Shell,
}

#[derive(clap::Args)]
pub(crate) struct ManOptions {
    /// The directory for the pages, one for each command; without it, the page of the whole is printed
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(crate) fn completions(
    mut command: Command,
    options: &CompletionsOptions,
    as_json: bool,
) -> Result<(), Problem> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, "mcp-auth", &mut script);
    // clap_complete 4.6 takes the hyphen of a name for the start of a subcommand in one of two places, so that
    // bash would complete nothing after the first word.
    let script = String::from_utf8(script)?.replace("mcp__subcmd__auth", "mcp__auth");
    if as_json {
        println!(
            "{}",
            json!({ "shell": options.shell.to_string(), "script": script })
        );
    } else {
        crate::output::document(script.trim_end());
    }
    Ok(())
}

pub(crate) fn man(command: Command, options: &ManOptions, as_json: bool) -> Result<(), Problem> {
    let command = command.disable_help_subcommand(true);
    let Some(directory) = &options.directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(Problem::system("the page cannot be made"))?;
        let page = String::from_utf8(page)?;
        if as_json {
            println!("{}", json!({ "page": page }));
        } else {
            crate::output::document(page.trim_end());
        }
        return Ok(());
    };
    let at = Problem::at(directory);
    std::fs::create_dir_all(directory).map_err(&at)?;
    clap_mangen::generate_to(command, directory).map_err(&at)?;
    let mut files = Vec::new();
    for file in std::fs::read_dir(directory).map_err(&at)? {
        let path = file.map_err(&at)?.path();
        if path.extension().is_some_and(|end| end == "1") {
            files.push(path.display().to_string());
        }
    }
    files.sort();
    if as_json {
        println!("{}", json!({ "written": files }));
    } else {
        println!("{} pages are in {}", files.len(), directory.display());
    }
    Ok(())
}
