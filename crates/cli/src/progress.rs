//! How far long work has come: a bar on a terminal, one line for each finished stage elsewhere;
//! always on standard error.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use exbit::report::printable;
use indicatif::{ProgressBar, ProgressStyle};

/// The progress of one command, stage after stage.
#[derive(Debug)]
pub(crate) struct Progress {
    to: Target,
    stage: RefCell<Option<Stage>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Nobody,
    Terminal,
    Log,
}

#[derive(Debug)]
struct Stage {
    name: String,
    start: Instant,
    bar: ProgressBar,
}

impl Progress {
    /// Progress on standard error, or none.
    pub(crate) fn new(quiet: bool) -> Self {
        let to = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Target::Nobody,
            (false, true) => Target::Terminal,
            (false, false) => Target::Log,
        };
        Self {
            to,
            stage: RefCell::new(None),
        }
    }

    /// `done` of `total` parts of the stage called `name`; a new name ends the stage before it.
    pub(crate) fn set(&self, name: &str, done: u64, total: u64) {
        let same = self.stage.borrow().as_ref().is_some_and(|s| s.name == name);
        if !same {
            self.close();
            *self.stage.borrow_mut() = Some(self.begin(name));
        }
        if let Some(stage) = self.stage.borrow().as_ref() {
            stage.bar.set_length(total);
            stage.bar.set_position(done);
        }
    }

    /// What stands before the bar in place of the stage's name.
    pub(crate) fn say(&self, text: &str) {
        if let Some(stage) = self.stage.borrow().as_ref() {
            stage.bar.set_message(text.to_owned());
        }
    }

    /// How wide the terminal is that shows it; elsewhere nobody sees it.
    pub(crate) fn columns(&self) -> usize {
        terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(w, _)| usize::from(w.0))
    }

    /// Whether nobody hears of it.
    pub(crate) fn is_silent(&self) -> bool {
        self.to == Target::Nobody
    }

    /// A remark that stays, above the bar.
    pub(crate) fn note(&self, text: &str) {
        let lines: Vec<String> = text.lines().map(printable).collect();
        let text = &lines.join("\n");
        match (self.to, self.stage.borrow().as_ref()) {
            (Target::Nobody, _) => {}
            (Target::Terminal, Some(stage)) => stage.bar.println(text),
            _ => eprintln!("{text}"),
        }
    }

    /// Ends the stage, if there is one.
    pub(crate) fn close(&self) {
        let Some(stage) = self.stage.borrow_mut().take() else {
            return;
        };
        stage.bar.finish_and_clear();
        let took = stage.start.elapsed();
        // What was over at once needs no line.
        if self.to != Target::Nobody && took >= Duration::from_millis(300) {
            eprintln!("{:<32} {:>7.1} s", stage.name, took.as_secs_f64());
        }
    }

    fn begin(&self, name: &str) -> Stage {
        let bar = match self.to {
            Target::Terminal => ProgressBar::new(1),
            Target::Nobody | Target::Log => ProgressBar::hidden(),
        };
        let template = "{msg:32} {wide_bar:.} {pos:>6}/{len:<6} {elapsed:>4} left {eta:<4}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("##-"));
        }
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Stage {
            name: name.to_owned(),
            start: Instant::now(),
            bar,
        }
    }
}
