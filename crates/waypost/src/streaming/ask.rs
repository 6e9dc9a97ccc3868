//! What a caller asks for, and what of it a token admits to.

use waypost_engine::stream::{Cursor, Dialect, Filter, Since, TypePattern, View};

use super::access::Caller;
use super::tokens::Scope;
use crate::admin::Problem;
use crate::rendering::digits;

/// Values that one list of a query may have.
const VALUES_MAX: usize = 200;

/// What stands in a query, before anybody looked at who asks.
#[derive(Debug, Default)]
pub(crate) struct Ask {
    pub(crate) token: Option<String>,
    pub(crate) since: Option<Since>,
    types: Vec<String>,
    numbers: Vec<String>,
    conversations: Vec<String>,
    sources: Vec<String>,
    content: Option<bool>,
    raw: bool,
    compat: bool,
    dialect: Option<Dialect>,
    pub(crate) replays: bool,
    pub(crate) named: Option<bool>,
    /// Whether to be told at once where it begins.
    pub(crate) hello: bool,
    pub(crate) limit: Option<usize>,
    pub(crate) wait: Option<std::time::Duration>,
}

impl Ask {
    /// Whether a value of `since` is the stream's, rather than a time.
    pub(crate) fn is_since(text: &str) -> bool {
        matches!(text, "now" | "oldest") || text.parse::<Cursor>().is_ok()
    }

    /// Reads a query's pairs.
    ///
    /// # Errors
    ///
    /// When one of them is not understood: what a filter does not say right must not let everything through.
    pub(crate) fn read(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut ask = Self::default();
        for (key, value) in pairs {
            let flag = || match value.as_str() {
                "1" | "true" | "yes" | "" => Ok(true),
                "0" | "false" | "no" => Ok(false),
                _ => Err(Problem::wrong(format!("{key} is 1 or 0"))),
            };
            match key.as_str() {
                "token" => ask.token = Some(value.clone()),
                "since" => ask.since = Some(since(value)?),
                "types" | "type" => several(&mut ask.types, value)?,
                "numbers" | "number" => several(&mut ask.numbers, value)?,
                "conversations" | "conversation" => several(&mut ask.conversations, value)?,
                "sources" | "source" => several(&mut ask.sources, value)?,
                "content" => ask.content = Some(flag()?),
                "raw" => ask.raw = flag()?,
                "replays" => ask.replays = flag()?,
                "named" => ask.named = Some(flag()?),
                "hello" => ask.hello = flag()?,
                "compat" if value == "whatomate" => ask.compat = true,
                "compat" => return Err(Problem::wrong("compat is whatomate, or absent")),
                "dialect" => {
                    ask.dialect = Some(match value.as_str() {
                        "docs" => Dialect::WhatomateDocs,
                        "code" | "whatomate" => Dialect::WhatomateCode,
                        _ => return Err(Problem::wrong("dialect is docs or code")),
                    });
                }
                "limit" => {
                    ask.limit = Some(value.parse().map_err(|_| Problem::wrong("limit is a number"))?);
                }
                "wait" => {
                    let wait = value.parse().map(std::time::Duration::from_secs).ok();
                    let wait = wait.or_else(|| crate::config::parse_duration(value).ok());
                    ask.wait = Some(wait.ok_or_else(|| Problem::wrong("wait is a time, such as 20s"))?);
                }
                _ => {
                    let shown: String = key.chars().take(60).collect();
                    return Err(Problem::wrong(format!("there is no `{shown}` here; known are {KEYS}")));
                }
            }
        }
        Ok(ask)
    }

    /// Which frames the caller asks for.
    ///
    /// # Errors
    ///
    /// When something is asked for that there is not, or that the token does not admit to.
    pub(crate) fn filter(&self, caller: &Caller) -> Result<Filter, Problem> {
        let mut types = Vec::with_capacity(self.types.len());
        for text in &self.types {
            types.push(TypePattern::parse(text).map_err(|error| Problem::wrong(error.to_string()))?);
        }
        let admitted = caller.grant().map(|grant| &grant.scope);
        // Numbers are written in more than one way: they are told apart frame by frame.
        let sources = admitted.and_then(|scope| scope.sources.as_ref());
        if sources.is_some_and(|sources| self.sources.iter().any(|source| !sources.contains(source))) {
            return Err(outside("source"));
        }
        Ok(Filter {
            types,
            numbers: numbers(&self.numbers),
            conversations: texts(&self.conversations),
            sources: texts(&self.sources),
        })
    }

    /// How the frames look to the caller.
    ///
    /// # Errors
    ///
    /// When the token does not admit to what is asked for.
    pub(crate) fn view(&self, caller: &Caller) -> Result<View, Problem> {
        let admitted = caller.grant().is_none_or(|grant| grant.scope.content);
        if !admitted && (self.content == Some(true) || self.raw) {
            return Err(outside("content"));
        }
        let dialect = match (self.compat, self.dialect) {
            (true, dialect) => dialect.unwrap_or(Dialect::WhatomateDocs),
            (false, None) => Dialect::Waypost,
            (false, Some(_)) => return Err(Problem::wrong("dialect goes with compat=whatomate")),
        };
        if self.raw && (self.compat || self.content == Some(false)) {
            return Err(Problem::wrong("raw goes neither with compat nor with content=0"));
        }
        Ok(View { content: admitted && self.content.unwrap_or(true), raw: self.raw, dialect })
    }
}

/// Where to begin.
pub(crate) fn since(text: &str) -> Result<Since, Problem> {
    match text {
        "now" => Ok(Since::Now),
        "oldest" => Ok(Since::Oldest),
        cursor => {
            let cursor = cursor.parse().map(Since::After);
            cursor.map_err(|error| Problem::wrong(format!("since: {error}; or write now or oldest")))
        }
    }
}

/// What a query may say.
const KEYS: &str = "token, since, types, numbers, conversations, sources, content, raw, compat, dialect, replays, hello, named, limit and wait";

/// Adds what stands between commas.
fn several(list: &mut Vec<String>, value: &str) -> Result<(), Problem> {
    let before = list.len();
    list.extend(value.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned));
    if list.len() == before {
        return Err(Problem::wrong("a list of the query is empty: name something, or leave it out"));
    }
    if list.len() > VALUES_MAX {
        return Err(Problem::wrong(format!("a list has at most {VALUES_MAX} values")));
    }
    Ok(())
}

/// Which frames a caller may see at all.
///
/// # Errors
///
/// When that is none.
pub(crate) fn scope(caller: &Caller) -> Result<Filter, Problem> {
    let Some(grant) = caller.grant() else { return Ok(Filter::default()) };
    let Scope { sources, numbers: of_numbers, types, content: _ } = &grant.scope;
    // To a filter, an empty list is none; to a token, it admits to nothing.
    let some = |list: &Option<Vec<String>>, kind: &str| match list {
        Some(list) if list.is_empty() => Err(outside(kind)),
        list => Ok(list.clone().unwrap_or_default()),
    };
    // A type that there is not admits to nothing either.
    let known: Option<Vec<TypePattern>> =
        types.as_ref().map(|types| types.iter().filter_map(|text| TypePattern::parse(text).ok()).collect());
    if known.as_ref().is_some_and(Vec::is_empty) {
        return Err(outside("type"));
    }
    Ok(Filter {
        types: known.unwrap_or_default(),
        numbers: numbers(&some(of_numbers, "number")?),
        conversations: Vec::new(),
        sources: texts(&some(sources, "source")?),
    })
}

fn texts(list: &[String]) -> Vec<Box<str>> {
    list.iter().map(|text| text.as_str().into()).collect()
}

fn numbers(list: &[String]) -> Vec<Box<str>> {
    list.iter().map(|number| digits(number.clone()).into()).collect()
}

fn outside(kind: &str) -> Problem {
    Problem::new(
        http::StatusCode::FORBIDDEN,
        "token_scope",
        format!("the token does not admit to this {kind}; what it admits to is in its `scope`"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use waypost_domain::UnixMillis;

    use super::*;
    use crate::streaming::tokens::Grant;

    fn ask(pairs: &[(&str, &str)]) -> Result<Ask, Problem> {
        let pairs: Vec<_> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Ask::read(&pairs)
    }

    fn reader(scope: Scope) -> Caller {
        Caller::Reader(Arc::new(Grant {
            id: "tok_1".to_owned(),
            expires_at: UnixMillis(1),
            scope,
            signed_by: [0; 32],
        }))
    }

    #[test]
    fn what_a_query_does_not_say_right_lets_nothing_through() {
        for pair in [
            ("typs", "message:*"),
            ("types", ""),
            ("numbers", " , "),
            ("since", "yesterday"),
            ("since", ""),
            ("compat", "chatwoot"),
            ("dialect", "swiss"),
            ("content", "maybe"),
            ("wait", "soon"),
            ("limit", "all"),
        ] {
            assert!(ask(&[pair]).is_err(), "{pair:?}");
        }
        let many = vec!["a"; VALUES_MAX + 1].join(",");
        assert!(ask(&[("sources", &many)]).is_err());
        for pairs in [
            &[("types", "message:nw")][..],
            &[("dialect", "docs")],
            &[("raw", "1"), ("compat", "whatomate")],
            &[("raw", "1"), ("content", "0")],
        ] {
            let ask = ask(pairs).unwrap();
            assert!(
                ask.filter(&Caller::Operator).is_err() || ask.view(&Caller::Operator).is_err(),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn lists_add_up_and_numbers_are_read_as_people_write_them() {
        let ask = ask(&[("types", "message:new,call:*"), ("type", "error"), ("number", "+1 (555) 014-7720")])
            .unwrap();
        let filter = ask.filter(&Caller::Operator).unwrap();
        assert_eq!(
            filter.types.iter().map(TypePattern::as_str).collect::<Vec<_>>(),
            ["message:new", "call:*", "error"]
        );
        assert_eq!(filter.numbers, ["15550147720".into()]);
        assert_eq!(scope(&Caller::Operator).unwrap(), Filter::default());
    }

    #[test]
    fn a_token_admits_to_what_it_says_and_an_empty_list_to_nothing() {
        let of = |sources: &[&str]| Scope {
            sources: Some(sources.iter().map(|source| (*source).to_owned()).collect()),
            ..Scope::default()
        };
        let caller = reader(of(&["acme"]));
        assert_eq!(scope(&caller).unwrap().sources, ["acme".into()]);
        assert!(ask(&[("sources", "acme")]).unwrap().filter(&caller).is_ok());
        assert!(ask(&[("sources", "acme,other")]).unwrap().filter(&caller).is_err());
        assert!(scope(&reader(of(&[]))).is_err());
        let typed = |types: &[&str]| Scope {
            types: Some(types.iter().map(|text| (*text).to_owned()).collect()),
            ..Scope::default()
        };
        assert!(scope(&reader(typed(&["order:new"]))).is_err(), "a type that there is not admits to nothing");
        assert_eq!(scope(&reader(typed(&["order:new", "call:*"]))).unwrap().types.len(), 1);
        let blind = reader(Scope { content: false, ..Scope::default() });
        assert!(!ask(&[]).unwrap().view(&blind).unwrap().content);
        assert!(ask(&[("content", "1")]).unwrap().view(&blind).is_err());
    }
}
