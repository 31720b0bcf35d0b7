//! Tables of the page: one for any list of columns, sortable where scripts run.

use maud::{Markup, html};

use crate::report::column::{Cell, Column};

/// The rows as a table in a box that scrolls by itself, numbered from 1.
pub(super) fn table<R>(name: &str, columns: &[Column<R>], rows: &[R]) -> Markup {
    let grouped = columns.iter().any(|c| !c.group.is_empty());
    html! {
        div.scroll tabindex="0" role="region" aria-label=(name) {
            table.rows {
                thead {
                    @if grouped {
                        tr.groups {
                            td {}
                            @for (group, span) in groups(columns) {
                                @if group.is_empty() { td {} } @else {
                                    th colspan=(span) scope="colgroup" { span { (group) } }
                                }
                            }
                        }
                    }
                    tr {
                        th.number scope="col" { "#" }
                        @for (i, column) in columns.iter().enumerate() {
                            th class=(class(columns, i, rows)) scope="col" title=(column.meaning) {
                                (column.title)
                            }
                        }
                    }
                }
                tbody {
                    @for (n, row) in rows.iter().enumerate() {
                        tr {
                            td.number data-v=(n) { (n + 1) }
                            @for (i, column) in columns.iter().enumerate() {
                                (cell(&(column.cell)(row), class(columns, i, rows), column.drawn()))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(cell: &Cell, class: String, drawn: bool) -> Markup {
    html! {
        @match cell {
            Cell::Blank => { td class=(class) {} }
            Cell::Text(text) => { td class=(class) title=(text) { bdi { (text) } } }
            Cell::Number(text, value) => { td class=(class) data-v=(script(*value)) { (text) } }
            Cell::Bits(bits) => {
                td class=(class) data-v=(bits) {
                    (bits) @if drawn { (bar(*bits)) }
                }
            }
        }
    }
}

/// A number as scripts read it.
fn script(value: f64) -> String {
    value.to_string().replace("inf", "Infinity")
}

/// Bits as a bar of eight steps.
fn bar(bits: u8) -> Markup {
    html! { i.steps style=(format!("--bits:{}", bits.min(8))) {} }
}

/// Neighbours of the same group, with how many they are; columns without a group alone.
fn groups<R>(columns: &[Column<R>]) -> Vec<(&'static str, usize)> {
    let mut groups: Vec<(&'static str, usize)> = Vec::new();
    for column in columns {
        match groups.last_mut() {
            Some((name, span)) if *name == column.group && !name.is_empty() => *span += 1,
            Some(_) | None => groups.push((column.group, 1)),
        }
    }
    groups
}

fn class<R>(columns: &[Column<R>], i: usize, rows: &[R]) -> String {
    let column = &columns[i];
    let cells = || rows.iter().map(|row| (column.cell)(row));
    let kind = match cells().find(|cell| *cell != Cell::Blank) {
        Some(Cell::Text(_)) if i == 0 => "name",
        Some(Cell::Text(_)) => "text",
        Some(Cell::Bits(_)) if column.drawn() => "bits",
        Some(Cell::Bits(_)) => "number",
        Some(Cell::Number(..) | Cell::Blank) | None => "number",
    };
    let starts = !column.group.is_empty() && (i == 0 || columns[i - 1].group != column.group);
    if starts {
        format!("{kind} start")
    } else {
        kind.into()
    }
}
