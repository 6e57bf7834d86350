//! The SBE schema, read from its XML by rules of our own: an independent view of every layout.

use roxmltree::{Document, Node};

/// What a test needs of `tidegate.xml`.
pub(crate) struct Schema {
    pub(crate) id: u16,
    pub(crate) version: u16,
    pub(crate) byte_order: String,
    pub(crate) types: Vec<Type>,
    pub(crate) messages: Vec<Message>,
}

pub(crate) struct Type {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    Simple(Simple),
    Composite(Vec<Simple>),
    Enum {
        encoding: String,
        values: Vec<(String, String)>,
    },
    Set,
}

/// A `<type>`, by itself or in a composite.
pub(crate) struct Simple {
    pub(crate) primitive: String,
    pub(crate) length: usize,
    pub(crate) presence: String,
    pub(crate) null: Option<String>,
    pub(crate) character_encoding: Option<String>,
}

pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) id: u16,
    /// `None` when the message does not state it.
    pub(crate) block_length: Option<usize>,
    pub(crate) fields: Vec<Field>,
    pub(crate) data: Vec<Data>,
    /// Tags of its children in order.
    pub(crate) order: Vec<String>,
}

pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) since: u16,
    /// The offset attribute, which the rules forbid.
    pub(crate) offset_stated: bool,
}

pub(crate) struct Data {
    pub(crate) name: String,
    pub(crate) kind: String,
}

fn text(node: Node<'_, '_>, name: &str) -> String {
    node.attribute(name).unwrap_or_default().to_owned()
}

fn number<T: std::str::FromStr>(node: Node<'_, '_>, name: &str, absent: T) -> T {
    node.attribute(name)
        .map_or(Some(absent), |value| value.parse().ok())
        .expect("a number")
}

impl Schema {
    pub(crate) fn parse(xml: &str) -> Self {
        let document = Document::parse(xml).expect("well-formed XML");
        let root = document.root_element();
        let types = root.children().filter(|node| node.has_tag_name("types"));
        let messages = root
            .children()
            .filter(|node| node.tag_name().name() == "message");
        Self {
            id: number(root, "id", 0),
            version: number(root, "version", 0),
            byte_order: text(root, "byteOrder"),
            types: types
                .flat_map(|node| node.children())
                .filter_map(Type::parse)
                .collect(),
            messages: messages.map(Message::parse).collect(),
        }
    }

    pub(crate) fn kind(&self, name: &str) -> Option<&Kind> {
        self.types
            .iter()
            .find(|kind| kind.name == name)
            .map(|kind| &kind.kind)
    }

    /// The octets that a field of this type takes; a constant takes none.
    pub(crate) fn size(&self, name: &str) -> Option<usize> {
        self.kind(name)
            .map(|kind| parts(kind).iter().map(|part| part.1).sum())
    }

    /// Each field of a message with its offset and size.
    pub(crate) fn layout<'a>(&self, message: &'a Message) -> Vec<(&'a Field, usize, usize)> {
        let mut at = 0;
        let place = |field: &'a Field| {
            let size = self.size(&field.kind).expect("a declared type");
            at += size;
            (field, at - size, size)
        };
        message.fields.iter().map(place).collect()
    }
}

impl Type {
    fn parse(node: Node<'_, '_>) -> Option<Self> {
        let members = || node.children().filter(Node::is_element);
        let kind = match node.tag_name().name() {
            "type" => Kind::Simple(Simple::parse(node)),
            "composite" => Kind::Composite(members().map(Simple::parse).collect()),
            "enum" => Kind::Enum {
                encoding: text(node, "encodingType"),
                values: members()
                    .map(|value| {
                        (
                            text(value, "name"),
                            value.text().unwrap_or_default().to_owned(),
                        )
                    })
                    .collect(),
            },
            "set" => Kind::Set,
            _ => return None,
        };
        Some(Self {
            name: text(node, "name"),
            kind,
        })
    }
}

impl Simple {
    fn parse(node: Node<'_, '_>) -> Self {
        Self {
            primitive: text(node, "primitiveType"),
            length: number(node, "length", 1),
            presence: text(node, "presence"),
            null: node.attribute("nullValue").map(str::to_owned),
            character_encoding: node.attribute("characterEncoding").map(str::to_owned),
        }
    }
}

impl Message {
    fn parse(node: Node<'_, '_>) -> Self {
        let children = || node.children().filter(Node::is_element);
        let field = |node: Node<'_, '_>| Field {
            name: text(node, "name"),
            id: text(node, "id"),
            kind: text(node, "type"),
            since: number(node, "sinceVersion", 0),
            offset_stated: node.has_attribute("offset"),
        };
        let data = |node| Data {
            name: text(node, "name"),
            kind: text(node, "type"),
        };
        Self {
            name: text(node, "name"),
            id: number(node, "id", 0),
            block_length: node
                .attribute("blockLength")
                .and_then(|value| value.parse().ok()),
            fields: children()
                .filter(|node| node.has_tag_name("field"))
                .map(field)
                .collect(),
            data: children()
                .filter(|node| node.has_tag_name("data"))
                .map(data)
                .collect(),
            order: children()
                .map(|node| node.tag_name().name().to_owned())
                .collect(),
        }
    }
}

pub(crate) fn primitive_size(primitive: &str) -> usize {
    match primitive {
        "char" | "int8" | "uint8" => 1,
        "int16" | "uint16" => 2,
        "int32" | "uint32" => 4,
        "int64" | "uint64" => 8,
        other => panic!("unknown primitive type {other}"),
    }
}

/// Primitive and octets of what the type puts on the wire.
pub(crate) fn parts(kind: &Kind) -> Vec<(String, usize)> {
    let wire = |simple: &Simple| {
        let octets = simple.length * primitive_size(&simple.primitive);
        (
            simple.primitive.clone(),
            if simple.presence == "constant" {
                0
            } else {
                octets
            },
        )
    };
    match kind {
        Kind::Simple(simple) => vec![wire(simple)],
        Kind::Composite(parts) => parts.iter().map(wire).filter(|part| part.1 > 0).collect(),
        Kind::Enum { encoding, .. } => vec![(encoding.clone(), primitive_size(encoding))],
        Kind::Set => Vec::new(),
    }
}
