//! How layers look. Called by `view` with the model; each layer is painted over the one below, the top one decides the cursor.

mod boxes;
mod forms;
mod jobs;
mod lists;

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::layout::Areas;
use super::model::Model;
use super::model::layers::Layer;

/// Paints all layers; returns where the text cursor stands in the top one.
pub fn paint(model: &Model, areas: &Areas, buf: &mut Buffer) -> Option<Position> {
    let mut cursor = None;
    for layer in &model.layers {
        cursor = match layer {
            Layer::Confirm(confirm) => boxes::confirm(model, confirm, areas.body, buf),
            Layer::Error(error) => boxes::error(model, error, areas.body, buf),
            Layer::Pager(pager) => boxes::pager(model, pager, areas.body, buf),
            Layer::Terminal(terminal) => boxes::terminal(model, terminal, areas.body, buf),
            Layer::Menu(menu) => lists::menu(model, menu, areas.body, buf),
            Layer::Palette(palette) => lists::palette(model, palette, areas.body, buf),
            Layer::Help(help) => lists::help(model, help, areas.body, buf),
            Layer::Prompt(prompt) => forms::prompt(model, prompt, areas.body, buf),
            Layer::Jobs(list) => jobs::paint(model, list, areas.body, buf),
            Layer::Form(form) => forms::form(model, form, areas.body, buf),
        };
    }
    cursor
}
