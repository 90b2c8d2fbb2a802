//! What can be known of tokens that nobody has parsed: how deep they nest, and which paths are among them.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

/// Groups within groups. rustc's own limit for macros is 128.
const MOST_GROUPS: usize = 200;

/// A bound on how deep the tree of one file may become; a chain without an end, `a.b().b()..` or `- - - x`, nests one
/// level with each token. Real files stay below a few hundred.
const MOST_LEVELS: usize = 4_000;

/// Whether parsing and visiting stay within the stack that [`STACK`] is.
pub(crate) fn is_shallow(tokens: &TokenStream) -> bool {
    levels(tokens.clone(), 0).is_some_and(|levels| levels <= MOST_LEVELS)
}

/// Of the thread that parses: enough for [`MOST_LEVELS`], in builds that are not optimized, too. It is reserved and
/// not used.
#[cfg(target_pointer_width = "64")]
pub(crate) const STACK: usize = 512 << 20;
#[cfg(not(target_pointer_width = "64"))]
pub(crate) const STACK: usize = 64 << 20;

/// No tree of these tokens is deeper: the longest piece between two separators, and the deepest group in it.
fn levels(tokens: TokenStream, groups: usize) -> Option<usize> {
    if groups > MOST_GROUPS {
        return None;
    }
    let (mut most, mut own, mut inner) = (0, 0, 0);
    let mut is_macro = false;
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        own += 1;
        match &token {
            TokenTree::Punct(punct) if matches!(punct.as_char(), ',' | ';') => {
                most = most.max(own + inner);
                (own, inner) = (0, 0);
            }
            TokenTree::Group(group) => {
                let levels = levels(group.stream(), groups + 1)?;
                // What a macro is given stays tokens.
                if !is_macro {
                    inner = inner.max(levels);
                }
                let goes_on = match tokens.peek() {
                    Some(TokenTree::Punct(next)) => next.as_char() != '#',
                    Some(TokenTree::Ident(next)) => next == "else" || next == "as",
                    _ => true,
                };
                if group.delimiter() == Delimiter::Brace && !goes_on {
                    most = most.max(own + inner);
                    (own, inner) = (0, 0);
                }
            }
            TokenTree::Punct(_) | TokenTree::Ident(_) | TokenTree::Literal(_) => {}
        }
        is_macro = match token {
            TokenTree::Punct(punct) => punct.as_char() == '!',
            // `macro_rules! name {..}`
            TokenTree::Ident(_) => is_macro,
            TokenTree::Group(_) | TokenTree::Literal(_) => false,
        };
    }
    Some(most.max(own + inner))
}

/// A path among tokens.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: Vec<String>,
    /// It began with `::`.
    pub(crate) global: bool,
    pub(crate) line: usize,
}

/// The paths among `tokens`, those in groups included, in order; and each `use` that is among them, up to its `;`.
pub(crate) fn paths(tokens: TokenStream, found: &mut Vec<Found>, uses: &mut Vec<TokenStream>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Group(group) => paths(group.stream(), found, uses),
            TokenTree::Ident(ident) if ident == "use" => {
                let rest = &tokens[at - 1..];
                let is_end =
                    |it: &TokenTree| matches!(it, TokenTree::Punct(p) if p.as_char() == ';');
                if let Some(end) = rest.iter().position(is_end) {
                    uses.push(rest[..=end].iter().cloned().collect());
                    at += end;
                }
            }
            TokenTree::Ident(first) => {
                let before = &tokens[..at - 1];
                let start = at - 1;
                let mut path = vec![name(first)];
                while let (true, Some(TokenTree::Ident(next))) =
                    (is_colons(&tokens[at..]), tokens.get(at + 2))
                {
                    path.push(name(next));
                    at += 3;
                }
                let global = start >= 2 && is_colons(&tokens[start - 2..]);
                let after_path = global && begins_no_path(&tokens[..start - 2]);
                if !after_path && is_a_path(&path, before, tokens.get(at)) {
                    let line = first.span().start().line;
                    found.push(Found { path, global, line });
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// `before` ends with what makes a `::` after it go on: `Vec<u8>::`, but not `=>` and `->`.
fn begins_no_path(before: &[TokenTree]) -> bool {
    let is = |token: &TokenTree, chars: &str| matches!(token, TokenTree::Punct(punct) if chars.contains(punct.as_char()));
    match before {
        [.., arrow, last] if is(arrow, "=-") && is(last, ">") => false,
        [.., last] => is(last, ">"),
        [] => false,
    }
}

/// Not a field, a lifetime, a macro's variable, or a name of something new.
fn is_a_path(path: &[String], before: &[TokenTree], after: Option<&TokenTree>) -> bool {
    match before {
        // `0..tokio::x()` is a range.
        [.., TokenTree::Punct(a), TokenTree::Punct(b)]
            if a.as_char() == '.' && b.as_char() == '.' => {}
        [.., TokenTree::Punct(punct)] if matches!(punct.as_char(), '.' | '$' | '\'') => {
            return false;
        }
        [.., TokenTree::Ident(ident)] if path.len() == 1 => {
            let new = ["fn", "struct", "enum", "trait", "type", "mod", "let"];
            if new.iter().any(|it| ident == it) {
                return false;
            }
        }
        _ => {}
    }
    // A single small word is a variable more often than an import, unless it is called.
    let is_called = match after {
        Some(TokenTree::Group(group)) => group.delimiter() == Delimiter::Parenthesis,
        Some(TokenTree::Punct(punct)) => punct.as_char() == '!',
        _ => false,
    };
    path.len() > 1 || path[0].starts_with(char::is_uppercase) || is_called
}

fn is_colons(tokens: &[TokenTree]) -> bool {
    let is_colon = |it: &TokenTree| matches!(it, TokenTree::Punct(p) if p.as_char() == ':');
    matches!(tokens, [a, b, ..] if is_colon(a) && is_colon(b))
}

/// Without `r#`.
pub(crate) fn name(ident: &Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map_or(name.clone(), str::to_owned)
}
