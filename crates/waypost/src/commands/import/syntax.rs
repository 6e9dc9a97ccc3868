//! nginx's syntax: words, quotes, comments, blocks. Any bytes are read to their end or to the first fault.
//!
//! The rules are those of nginx's own reader: a word ends at a space, `;` or `{`; `${name}` does not begin a block; a
//! backslash keeps the next character from meaning anything.

use std::iter::Peekable;
use std::str::Chars;

/// Blocks within blocks.
const DEPTH_MAX: usize = 32;

/// A directive: its words, the first of which is its name, and its block if it has one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Directive {
    /// The line its first word is on, counted from 1.
    pub(super) line: usize,
    pub(super) words: Vec<String>,
    pub(super) block: Option<Vec<Directive>>,
}

impl Directive {
    pub(super) fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The words after the name.
    pub(super) fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// What is in its block.
    pub(super) fn inside(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }
}

/// Where the text is not nginx's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct SyntaxFault {
    pub(super) line: usize,
    pub(super) what: &'static str,
}

/// Reads a whole file.
pub(super) fn parse(text: &str) -> Result<Vec<Directive>, SyntaxFault> {
    let mut words = Words { rest: text.chars().peekable(), line: 1 };
    let mut done: Vec<Directive> = Vec::new();
    // The directives before each open block, and the one that opened it.
    let mut open: Vec<(Vec<Directive>, Directive)> = Vec::new();
    let mut current: Option<Directive> = None;
    loop {
        let token = words.next()?;
        let line = words.line;
        let fault = |what| Err(SyntaxFault { line, what });
        match token {
            Some(Token::Word { text, line }) => match &mut current {
                Some(directive) => directive.words.push(text),
                None => current = Some(Directive { line, words: vec![text], block: None }),
            },
            Some(Token::Semicolon) => match current.take() {
                Some(directive) => done.push(directive),
                None => return fault("a `;` that ends nothing"),
            },
            Some(Token::Open) => match current.take() {
                Some(_) if open.len() == DEPTH_MAX => return fault("blocks within blocks go too deep"),
                Some(directive) => open.push((std::mem::take(&mut done), directive)),
                None => return fault("a `{` without a name before it"),
            },
            Some(Token::Close) => match (current.take(), open.pop()) {
                (Some(directive), _) => {
                    return Err(SyntaxFault {
                        line: directive.line,
                        what: "the directive is not ended with `;`",
                    });
                }
                (None, None) => return fault("a `}` that closes nothing"),
                (None, Some((before, mut directive))) => {
                    directive.block = Some(std::mem::replace(&mut done, before));
                    done.push(directive);
                }
            },
            None => break,
        }
    }
    if let Some(directive) = current {
        return Err(SyntaxFault { line: directive.line, what: "the directive is not ended with `;`" });
    }
    if let Some((_, directive)) = open.pop() {
        return Err(SyntaxFault { line: directive.line, what: "the block is not closed with `}`" });
    }
    Ok(done)
}

enum Token {
    Word { text: String, line: usize },
    Semicolon,
    Open,
    Close,
}

struct Words<'t> {
    rest: Peekable<Chars<'t>>,
    line: usize,
}

impl Words<'_> {
    fn next(&mut self) -> Result<Option<Token>, SyntaxFault> {
        loop {
            let Some(character) = self.rest.peek().copied() else { return Ok(None) };
            match character {
                '#' => {
                    while self.rest.peek().is_some_and(|character| *character != '\n') {
                        self.take();
                    }
                }
                character if is_space(character) => {
                    self.take();
                }
                ';' => return Ok(self.take().map(|_| Token::Semicolon)),
                '{' => return Ok(self.take().map(|_| Token::Open)),
                '}' => return Ok(self.take().map(|_| Token::Close)),
                '"' | '\'' => return self.quoted(character).map(Some),
                _ => return Ok(Some(self.plain())),
            }
        }
    }

    fn take(&mut self) -> Option<char> {
        let character = self.rest.next()?;
        self.line += usize::from(character == '\n');
        Some(character)
    }

    fn plain(&mut self) -> Token {
        let (line, mut text) = (self.line, String::new());
        while let Some(character) = self.rest.peek().copied() {
            let is_variable = character == '{' && text.ends_with('$');
            if is_space(character) || character == ';' || (character == '{' && !is_variable) {
                break;
            }
            self.take();
            if character == '\\' { self.escaped(&mut text) } else { text.push(character) }
        }
        Token::Word { text, line }
    }

    fn quoted(&mut self, quote: char) -> Result<Token, SyntaxFault> {
        let line = self.line;
        self.take();
        let mut text = String::new();
        loop {
            match self.take() {
                None => return Err(SyntaxFault { line, what: "a quote is not closed" }),
                Some('\\') => self.escaped(&mut text),
                Some(character) if character == quote => break,
                Some(character) => text.push(character),
            }
        }
        match self.rest.peek() {
            Some(next) if !is_space(*next) && !matches!(next, ';' | '{' | ')') => {
                Err(SyntaxFault { line: self.line, what: "a space is missing after a quote" })
            }
            _ => Ok(Token::Word { text, line }),
        }
    }

    /// What a backslash makes of the character after it.
    fn escaped(&mut self, text: &mut String) {
        match self.take() {
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some('n') => text.push('\n'),
            Some(character @ ('"' | '\'' | '\\')) => text.push(character),
            Some(character) => text.extend(['\\', character]),
            None => text.push('\\'),
        }
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<(usize, Vec<String>)> {
        parse(text).unwrap().into_iter().map(|directive| (directive.line, directive.words)).collect()
    }

    #[test]
    fn words_quotes_comments_and_escapes_are_read_as_nginx_does() {
        let text = "# a comment; with { signs\nlisten 80; # more\nset $a \"b; {c} \\\"d\\\"\" 'e\\'f';\r\nroot\n  /x/${name}/y;\nlocation_like ~^/([^/]+)(/.*)$ a\\.b x#y;";
        let read = words(text);
        let expected = [
            (2, vec!["listen", "80"]),
            (3, vec!["set", "$a", "b; {c} \"d\"", "e'f"]),
            (4, vec!["root", "/x/${name}/y"]),
            (6, vec!["location_like", "~^/([^/]+)(/.*)$", "a\\.b", "x#y"]),
        ];
        assert_eq!(read, expected.map(|(line, words)| (line, words.into_iter().map(String::from).collect())));
    }

    #[test]
    fn blocks_hold_what_is_in_them() {
        let read =
            parse("server { location / { return 404; } listen 80; } map $a $b { default 0; }").unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].inside().len(), 2);
        assert_eq!(read[0].inside()[0].inside()[0].arguments(), ["404"]);
        assert_eq!(read[1].words, ["map", "$a", "$b"]);
    }

    #[test]
    fn faults_are_told_with_their_line() {
        let deep = "a {".repeat(40);
        for (text, line) in [
            ("listen 80", 1),
            ("\nserver {\nlisten 80;", 2),
            ("server {\n listen 80\n}", 2),
            ("a;\n}", 2),
            ("a;\n;", 2),
            ("\n{ }", 2),
            ("a \"b;\n", 1),
            ("a \"b\"c;", 1),
            (&deep, 1),
        ] {
            assert_eq!(parse(text).unwrap_err().line, line, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,300}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn no_heap_of_signs_is_too_odd(text in "[a-b ;{}\"'\\\\$#\\n]{0,200}") {
            let _ = parse(&text);
        }
    }
}
