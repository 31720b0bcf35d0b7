//! The table of results in the README, made from a record.

use std::error::Error;
use std::fs;
use std::path::Path;

use clap::ValueEnum;

use crate::case::Name;

const BEGIN: &str = "<!-- results: made by exbit-lab --readme, do not edit -->\n";
const END: &str = "<!-- end of results -->";

/// What a row says, and the figure that it shows.
const ROWS: &[(&str, &str)] = &[
    ("float, top-1", "float top-1"),
    ("W8A8", "W8A8: top-1"),
    ("W8A8, `--effort full`", "W8A8, effort full: top-1"),
    ("**8x smaller weights, mixed, A8**", "8x: top-1"),
    ("the same answer as float", "8x: agreement with float"),
    ("**8x, `--effort full`**", "8x, effort full: top-1"),
    (
        "the same answer as float",
        "8x, effort full: agreement with float",
    ),
    ("4 bits uniform, A8", "uniform 4 bits: top-1"),
    ("3 bits mixed, A8", "mixed 3 bits: top-1"),
    ("3 bits uniform, A8", "uniform 3 bits: top-1"),
    ("12x, A8", "12x: top-1"),
    (
        "W4A4, first and last 8x8",
        "W4A4, first and last 8x8: top-1",
    ),
];

/// Puts the table of the record at `record` between its marks in `readme`.
pub(crate) fn write(record: &Path, readme: &Path) -> Result<(), Box<dyn Error>> {
    let record = fs::read_to_string(record)?;
    let text = fs::read_to_string(readme)?;
    let (head, rest) = text.split_once(BEGIN).ok_or("no mark of the table")?;
    let (_, tail) = rest.split_once(END).ok_or("no end of the table")?;
    let mut table = String::from("| top-1, % ");
    for name in Name::value_variants() {
        table += &format!("| {} ", name.title());
    }
    table += "|\n| --- | ---: | ---: | ---: | ---: |\n";
    for (row, figure) in ROWS {
        table += &format!("| {row} ");
        for name in Name::value_variants() {
            let key = format!("{},\"{figure}\",", name.text());
            let line = record.lines().find_map(|l| l.strip_prefix(key.as_str()));
            let number = line.and_then(|l| l.split(',').next()?.parse::<f64>().ok());
            table += &number.map_or("| ".to_owned(), |n| format!("| {n:.2} "));
        }
        table += "|\n";
    }
    fs::write(readme, format!("{head}{BEGIN}{table}{END}{tail}"))?;
    Ok(())
}
