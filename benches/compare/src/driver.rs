//! A driver, as the coordinator sees it: a process that is asked and answers, and that is ended if it does not.

use crate::plan::{Answer, Plan, Sample};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long a driver may take for one answer.
const PATIENCE: Duration = Duration::from_secs(40);

/// How long it may take to end by itself.
const FAREWELL: Duration = Duration::from_secs(2);

pub(crate) struct Driver {
    process: Child,
    /// `None` = it was told to end.
    input: Option<ChildStdin>,
    answers: Receiver<Answer>,
    log: PathBuf,
}

impl Driver {
    /// Starts a driver and has it set up a measure; `None` = it cannot do this one.
    pub(crate) fn start(mut command: Command, plan: &Plan, log: &Path) -> Result<Option<Driver>, String> {
        let errors = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        // A group of its own, so that all its workers can be ended with it.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).process_group(0);
        let mut process = command.spawn().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
        let output = process.stdout.take().expect("a pipe");
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            // What is no answer was printed by a library.
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.filter_map(|line| serde_json::from_str(&line).ok()).try_for_each(|answer| sender.send(answer))
        });
        let input = process.stdin.take();
        let mut driver = Driver { process, input, answers, log: log.to_owned() };
        match driver.ask(&serde_json::to_string(plan).expect("plain data"))? {
            Answer::Ready => Ok(Some(driver)),
            Answer::Unsupported => Ok(None),
            other => Err(format!("an answer out of turn: {other:?}")),
        }
    }

    pub(crate) fn sample(&mut self) -> Result<Sample, String> {
        match self.ask("{}")? {
            Answer::Sample(sample) => Ok(sample),
            other => Err(format!("an answer out of turn: {other:?}")),
        }
    }

    fn ask(&mut self, line: &str) -> Result<Answer, String> {
        // A driver that is gone says so by the end of its answers.
        _ = self.input.as_mut().map(|input| writeln!(input, "{line}"));
        match self.answers.recv_timeout(PATIENCE) {
            Ok(Answer::Failed { note }) => Err(note),
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Timeout) => Err(format!("no answer in {} s", PATIENCE.as_secs())),
            Err(RecvTimeoutError::Disconnected) => Err(self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("without a word");
        format!("the driver ended: {last}")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.input = None;
        // Its output ends when all its workers have ended as well. What is left then is ended by force, before the
        // driver is reaped and its number may go to another group.
        while let Ok(_late) = self.answers.recv_timeout(FAREWELL) {}
        if let Some(group) = Pid::from_raw(self.process.id() as i32) {
            _ = kill_process_group(group, Signal::KILL);
        }
        _ = self.process.wait();
    }
}
