//! Command lines typed after `:`. Part of the executor.

use futures_util::StreamExt;

use crate::config::LineOutput;

use super::super::msg::Msg;
use super::Executor;

impl Executor {
    pub(super) fn run_line(&mut self, pager: u64, line: &str) {
        let out = self.out.clone();
        let Some(lines) = &self.lines else {
            let said = "this orlop was started without a command line".to_owned();
            self.ask(async move { Msg::Line { pager, output: LineOutput::Err(said) } });
            self.ask(async move { Msg::Line { pager, output: LineOutput::Ended(125) } });
            return;
        };
        let mut stream = lines.run(self.engine(), line);
        let task = async move {
            while let Some(output) = stream.next().await {
                if !out.send(Msg::Line { pager, output }).await {
                    return;
                }
            }
        };
        let handle = self.spawn_counted(task);
        self.running_lines.retain(|_, line| !line.is_finished());
        self.running_lines.insert(pager, handle);
    }
}
