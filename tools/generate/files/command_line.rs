//! The reference of the command line, from what reads it.

use std::fmt::Write as _;

use clap::{Arg, Command};
use process_template_operator::cli;

use super::File;

const HEAD: &str = "# Command line

`ptset COMMAND --help` says the same. An option may be given by the variable beside it instead; the option wins. `ptset
--version` prints the version.

";

pub fn files() -> anyhow::Result<Vec<File>> {
    let mut whole = cli::command();
    whole.build();
    let mut text = HEAD.to_owned();
    let commands: Vec<&Command> = whole.get_subcommands().filter(|command| command.get_name() != "help").collect();
    text.push_str("| command | does |\n|---|---|\n");
    for command in &commands {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(text, "| [`ptset {0}`](#ptset-{0}) | {about} |", command.get_name())?;
    }
    for command in commands {
        describe(command, &mut text)?;
    }
    Ok(vec![File { path: "docs/reference/command-line.md".to_owned(), text }])
}

fn describe(command: &Command, text: &mut String) -> anyhow::Result<()> {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    writeln!(text, "\n## ptset {}\n\n{}\n", command.get_name(), sentence(&about))?;
    text.push_str("| option | variable | absent | what it means |\n|---|---|---|---|\n");
    for argument in
        command.get_arguments().filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
    {
        let variable = argument.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
        let (absent, help) = (absent(argument), help(argument));
        writeln!(text, "| {} | {variable} | {absent} | {help} |", name(argument))?;
    }
    if let Some(after) = command.get_after_help() {
        writeln!(text, "\n```text\n{}\n```", after.to_string().trim_end())?;
    }
    Ok(())
}

fn name(argument: &Arg) -> String {
    let value = argument.get_value_names().into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let takes_value = argument.get_num_args().is_none_or(|range| range.takes_values());
    let value = if takes_value && !value.is_empty() { format!(" {value}") } else { String::new() };
    match (argument.get_long(), argument.get_short()) {
        (Some(long), Some(short)) => format!("`--{long}{value}`, `-{short}`"),
        (Some(long), None) => format!("`--{long}{value}`"),
        _ => format!("`{}`", value.trim_start()),
    }
}

fn absent(argument: &Arg) -> String {
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    match (argument.is_required_set(), argument.get_num_args().is_some_and(|range| !range.takes_values())) {
        (true, _) => "required".to_owned(),
        (false, true) => String::new(),
        (false, false) => defaults.join(", "),
    }
}

fn help(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| argument.get_num_args().is_none_or(|range| range.takes_values()))
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}`: {}", value.get_name(), help.to_string().trim_end_matches('.')),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    let list = if argument.get_value_delimiter().is_some() { "; several, separated by commas" } else { "" };
    let text = format!("{}{list}", help.trim_end_matches('.'));
    let text = if values.is_empty() { format!("{text}.") } else { format!("{text}: {}.", values.join("; ")) };
    text.replace('|', "\\|")
}

fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with('.') { text.to_owned() } else { format!("{text}.") }
}
