//! What clients may ask for: as much of Redis as `redis-cli`, `redis-benchmark` and the usual clients need to
//! begin with. COPY: the shape; the commands are your own.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use crate::shard::{Op, number};

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Answered without a shard.
    Say(BytesFrame),
    Info,
    Size,
    Quit,
    /// One key.
    One(Bytes, Op),
    /// Several keys, and what becomes of what their shards say. Each is done for itself: two commands that have
    /// several keys in common may be done in turns.
    Many(Vec<(Bytes, Op)>, Merge),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    List,
    Sum,
    Done,
}

/// A request that is understood, and wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("ERR unknown command '{0}'")]
    Unknown(String),
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arguments(String),
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR value is not an integer or out of range")]
    NotANumber,
    #[error("ERR DB index is out of range")]
    Database,
    #[error("NOPROTO unsupported protocol version")]
    Protocol,
    /// A browser can be had to send commands in the body of a request, and each line of it would be taken for one.
    #[error("ERR this is not HTTP")]
    Http,
}

impl Command {
    /// `arguments` begins with the name; it is not empty.
    pub(crate) fn parse(arguments: Vec<Bytes>) -> Result<Self, CommandError> {
        let mut arguments = arguments.into_iter();
        let name = arguments.next().unwrap_or_default();
        let name = shown(&name);
        let wrong = || CommandError::Arguments(name.clone());
        let arguments: Vec<_> = arguments.collect();
        let one = |op| match &arguments[..] {
            [key] => Ok(Self::One(key.clone(), op)),
            _ => Err(wrong()),
        };
        let each = |op: Op, merge| {
            if arguments.is_empty() {
                return Err(wrong());
            }
            let keys = arguments.iter().map(|key| (key.clone(), op.clone()));
            Ok(Self::Many(keys.collect(), merge))
        };
        let add = |sign: fn(i64) -> Option<i64>| match &arguments[..] {
            [key, by] => match number(by).and_then(sign) {
                Some(by) => Ok(Self::One(key.clone(), Op::Add(by))),
                None => Err(CommandError::NotANumber),
            },
            _ => Err(wrong()),
        };
        match &*name {
            "get" => one(Op::Get),
            "set" => match &arguments[..] {
                [key, value] => Ok(Self::One(key.clone(), Op::Set(value.clone()))),
                // Expiry and conditions: not here, and it must not look as if.
                [_, _, _, ..] => Err(CommandError::Syntax),
                _ => Err(wrong()),
            },
            "del" | "unlink" => each(Op::Delete, Merge::Sum),
            "exists" => each(Op::Exists, Merge::Sum),
            "incr" => one(Op::Add(1)),
            "decr" => one(Op::Add(-1)),
            "incrby" => add(Some),
            "decrby" => add(i64::checked_neg),
            "mget" => each(Op::Get, Merge::List),
            "mset" => {
                if arguments.is_empty() || arguments.len() % 2 != 0 {
                    return Err(wrong());
                }
                let pairs = arguments.chunks_exact(2);
                let pairs = pairs.map(|pair| (pair[0].clone(), Op::Set(pair[1].clone())));
                Ok(Self::Many(pairs.collect(), Merge::Done))
            }
            "ping" => match &arguments[..] {
                [] => Ok(Self::Say(simple("PONG"))),
                [text] => Ok(Self::Say(BytesFrame::BulkString(text.clone()))),
                _ => Err(wrong()),
            },
            "echo" => match &arguments[..] {
                [text] => Ok(Self::Say(BytesFrame::BulkString(text.clone()))),
                _ => Err(wrong()),
            },
            "quit" => Ok(Self::Quit),
            "info" => Ok(Self::Info),
            "dbsize" if arguments.is_empty() => Ok(Self::Size),
            // `redis-cli` asks for it, for its help; it does without.
            "command" => Ok(Self::Say(BytesFrame::Array(Vec::new()))),
            "config" => config(&arguments).ok_or_else(wrong),
            "select" => match &arguments[..] {
                [database] if database == "0" => Ok(Self::Say(simple("OK"))),
                [_] => Err(CommandError::Database),
                _ => Err(wrong()),
            },
            // Clients say who they are.
            "client" => Ok(Self::Say(simple("OK"))),
            "post" | "host:" => Err(CommandError::Http),
            "hello" => Err(CommandError::Protocol),
            "dbsize" => Err(wrong()),
            _ => Err(CommandError::Unknown(name)),
        }
    }
}

/// `CONFIG GET`: `redis-benchmark` asks for two of them, and prints them.
fn config(arguments: &[Bytes]) -> Option<Command> {
    let [verb, names @ ..] = arguments else {
        return None;
    };
    if !verb.eq_ignore_ascii_case(b"get") || names.is_empty() {
        return None;
    }
    let known = |name: &Bytes| match &*shown(name) {
        "save" => Some(""),
        "appendonly" => Some("yes"),
        "appendfsync" => Some("always"),
        _ => None,
    };
    let pairs = names.iter().filter_map(|name| Some((name, known(name)?)));
    let pairs = pairs.flat_map(|(name, value)| {
        let value = Bytes::from_static(value.as_bytes());
        [name.clone(), value].map(BytesFrame::BulkString)
    });
    Some(Command::Say(BytesFrame::Array(pairs.collect())))
}

pub(crate) fn simple(text: &'static str) -> BytesFrame {
    BytesFrame::SimpleString(Bytes::from_static(text.as_bytes()))
}

/// A name, in small letters, and fit for a line of an answer.
fn shown(name: &[u8]) -> String {
    let name = &name[..name.len().min(64)];
    name.to_ascii_lowercase().escape_ascii().to_string()
}
