//! Just enough protobuf to write ONNX files, sound or not: what the seeds and the target `external`
//! are made of. The reader's own messages are private to it, and a second hand may disagree.

/// A message being written, field by field.
#[derive(Clone, Default)]
pub struct Message(Vec<u8>);

impl Message {
    pub fn int(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    pub fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    pub fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub fn message(self, field: u64, message: Message) -> Self {
        self.bytes(field, &message.0)
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 128 {
            self.0.push(value as u8 | 128);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A graph from `x` to `y` under construction.
#[derive(Clone)]
pub struct Graph(Message);

impl Graph {
    pub fn new(dims: &[u64]) -> Self {
        let axis = |shape: Message, &n| shape.message(1, Message::default().int(1, n));
        let shape = dims.iter().fold(Message::default(), axis);
        let tensor = Message::default().int(1, 1).message(2, shape);
        let input = Message::default().text(1, "x");
        let input = input.message(2, Message::default().message(1, tensor));
        let output = Message::default().text(1, "y");
        Self(Message::default().message(11, input).message(12, output))
    }

    /// `text` is `Op input,input -> output`; `ints` are attributes, a list where it has not one.
    pub fn node(self, text: &str, ints: &[(&str, &[u64])]) -> Self {
        let mut words = text.split([' ', ',']);
        let mut node = Message::default().text(4, words.next().unwrap_or_default());
        let mut field = 1;
        for word in words {
            if word == "->" {
                field = 2;
            } else {
                node = node.text(field, word);
            }
        }
        for &(name, values) in ints {
            let attribute = Message::default().text(1, name);
            let attribute = match values {
                [one] => attribute.int(3, *one).int(20, 2),
                many => many.iter().fold(attribute, |a, &v| a.int(8, v)).int(20, 7),
            };
            node = node.message(5, attribute);
        }
        Self(self.0.message(1, node))
    }

    pub fn floats(self, name: &str, dims: &[u64], data: &[f32]) -> Self {
        let raw: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, dims, 1, |t| t.bytes(9, &raw))
    }

    pub fn ints(self, name: &str, dims: &[u64], data: &[i64]) -> Self {
        let raw: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, dims, 7, |t| t.bytes(9, &raw))
    }

    /// Floats that lie in another file; `pairs` say where.
    pub fn external(self, name: &str, dims: &[u64], pairs: &[(&str, &str)]) -> Self {
        let pair = |t: Message, &(key, value): &(&str, &str)| {
            t.message(13, Message::default().text(1, key).text(2, value))
        };
        self.tensor(name, dims, 1, |t| pairs.iter().fold(t.int(14, 1), pair))
    }

    fn tensor(
        self,
        name: &str,
        dims: &[u64],
        data_type: u64,
        data: impl FnOnce(Message) -> Message,
    ) -> Self {
        let dims = dims.iter().fold(Message::default(), |t, &n| t.int(1, n));
        Self(
            self.0
                .message(5, data(dims.int(2, data_type).text(8, name))),
        )
    }

    /// The file.
    pub fn file(self) -> Vec<u8> {
        let opset = Message::default().int(2, 17);
        let model = Message::default().int(1, 8).message(7, self.0);
        model.message(8, opset).0
    }
}
