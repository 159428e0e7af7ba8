//! From the parser's events to a value.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::scalar::{self, Plain, plain};
use super::timestamp;
use crate::format::{DEEPEST, FormatError};
use crate::graph::{Graph, Id, Node};
use crate::value::{BASE64, Value};

/// Where YAML's own tags live.
const CORE: &str = "tag:yaml.org,2002:";

/// Reads the one document of a text; nothing at all is null.
pub(crate) fn read(bytes: &[u8], limit: usize) -> Result<Value, FormatError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| FormatError::damaged("the text is not utf-8", error.valid_up_to()))?;
    let mut reader = Reader {
        graph: Graph::new(limit),
        anchors: HashMap::new(),
        open: Vec::new(),
        root: None,
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| match error.info() {
            // The parser has a limit of its own for brackets within brackets, 255.
            "recursion limit exceeded" => FormatError::TooDeep,
            problem => FormatError::damaged(problem.to_owned(), error.marker().index()),
        })?;
        reader.take(event, span.start.index())?;
        reader.graph.check(reader.anchors.len())?;
    }
    match reader.root {
        Some(root) => reader.graph.into_value(root),
        None => Ok(Value::Null),
    }
}

struct Reader {
    graph: Graph,
    anchors: HashMap<usize, Id>,
    open: Vec<Open>,
    root: Option<Id>,
}

/// A container whose end has not come yet.
struct Open {
    id: Id,
    kind: Kind,
    /// The key whose value is to come.
    key: Option<Id>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    List,
    /// `!!omap` and `!!pairs`: a list of mappings with one member each, which Python reads as pairs.
    Pairs,
    Map,
    /// `!!set`: a mapping whose keys count.
    Set,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, at: usize) -> Result<(), FormatError> {
        match event {
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(id) => self.put(*id),
                None => Err(FormatError::damaged("an alias without its anchor", at)),
            },
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain;
                let value = scalar_value(&text, is_plain, tag.as_deref(), at)?;
                let id = self.graph.add(Node::Scalar(value));
                self.name(anchor, id);
                self.put(id)
            }
            Event::SequenceStart(anchor, tag) => {
                let kind = match core_name(tag.as_deref())? {
                    None | Some("seq") => Kind::List,
                    Some("omap" | "pairs") => Kind::Pairs,
                    Some(other) => return Err(misplaced(other, "a sequence")),
                };
                self.begin(anchor, kind, Node::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                let kind = match core_name(tag.as_deref())? {
                    None | Some("map") => Kind::Map,
                    Some("set") => Kind::Set,
                    Some(other) => return Err(misplaced(other, "a mapping")),
                };
                self.begin(anchor, kind, Node::Map(Vec::new()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(FormatError::damaged("a second document begins", at))
            }
            Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::StreamStart
            | Event::StreamEnd
            | Event::Nothing => Ok(()),
        }
    }

    fn name(&mut self, anchor: usize, id: Id) {
        // 0 is no anchor.
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
    }

    fn begin(&mut self, anchor: usize, kind: Kind, node: Node) -> Result<(), FormatError> {
        if self.open.len() == DEEPEST {
            return Err(FormatError::TooDeep);
        }
        let id = self.graph.add(node);
        // Known from its start, so that an alias to it from inside is found, and then refused.
        self.name(anchor, id);
        self.put(id)?;
        self.open.push(Open {
            id,
            kind,
            key: None,
        });
        Ok(())
    }

    /// Puts a node into the container it stands in.
    fn put(&mut self, id: Id) -> Result<(), FormatError> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(id);
            return Ok(());
        };
        match self.graph.node_mut(open.id) {
            Some(Node::List(items)) => items.push(id),
            Some(Node::Map(members)) => match open.key.take() {
                Some(key) => members.push((key, id)),
                None => open.key = Some(id),
            },
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), FormatError> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let node = match (open.kind, self.graph.node(open.id)) {
            (Kind::Set, Some(Node::Map(members))) => {
                Node::List(members.iter().map(|(key, _)| *key).collect())
            }
            (Kind::Pairs, Some(Node::List(items))) => {
                let items = items.clone();
                let pairs = items.into_iter().map(|item| self.pair(item));
                Node::List(pairs.collect::<Result<_, _>>()?)
            }
            _ => return Ok(()),
        };
        if let Some(place) = self.graph.node_mut(open.id) {
            *place = node;
        }
        Ok(())
    }

    fn pair(&mut self, item: Id) -> Result<Id, FormatError> {
        let member = match self.graph.node(item) {
            Some(Node::Map(members)) if members.len() == 1 => members.first().copied(),
            _ => None,
        };
        match member {
            Some((key, value)) => Ok(self.graph.add(Node::List(vec![key, value]))),
            None => Err(FormatError::unfit(
                "an ordered map holds something else than mappings of one member",
            )),
        }
    }
}

fn misplaced(tag: &str, on: &str) -> FormatError {
    FormatError::refused(format!("the tag !!{tag} on {on}"))
}

/// The name of one of YAML's own tags, or none for no tag and the tag `!`; others make objects, and are refused.
fn core_name(tag: Option<&Tag>) -> Result<Option<&str>, FormatError> {
    let Some(tag) = tag else { return Ok(None) };
    let full: Cow<'_, str> = match tag.handle.as_str() {
        CORE => return Ok(Some(&tag.suffix)),
        "" => Cow::Borrowed(&tag.suffix),
        handle => Cow::Owned(format!("{handle}{}", tag.suffix)),
    };
    if full == "!" {
        return Ok(None);
    }
    match tag.suffix.strip_prefix(CORE) {
        Some(name) if tag.handle.is_empty() => Ok(Some(name)),
        _ => Err(FormatError::refused(format!("the tag {full}"))),
    }
}

fn scalar_value(
    text: &str,
    is_plain: bool,
    tag: Option<&Tag>,
    at: usize,
) -> Result<Value, FormatError> {
    let wrong = |problem: &str| FormatError::damaged(problem, at);
    let name = core_name(tag)?;
    let owned = || Value::Str(text.to_owned());
    match name {
        // The tag `!` says "no type by form".
        None if !is_plain || tag.is_some() => Ok(owned()),
        None => match plain(text) {
            Plain::Text => Ok(owned()),
            Plain::Value(value) => Ok(value),
            Plain::Merge => Err(FormatError::refused("a merge key (<<)")),
            Plain::Wrong(problem) => Err(wrong(problem)),
        },
        Some("str") => Ok(owned()),
        Some("null") => Ok(Value::Null),
        Some("bool") => scalar::boolean(text)
            .map(Value::Bool)
            .ok_or_else(|| wrong("no boolean")),
        Some("int") => match scalar::integer(text) {
            Some(int) => int.map_err(wrong),
            None => Err(wrong("no int")),
        },
        Some("float") => scalar::float(text)
            .or_else(|| text.parse().ok())
            .map(Value::Float)
            .ok_or_else(|| wrong("no float")),
        Some("timestamp") => match timestamp::read(text) {
            Some(time) => time.map_err(wrong),
            None => Err(wrong("no timestamp")),
        },
        Some("binary") => {
            // Python's decoder passes over whatever is not of its alphabet.
            let compact: String = text
                .chars()
                .filter(|char| char.is_ascii_alphanumeric() || matches!(char, '+' | '/' | '='))
                .collect();
            BASE64
                .decode(compact)
                .map(Value::Bytes)
                .map_err(|_| wrong("no base64"))
        }
        Some(other) => Err(FormatError::refused(format!("the tag !!{other}"))),
    }
}
