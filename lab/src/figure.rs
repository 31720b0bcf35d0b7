//! A figure: what was measured, beside what was asked.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// What a figure must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    AtMost(f64),
    AtLeast(f64),
    /// Reported; nothing is asked.
    Nothing,
}

/// Figures on the terminal and, if wished, in a CSV file, where each replaces what was measured
/// before under its name.
pub(crate) struct Record {
    file: Option<PathBuf>,
    lines: Vec<String>,
    missed: usize,
    met: usize,
}

const HEADER: &str = "network,figure,measured,unit,asked,met";

impl Record {
    pub(crate) fn new(path: Option<&Path>) -> Result<Self, Box<dyn Error>> {
        let text = match path {
            Some(path) if path.exists() => fs::read_to_string(path)?,
            _ => String::new(),
        };
        let lines = text.lines().skip(1).map(str::to_owned).collect();
        Ok(Self {
            file: path.map(Path::to_owned),
            lines,
            missed: 0,
            met: 0,
        })
    }

    /// Adds a figure.
    pub(crate) fn add(
        &mut self,
        network: &str,
        figure: &str,
        (measured, unit): (f64, &str),
        asked: Asked,
    ) -> Result<(), Box<dyn Error>> {
        let (text, met) = match asked {
            Asked::AtMost(limit) => (format!("<= {limit}"), Some(measured <= limit + 1e-9)),
            Asked::AtLeast(limit) => (format!(">= {limit}"), Some(measured >= limit - 1e-9)),
            Asked::Nothing => (String::new(), None),
        };
        let verdict = match met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        self.met += usize::from(met == Some(true));
        self.missed += usize::from(met == Some(false));
        let precise = if measured.abs() < 0.01 {
            format!("{measured:.2e}")
        } else {
            format!("{measured:.4}")
        };
        println!("{network:<12} {figure:<58} {precise:>10} {unit:<8} {text:<10} {verdict}");
        // Some figures have commas in their names; none has a quote.
        let key = format!("{network},\"{figure}\",");
        let line = format!("{key}{precise},{unit},{text},{verdict}");
        match self.lines.iter_mut().find(|l| l.starts_with(&key)) {
            Some(old) => *old = line,
            None => self.lines.push(line),
        }
        if let Some(file) = &self.file {
            fs::write(file, format!("{HEADER}\n{}\n", self.lines.join("\n")))?;
        }
        Ok(())
    }

    /// The closing line; says whether every figure was reached.
    pub(crate) fn close(self) -> Result<bool, Box<dyn Error>> {
        println!("{} figures reached, {} fell short", self.met, self.missed);
        Ok(self.missed == 0)
    }
}
