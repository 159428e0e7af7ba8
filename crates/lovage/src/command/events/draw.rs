//! The live view on a screen.

use std::time::Instant;

use chrono::{DateTime, Local};
use lovage_flower_compat::{Cluster, Node};
use lovage_protocol::State;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, Cell, Paragraph, Row, Table, TableState, Wrap},
};

use super::{
    tasks::{FACTS, Task, Tasks},
    view::{Mode, View},
};
use crate::output;

/// Nodes get no more than this part of the height.
const NODES_PART: u16 = 3;
/// Narrower screens show the begin of ids only.
const WIDE: u16 = 120;

/// All there is to show.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) view: &'a View,
    pub(super) tasks: &'a Tasks,
    pub(super) cluster: &'a Cluster,
    /// Events heard so far.
    pub(super) events: u64,
    /// Unix time.
    pub(super) now: f64,
    pub(super) instant: Instant,
}

/// Draws everything; `table` remembers how far the list of tasks is scrolled.
pub(super) fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>, table: &mut TableState) {
    let area = frame.area();
    let known = scene.cluster.nodes().count();
    // A heading and a border.
    let wanted = u16::try_from(known.max(1)).unwrap_or(u16::MAX);
    let nodes_height = wanted
        .saturating_add(3)
        .min((area.height / NODES_PART).max(4));
    let [top, middle, bottom] = Layout::vertical([
        Constraint::Length(nodes_height),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_nodes(frame, scene, top);
    let details = match scene.view.mode {
        Mode::Details(line) => Some(line),
        Mode::Terminate { details: true } => Some(0),
        _ => None,
    };
    match (details, scene.view.task(scene.tasks)) {
        (Some(line), Some(task)) => draw_details(frame, task, scene.now, line, middle),
        (Some(_), None) => {
            let gone =
                Paragraph::new("this task is not remembered any more").block(block(" Task "));
            frame.render_widget(gone, middle);
        }
        (None, _) => draw_tasks(frame, scene, table, middle),
    }
    frame.render_widget(footer(scene.view), bottom);
}

fn block(title: &str) -> Block<'_> {
    Block::bordered()
        .border_style(Style::new().dim())
        .title(Span::styled(title, Style::new().bold().not_dim()))
}

fn heading<const N: usize>(names: [&'static str; N]) -> Row<'static> {
    Row::new(names).style(Style::new().fg(Color::Green).bold())
}

fn draw_nodes(frame: &mut Frame<'_>, scene: &Scene<'_>, area: Rect) {
    let alive = scene.cluster.alive(scene.instant);
    let known = scene.cluster.nodes().count();
    let title = format!(
        " Nodes: {alive} online of {known}   Events: {} ",
        output::thousands(scene.events)
    );
    if known == 0 {
        let nobody = Paragraph::new("No heartbeat heard of yet.").dim();
        frame.render_widget(nobody.block(block(&title)), area);
        return;
    }
    // Those that live stand on top: there may be more than fit.
    let mut nodes: Vec<(&str, &Node)> = scene.cluster.nodes().collect();
    nodes.sort_by_key(|(_, node)| !node.is_alive(scene.instant));
    let rows = nodes.iter().map(|(name, node)| {
        let (state, color) = match node.is_alive(scene.instant) {
            true => ("online", Color::Green),
            false => ("offline", Color::Red),
        };
        let load = node
            .load
            .map_or_else(String::new, |load| format!("{load:.2}"));
        Row::new([
            Cell::from(output::one_line(name)).bold(),
            Cell::from(state).fg(color),
            Cell::from(node.active.to_string()),
            Cell::from(node.processed.to_string()),
            Cell::from(load),
            Cell::from(output::one_line(&node.software)).dim(),
        ])
    });
    let widths = [
        Constraint::Fill(3),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(10),
        Constraint::Length(6),
        Constraint::Fill(1),
    ];
    let table = Table::new(rows, widths)
        .header(heading([
            "NODE",
            "STATUS",
            "ACTIVE",
            "PROCESSED",
            "LOAD",
            "SOFTWARE",
        ]))
        .block(block(&title));
    frame.render_widget(table, area);
}

fn draw_tasks(frame: &mut Frame<'_>, scene: &Scene<'_>, table: &mut TableState, area: Rect) {
    let (view, tasks) = (scene.view, scene.tasks);
    let listed = view.listed(tasks);
    let title = if view.filter.is_empty() {
        format!(" Tasks: {} ", tasks.len())
    } else {
        let filter = output::one_line(&view.filter);
        format!(
            " Tasks: {} of {} with \"{filter}\" ",
            listed.len(),
            tasks.len()
        )
    };
    if tasks.len() == 0 {
        let text =
            "No task heard of yet. Workers that were started without -E tell of tasks after e.";
        let text = Paragraph::new(text).dim().wrap(Wrap { trim: true });
        frame.render_widget(text.block(block(&title)), area);
        return;
    }
    let wide = area.width >= WIDE;
    let chosen = view.chosen.as_deref();
    table.select(
        listed
            .iter()
            .position(|task| Some(task.id.as_str()) == chosen),
    );
    let rows = listed.iter().map(|task| row(task, wide, scene.now));
    let widths = [
        Constraint::Length(8),
        Constraint::Length(if wide { 36 } else { 9 }),
        Constraint::Fill(2),
        Constraint::Fill(1),
        Constraint::Length(10),
        Constraint::Length(11),
    ];
    let list = Table::new(rows, widths)
        .header(heading([
            "TIME", "UUID", "NAME", "WORKER", "STATE", "RUNTIME",
        ]))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(block(&title));
    frame.render_stateful_widget(list, area, table);
}

fn row(task: &Task, wide: bool, now: f64) -> Row<'static> {
    let id = output::one_line(&task.id);
    let id = if wide {
        id
    } else {
        output::cut(&id, 9).into_owned()
    };
    let text = |text: &Option<String>| text.as_deref().map_or_else(String::new, output::one_line);
    Row::new([
        Cell::from(time(task.time, "%H:%M:%S")).dim(),
        Cell::from(id),
        Cell::from(text(&task.name)).bold(),
        Cell::from(text(&task.worker)),
        Cell::from(output::one_line(task.state.as_str())).style(style_of(&task.state)),
        Cell::from(task.ran(now).map_or_else(String::new, runtime)),
    ])
}

fn style_of(state: &State) -> Style {
    let color = match state {
        State::Success => Color::Green,
        State::Failure | State::Revoked | State::Rejected => Color::Red,
        State::Started => Color::Cyan,
        State::Retry => Color::Yellow,
        State::Received | State::Pending => return Style::new(),
        _ => Color::Magenta,
    };
    Style::new().fg(color)
}

/// A unix time in the zone of who looks.
fn time(at: f64, form: &str) -> String {
    let since = std::time::Duration::try_from_secs_f64(at).ok();
    let time = since
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .and_then(DateTime::from_timestamp_millis);
    time.map_or_else(String::new, |time| {
        time.with_timezone(&Local).format(form).to_string()
    })
}

/// Seconds with what matters of their fraction.
fn runtime(seconds: f64) -> String {
    match std::time::Duration::try_from_secs_f64(seconds) {
        Ok(_) if seconds < 1.0 => format!("{:.1} ms", seconds * 1000.0),
        Ok(_) if seconds < 10.0 => format!("{seconds:.2} s"),
        Ok(length) => output::duration(length),
        Err(_) => String::new(),
    }
}

fn draw_details(frame: &mut Frame<'_>, task: &Task, now: f64, line: u16, area: Rect) {
    let lines = details(task, now);
    let text = Paragraph::new(lines)
        .wrap(Wrap { trim: false })
        .scroll((line, 0))
        .block(block(" Task "));
    frame.render_widget(text, area);
}

fn details(task: &Task, now: f64) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut fact = |name: &str, value: &str, style: Style| {
        // A text of several lines stands below its name.
        let value = output::printable(value.trim_end()).replace('\t', "    ");
        let name = Span::styled(format!("{name:<12}"), Style::new().fg(Color::Cyan).bold());
        if value.contains('\n') {
            lines.push(Line::from(name));
            lines.extend(value.lines().map(|line| Line::from(line.to_owned())));
        } else {
            lines.push(Line::from(vec![name, Span::styled(value, style)]));
        }
    };
    fact("uuid", &task.id, Style::new());
    fact(
        "name",
        task.name.as_deref().unwrap_or("?"),
        Style::new().bold(),
    );
    fact("state", task.state.as_str(), style_of(&task.state));
    fact(
        "time",
        &time(task.time, "%Y-%m-%d %H:%M:%S%.3f %:z"),
        Style::new(),
    );
    if let Some(worker) = &task.worker {
        fact("worker", worker, Style::new());
    }
    if let Some(ran) = task.ran(now) {
        fact("runtime", &runtime(ran), Style::new());
    }
    for name in FACTS {
        if let Some(value) = task.facts.get(name) {
            fact(name, value, Style::new());
        }
    }
    lines
}

fn footer(view: &View) -> Line<'_> {
    let key = |key: &'static str, does: &'static str| {
        [
            Span::styled(key, Style::new().fg(Color::Cyan).bold()),
            Span::from(format!(" {does}  ")),
        ]
    };
    let keys: Vec<[Span<'_>; 2]> = match view.mode {
        Mode::Filter => {
            return Line::from(vec![
                Span::styled("/", Style::new().fg(Color::Cyan).bold()),
                Span::from(output::one_line(&view.filter)),
                Span::styled("█", Style::new().slow_blink()),
                Span::styled("  enter: keep  esc: drop", Style::new().dim()),
            ]);
        }
        Mode::Terminate { .. } => {
            let id = output::one_line(view.chosen.as_deref().unwrap_or_default());
            let question = format!("End the task {id} with SIGTERM? y/N");
            return Line::from(question).yellow().bold();
        }
        _ if !view.message.is_empty() => return Line::from(view.message.as_str()).yellow(),
        Mode::Details(_) => vec![
            key("↑↓", "scroll"),
            key("r", "revoke"),
            key("t", "terminate"),
            key("esc", "back"),
        ],
        Mode::List => vec![
            key("q", "quit"),
            key("↑↓", "choose"),
            key("enter", "details"),
            key("r", "revoke"),
            key("t", "terminate"),
            key("/", "filter"),
            key("e", "enable events"),
        ],
    };
    Line::from(keys.into_iter().flatten().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use lovage_protocol::{Map, Value, event::Event};
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;
    use crate::command::events::tasks::tests::event;

    fn heartbeat(node: &str) -> Event {
        let fields = [
            ("active", Value::Int(2)),
            ("processed", Value::Int(31)),
            ("loadavg", Value::List(vec![Value::Float(0.5)])),
            ("sw_ident", Value::from("py-celery")),
            ("sw_ver", Value::from("5.7.0")),
        ];
        Event {
            kind: "worker-heartbeat".to_owned(),
            hostname: node.to_owned(),
            timestamp: 1.0,
            clock: None,
            fields: fields
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect::<Map>(),
        }
    }

    /// The lines of a screen, without what fills them up.
    fn screen(view: &View, tasks: &Tasks, cluster: &Cluster, size: (u16, u16)) -> Vec<String> {
        let scene = Scene {
            view,
            tasks,
            cluster,
            events: 1234,
            now: 10.0,
            instant: Instant::now(),
        };
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        terminal
            .draw(|frame| draw(frame, &scene, &mut TableState::default()))
            .unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| {
            (0..size.0)
                .map(|x| buffer[(x, y)].symbol())
                .collect::<String>()
        };
        (0..size.1).map(|y| line(y).trim_end().to_owned()).collect()
    }

    fn check(lines: &[String], expected: &[&str]) {
        let text = lines.join("\n");
        for part in expected {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
    }

    fn some() -> (Tasks, Cluster) {
        let (mut tasks, mut cluster) = (Tasks::new(10), Cluster::default());
        cluster.hear(&heartbeat("w1@host"), Instant::now());
        let more = r#"{"name": "mail.send", "args": "('a',)", "kwargs": "{}"}"#;
        tasks.hear(&event(
            "0a8a3b9e-7c1e-4c83-b5f1-6a2a1d1f0c11",
            "received",
            5.0,
            more,
        ));
        tasks.hear(&event(
            "0a8a3b9e-7c1e-4c83-b5f1-6a2a1d1f0c11",
            "started",
            7.5,
            "{}",
        ));
        tasks.hear(&event("bb", "started", 5.9877, "{}"));
        let more = r#"{"name": "t.\u001b[2J", "traceback": "Traceback:\n  line"}"#;
        tasks.hear(&event("bb", "failed", 6.0, more));
        (tasks, cluster)
    }

    #[test]
    fn nodes_and_tasks_are_tables() {
        let (tasks, cluster) = some();
        let lines = screen(&View::default(), &tasks, &cluster, (130, 20));
        check(
            &lines,
            &[
                "Nodes: 1 online of 1   Events: 1,234",
                "online  2        31         0.50   py-celery 5.7.0",
                "Tasks: 2",
                "0a8a3b9e-7c1e-4c83-b5f1-6a2a1d1f0c11 mail.send",
                "STARTED    2.50 s",
                "FAILURE    12.3 ms",
                "t.\\u{1b}[2J",
                "q quit",
            ],
        );
        let narrow = screen(&View::default(), &tasks, &cluster, (80, 20));
        check(&narrow, &["0a8a3b9e… mail.send"]);
    }

    #[test]
    fn a_task_is_shown_as_a_whole() {
        let (tasks, cluster) = some();
        let view = View {
            mode: Mode::Details(0),
            chosen: Some("bb".to_owned()),
            ..View::default()
        };
        let lines = screen(&view, &tasks, &cluster, (100, 24));
        check(
            &lines,
            &[
                "uuid        bb",
                "state       FAILURE",
                "traceback",
                "│Traceback:",
                "│  line",
            ],
        );
        let gone = View {
            chosen: Some("other".to_owned()),
            ..view
        };
        check(
            &screen(&gone, &tasks, &cluster, (100, 24)),
            &["not remembered"],
        );
    }

    #[test]
    fn the_last_line_says_what_keys_do() {
        let (tasks, cluster) = some();
        let last = |mode, filter: &str, message: &str| {
            let view = View {
                mode,
                chosen: Some("bb".to_owned()),
                filter: filter.to_owned(),
                message: message.to_owned(),
            };
            screen(&view, &tasks, &cluster, (100, 24)).pop().unwrap()
        };
        let check = |line: String, expected: &str| assert!(line.contains(expected), "{line}");
        check(last(Mode::Filter, "mail", ""), "/mail█");
        check(
            last(Mode::Terminate { details: true }, "", ""),
            "End the task bb with SIGTERM? y/N",
        );
        check(last(Mode::Details(3), "", ""), "esc back");
        check(last(Mode::List, "", "revoked bb"), "revoked bb");
    }

    #[test]
    fn an_empty_or_a_tiny_screen_is_no_trouble() {
        let (tasks, cluster) = (Tasks::new(1), Cluster::default());
        let lines = screen(&View::default(), &tasks, &cluster, (100, 12));
        check(&lines, &["No heartbeat", "No task heard of yet"]);
        let (tasks, cluster) = some();
        for size in [(1, 1), (5, 2), (20, 6)] {
            for mode in [Mode::List, Mode::Details(60_000), Mode::Filter] {
                let view = View {
                    mode,
                    chosen: Some("bb".to_owned()),
                    ..View::default()
                };
                screen(&view, &tasks, &cluster, size);
            }
        }
    }

    #[test]
    fn many_nodes_leave_room_for_tasks() {
        let (tasks, mut cluster) = some();
        for number in 0..100 {
            cluster.hear(&heartbeat(&format!("n{number}@host")), Instant::now());
        }
        let lines = screen(&View::default(), &tasks, &cluster, (130, 30));
        check(&lines, &["101 online of 101", "mail.send"]);
    }
}
