//! Paths among tokens that are not parsed, because only their macro knows what they mean.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::LitStr;

use super::tree::{Kind, Segments};

/// Every path among the tokens of a macro or an attribute, single names included.
pub fn paths(tokens: TokenStream) -> Vec<(Segments, Kind)> {
    let mut found = Vec::new();
    collect(tokens, &[], &mut found);
    found
}

// `prefix` is what precedes the braces of a `use`, as in `crate::cmdb::{Client, Error}`.
fn collect(tokens: TokenStream, prefix: &[String], found: &mut Vec<(Segments, Kind)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Group(group) => collect(group.stream(), &[], found),
            TokenTree::Ident(first) if starts_path(&tokens[..at], !prefix.is_empty()) => {
                let mut path = [prefix, &[first.to_string()]].concat();
                while tokens.get(at..at + 2).is_some_and(ends_in_colons) {
                    match tokens.get(at + 2) {
                        Some(TokenTree::Ident(next)) => path.push(next.to_string()),
                        Some(TokenTree::Group(list)) if list.delimiter() == Delimiter::Brace => {
                            collect(list.stream(), &path, found);
                        }
                        _ => break,
                    }
                    at += 3;
                }
                let kind = if is_mark(tokens.get(at), '!') { Kind::Macro } else { Kind::Guess };
                found.push((path, kind));
            }
            _ => {}
        }
    }
}

fn is_mark(token: Option<&TokenTree>, mark: char) -> bool {
    matches!(token, Some(TokenTree::Punct(found)) if found.as_char() == mark)
}

fn ends_in_colons(tokens: &[TokenTree]) -> bool {
    let mut last = tokens.iter().rev();
    is_mark(last.next(), ':') && is_mark(last.next(), ':')
}

// Whether the last of these tokens may start a path: a field, a method, a lifetime, a variable of a macro, a new name in a
// `use`, and what follows `::` do not.
fn starts_path(tokens: &[TokenTree], is_in_use: bool) -> bool {
    let Some((name, before)) = tokens.split_last() else { return false };
    let mut last = before.iter().rev();
    let (last, second) = (last.next(), last.next());
    let is_member = is_mark(last, '.') && !is_mark(second, '.');
    let is_variable = is_mark(last, '$') && name.to_string() != "crate";
    let is_rename = is_in_use && matches!(last, Some(TokenTree::Ident(_)));
    !(is_member || is_variable || is_rename || is_mark(last, '\'') || ends_in_colons(before))
}

/// Whether a variable of a macro follows a name in a path, as in `crate::$x`; a variant of `Self` hides nothing. A path that
/// starts with a variable is given by the call of the macro, where it is found.
pub fn has_variable_in_path(tokens: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let inside =
        tokens.iter().any(|token| matches!(token, TokenTree::Group(group) if has_variable_in_path(group.stream())));
    let is_crate = |at: usize| matches!(&tokens[at], TokenTree::Ident(name) if name == "crate");
    let is_variable = |at: usize| at > 0 && is_mark(tokens.get(at - 1), '$') && !is_crate(at);
    let follows_a_name = |at: usize| {
        is_variable(at)
            && at > 3
            && ends_in_colons(&tokens[..at - 1])
            && matches!(&tokens[at - 4], TokenTree::Ident(name) if name != "Self")
            && !is_variable(at - 4)
    };
    inside || (0..tokens.len()).any(follows_a_name)
}

/// Every string among the tokens of an attribute.
pub fn strings(tokens: TokenStream) -> Vec<String> {
    let inside = |token| match token {
        TokenTree::Group(group) => strings(group.stream()),
        TokenTree::Literal(literal) => {
            syn::parse_str::<LitStr>(&literal.to_string()).map(|text| text.value()).into_iter().collect()
        }
        _ => Vec::new(),
    };
    tokens.into_iter().flat_map(inside).collect()
}
