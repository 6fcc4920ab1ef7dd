//! A Markdown document in its parts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;

/// A document.
pub struct Document {
    pub path: PathBuf,
    /// Level and text.
    pub headings: Vec<(usize, String)>,
    pub blocks: Vec<Block>,
    /// Where links lead, as they are written.
    pub links: Vec<String>,
    /// What stands as code within the text.
    pub spans: Vec<String>,
}

/// A block of code.
pub struct Block {
    pub language: String,
    pub text: String,
}

impl Document {
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut document =
            Self { path: path.to_owned(), headings: vec![], blocks: vec![], links: vec![], spans: vec![] };
        let mut prose = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let indent = line.len() - line.trim_start().len();
            if let Some(language) = line.trim_start().strip_prefix("```") {
                let inside: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
                let inside = inside.iter().map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()));
                document.blocks.push(Block { language: language.to_owned(), text: inside.collect() });
                prose.push('\n');
                continue;
            }
            let level = line.bytes().take_while(|byte| *byte == b'#').count();
            if let Some(heading) = line[level..].strip_prefix(' ').filter(|_| level > 0) {
                document.headings.push((level, heading.to_owned()));
            }
            prose.push_str(line);
            prose.push('\n');
        }
        let (span, link) = (Regex::new("`([^`]+)`").unwrap(), Regex::new(r"\[[^\]]*\]\(([^)\s]+)\)").unwrap());
        for paragraph in prose.split("\n\n") {
            let in_a_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            document.spans.extend(span.captures_iter(paragraph).map(|found| in_a_line(&found[1])));
            let without = span.replace_all(paragraph, "code");
            document.links.extend(link.captures_iter(&without).map(|found| found[1].to_owned()));
        }
        document
    }

    /// By which its headings are linked to, as Git hosts make them.
    pub fn anchors(&self) -> Vec<String> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let anchor = |(_, heading): &(usize, String)| {
            let kept = heading.to_lowercase();
            let kept: String =
                kept.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_')).collect();
            let plain = kept.replace(' ', "-");
            let count = seen.entry(plain.clone()).or_default();
            *count += 1;
            if *count == 1 { plain } else { format!("{plain}-{}", *count - 1) }
        };
        self.headings.iter().map(anchor).collect()
    }

    /// Its blocks of one of these languages.
    pub fn blocks_of<'a>(&'a self, languages: &'a [&str]) -> impl Iterator<Item = &'a Block> {
        self.blocks.iter().filter(|block| languages.contains(&block.language.as_str()))
    }

    /// The commands of its blocks, each in its words.
    pub fn commands(&self) -> Vec<Vec<String>> {
        let shell = self.blocks_of(&["sh"]).map(|block| block.text.clone());
        let typed = self.blocks_of(&["console"]).map(|block| {
            let typed: Vec<&str> = block.text.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
            typed.join("\n")
        });
        shell.chain(typed).flat_map(|script| commands(&script)).collect()
    }
}

/// The commands of a script, each in its words, without what it reads from and writes to.
pub fn commands(script: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut letters = script.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' | '"' => {
                let quoted: String = letters.by_ref().take_while(|other| *other != letter).collect();
                word.get_or_insert_default().push_str(&quoted);
            }
            '\\' => {
                if let Some(next) = letters.next().filter(|next| *next != '\n') {
                    word.get_or_insert_default().push(next);
                }
            }
            '#' if word.is_none() => while letters.next_if(|other| *other != '\n').is_some() {},
            _ if letter.is_whitespace() || "|;&<>()".contains(letter) => {
                words.extend(word.take());
                if matches!(letter, '<' | '>') {
                    words.push(letter.to_string());
                } else if matches!(letter, '\n' | '|' | ';' | '&' | '(' | ')') {
                    all.push(std::mem::take(&mut words));
                }
            }
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    all.push(words);
    for words in &mut all {
        while let Some(at) = words.iter().position(|word| matches!(word.as_str(), "<" | ">")) {
            words.drain(at..words.len().min(at + 2));
        }
    }
    all.retain(|words| !words.is_empty());
    all
}
