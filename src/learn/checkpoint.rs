//! A training run on disk: every number that moves, where the run stands, what it was told. One
//! safetensors file, written beside and renamed; a run that goes on from it gives the same bytes as
//! one that was never interrupted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use exbit_engine::{Program, write_whole};
use exbit_model::{Model, NodeId, Op};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::graph::Graph;
use super::parameters::Parameters;
use super::place::Place;
use super::recipe::{Phase, Recipe};
use crate::{Error, ErrorKind, Result};

/// What an epoch was like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The phase.
    pub phase: Phase,
    /// The epoch of the phase, from 1.
    pub epoch: usize,
    /// Mean loss of each answer over the training images, the exits' first, nats.
    pub loss: Vec<f64>,
    /// Training images that each answer has right, percent.
    pub train: Vec<f64>,
    /// Held-out images that each answer has right, percent.
    pub held_out: Vec<f64>,
    /// Bit-operations of one image to the end and of all exits' heads, bits rounded; 0 for a float
    /// network.
    pub bops: f64,
    /// Bits of each layer's weight.
    pub weight_bits: Vec<f32>,
    /// Bits of what each layer reads.
    pub activation_bits: Vec<f32>,
    /// Seconds that the epoch took.
    pub seconds: f64,
}

/// What a run learns from: a run that goes on must have the same. Fingerprints are absent from runs
/// that were saved before they were taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Origin {
    pub(crate) network: String,
    /// Of the network before exits were attached.
    #[serde(default)]
    pub(crate) network_fingerprint: Option<String>,
    /// Images, those kept apart too.
    pub(crate) images: usize,
    #[serde(default)]
    pub(crate) images_fingerprint: Option<String>,
    /// As TOML.
    pub(crate) preprocess: String,
    /// The teacher's name.
    pub(crate) teacher: Option<String>,
    #[serde(default)]
    pub(crate) teacher_fingerprint: Option<String>,
}

impl Origin {
    /// What `other` has that this has not.
    pub(crate) fn differs(&self, other: &Self) -> Option<&'static str> {
        let unlike = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
        match () {
            () if self.network != other.network => Some("network"),
            () if unlike(&self.network_fingerprint, &other.network_fingerprint) => {
                Some("network (its weights)")
            }
            () if self.images != other.images => Some("number of images"),
            () if self.preprocess != other.preprocess => Some("preprocessing"),
            () if unlike(&self.images_fingerprint, &other.images_fingerprint) => {
                Some("set of images")
            }
            () if self.teacher != other.teacher => Some("teacher"),
            () if unlike(&self.teacher_fingerprint, &other.teacher_fingerprint) => {
                Some("teacher (its file)")
            }
            () => None,
        }
    }
}

/// Everything about a run but its numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) recipe: Recipe,
    pub(crate) origin: Origin,
    pub(crate) place: Place,
    pub(crate) records: Vec<Record>,
}

/// The tensors of a run by name.
pub(crate) type Tensors = BTreeMap<String, Vec<f32>>;

const HEADER: &str = "exbit.run";
/// What safetensors allows.
const LONGEST_HEADER: u64 = 100_000_000;
const VELOCITY: &str = ".velocity";
const SQUARE: &str = ".square";

/// All numbers of a run.
pub(crate) fn tensors(graph: &Graph, parameters: &Parameters) -> Tensors {
    let mut all = Tensors::new();
    for parameter in &parameters.all {
        all.insert(parameter.name.clone(), parameter.value.clone());
        all.insert(
            format!("{}{VELOCITY}", parameter.name),
            parameter.velocity.clone(),
        );
        if !parameter.square.is_empty() {
            all.insert(
                format!("{}{SQUARE}", parameter.name),
                parameter.square.clone(),
            );
        }
    }
    for node in graph.model.nodes() {
        if let Op::BatchNorm(bn) = &node.op {
            all.insert(format!("{}.mean", node.name), bn.mean.clone());
            all.insert(format!("{}.var", node.name), bn.var.clone());
        }
    }
    all
}

/// Puts `tensors` back, velocities too.
///
/// # Errors
/// `Mismatch` when one is missing or of another length.
pub(crate) fn restore(
    graph: &mut Graph,
    parameters: &mut Parameters,
    tensors: &Tensors,
) -> Result<()> {
    let find = |name: &str, len: usize| {
        let found = tensors.get(name).filter(|t| t.len() == len);
        found.ok_or_else(|| {
            let message = format!("{name} with {len} entries is not there: another network's run?");
            Error::new(ErrorKind::Mismatch, "checkpoint", message)
        })
    };
    for parameter in &mut parameters.all {
        let len = parameter.value.len();
        parameter.value.clone_from(find(&parameter.name, len)?);
        let velocity = format!("{}{VELOCITY}", parameter.name);
        parameter.velocity.clone_from(find(&velocity, len)?);
        // Only some optimizers have it, and only after a step.
        let square = tensors.get(&format!("{}{SQUARE}", parameter.name));
        parameter.square = square
            .filter(|s| s.len() == len)
            .cloned()
            .unwrap_or_default();
    }
    for_statistics(&mut graph.model, |name, into| {
        into.clone_from(find(name, into.len())?);
        Ok(())
    })?;
    parameters.put(graph);
    Ok(())
}

/// Takes over what another run learned, by name: values, not velocities. What is not in it stays as
/// it is. Gives how many parameters were found.
pub(crate) fn adopt(graph: &mut Graph, parameters: &mut Parameters, tensors: &Tensors) -> usize {
    let found = parameters.adopt(graph, |name, len| {
        tensors.get(name).filter(|t| t.len() == len).cloned()
    });
    let statistics = for_statistics(&mut graph.model, |name, into| {
        if let Some(other) = tensors.get(name).filter(|t| t.len() == into.len()) {
            into.clone_from(other);
        }
        Ok(())
    });
    debug_assert!(statistics.is_ok(), "nothing above fails");
    parameters.project(graph);
    parameters.put(graph);
    found
}

fn for_statistics(
    model: &mut Model,
    mut each: impl FnMut(&str, &mut Vec<f32>) -> Result<()>,
) -> Result<()> {
    for i in 0..model.nodes().len() {
        let name = model.node(NodeId(i)).name.clone();
        if let Op::BatchNorm(bn) = model.op_mut(NodeId(i)) {
            each(&format!("{name}.mean"), &mut bn.mean)?;
            each(&format!("{name}.var"), &mut bn.var)?;
        }
    }
    Ok(())
}

/// Writes a run to `path`.
///
/// # Errors
/// `Io` when it cannot be written; `Mismatch` when a number is none any more: what stands there
/// then stays.
pub(crate) fn save(path: &Path, header: &Header, tensors: &Tensors) -> Result<()> {
    let fail = |kind, message: String| Error::new(kind, path.display().to_string(), message);
    if let Some((name, _)) = tensors
        .iter()
        .find(|(_, t)| t.iter().any(|x| !x.is_finite()))
    {
        return Err(fail(
            ErrorKind::Mismatch,
            diverged(&format!("{name} is no longer a number")),
        ));
    }
    let json =
        serde_json::to_string(header).map_err(|e| fail(ErrorKind::Malformed, e.to_string()))?;
    let views = tensors.iter().map(|(name, t)| {
        let bytes = bytemuck::cast_slice::<f32, u8>(t);
        TensorView::new(Dtype::F32, vec![t.len()], bytes).map(|view| (name.clone(), view))
    });
    let views: Vec<_> = views
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| fail(ErrorKind::Malformed, e.to_string()))?;
    let metadata = [(HEADER.to_owned(), json)].into_iter().collect();
    let bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|e| fail(ErrorKind::Malformed, e.to_string()))?;
    write_whole(path, &bytes).map_err(|e| Error::writing(path, &e))
}

/// What to say where training has diverged, as `what` tells.
pub(crate) fn diverged(what: &str) -> String {
    format!(
        "{what}: training has diverged. What was saved before stays; begin another run, with a \
         lower rate (--from takes what a saved one has learned)"
    )
}

/// A run as it lies on disk.
#[derive(Clone, Debug)]
pub struct Saved {
    pub(crate) header: Header,
    pub(crate) tensors: Tensors,
}

/// What a run may begin with.
pub(crate) enum Source {
    Run(Box<Saved>),
    Program(Box<Program>),
}

/// Reads the run or the Program in the file `path`: both are safetensors, and a run says in its
/// metadata that it is one.
///
/// # Errors
/// `Io` when it cannot be read, `Malformed` when it is neither.
pub(crate) fn open(path: &Path) -> Result<Source> {
    let fail =
        |e: std::io::Error| Error::new(ErrorKind::Io, path.display().to_string(), e.to_string());
    Ok(match is_run(path).map_err(fail)? {
        true => Source::Run(Box::new(Saved::open(path)?)),
        false => {
            let program = Program::load(path).map_err(|e| {
                let e = Error::from(e);
                if e.kind() != ErrorKind::Malformed {
                    return e;
                }
                let message = "neither a run nor a Program, or one that is damaged";
                Error::new(ErrorKind::Malformed, path.display().to_string(), message)
            });
            Source::Program(Box::new(program?))
        }
    })
}

/// Whether the header of the safetensors file `path` has that of a run.
fn is_run(path: &Path) -> std::io::Result<bool> {
    let mut file = File::open(path)?;
    let (mut len, mut header) = ([0; 8], Vec::new());
    match file.read_exact(&mut len) {
        // Too short to be anything.
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    let len = u64::from_le_bytes(len).min(LONGEST_HEADER);
    file.take(len).read_to_end(&mut header)?;
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap_or_default();
    Ok(header["__metadata__"].get(HEADER).is_some())
}

impl Saved {
    /// Reads the run in the file `path`.
    ///
    /// # Errors
    /// `Io` when it cannot be read, `Malformed` when it is no run.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |kind, message: String| Error::new(kind, path.display().to_string(), message);
        let bytes = std::fs::read(path).map_err(|e| fail(ErrorKind::Io, e.to_string()))?;
        read(&bytes).map_err(|message| fail(ErrorKind::Malformed, message))
    }

    /// Reads a run from the bytes of its file.
    ///
    /// # Errors
    /// `Malformed` when they are no run.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        read(bytes).map_err(|message| Error::new(ErrorKind::Malformed, "run", message))
    }

    /// What the run was told.
    pub fn recipe(&self) -> &Recipe {
        &self.header.recipe
    }

    /// Its epochs so far.
    pub fn records(&self) -> &[Record] {
        &self.header.records
    }
}

fn read(bytes: &[u8]) -> std::result::Result<Saved, String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let header = metadata.metadata().as_ref().and_then(|m| m.get(HEADER));
    let header = header.ok_or("not a training run: its header is missing")?;
    let header: Header = serde_json::from_str(header).map_err(|e| format!("its header: {e}"))?;
    header.recipe.check().map_err(|e| e.to_string())?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("{name} is not of floats"));
        }
        let floats = view.data().as_chunks::<4>().0.iter();
        let floats: Vec<f32> = floats.map(|b| f32::from_le_bytes(*b)).collect();
        if floats.iter().any(|x| !x.is_finite()) {
            return Err(format!("{name} has entries that are not finite"));
        }
        tensors.insert(name.to_owned(), floats);
    }
    Ok(Saved { header, tensors })
}
