//! The live view as data: what is chosen and shown, and what keys make of it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::tasks::{Task, Tasks};

/// Rows that page up and page down go.
const PAGE: usize = 10;

/// What the view shows of what is known.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) mode: Mode,
    /// The id of the chosen task. The list moves under it.
    pub(super) chosen: Option<String>,
    /// Only tasks that mention it are listed.
    pub(super) filter: String,
    /// What the last deed came to.
    pub(super) message: String,
}

/// What keys are for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The list of tasks.
    #[default]
    List,
    /// The chosen task as a whole, from that line on.
    Details(u16),
    /// A filter is written.
    Filter,
    /// Whether the chosen task is to be ended; afterwards details are shown again, if they were.
    Terminate { details: bool },
}

/// What is to be done outside of the view.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Quit,
    Revoke(String),
    Terminate(String),
    EnableEvents,
}

impl View {
    /// The tasks that are listed, the newest first.
    pub(super) fn listed<'a>(&self, tasks: &'a Tasks) -> Vec<&'a Task> {
        let wanted = self.filter.to_lowercase();
        let all = tasks.newest();
        all.filter(|task| wanted.is_empty() || task.mentions(&wanted))
            .collect()
    }

    /// Takes in a key.
    pub(super) fn press(&mut self, key: KeyEvent, tasks: &Tasks) -> Option<Deed> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return (key.code == KeyCode::Char('c')).then_some(Deed::Quit);
        }
        self.message.clear();
        match self.mode {
            Mode::List => self.press_in_list(key.code, tasks),
            Mode::Details(line) => self.press_in_details(key.code, line, tasks),
            Mode::Filter => {
                self.press_in_filter(key.code);
                None
            }
            Mode::Terminate { details } => {
                self.mode = if details {
                    Mode::Details(0)
                } else {
                    Mode::List
                };
                let yes = matches!(key.code, KeyCode::Char('y' | 'Y'));
                yes.then(|| self.chosen.clone().map(Deed::Terminate))?
            }
        }
    }

    fn press_in_list(&mut self, code: KeyCode, tasks: &Tasks) -> Option<Deed> {
        match code {
            KeyCode::Char('q') => return Some(Deed::Quit),
            KeyCode::Down | KeyCode::Char('j') => self.choose(tasks, |at| at + 1),
            KeyCode::Up | KeyCode::Char('k') => self.choose(tasks, |at| at.saturating_sub(1)),
            KeyCode::PageDown => self.choose(tasks, |at| at + PAGE),
            KeyCode::PageUp => self.choose(tasks, |at| at.saturating_sub(PAGE)),
            KeyCode::Home | KeyCode::Char('g') => self.choose(tasks, |_| 0),
            KeyCode::End | KeyCode::Char('G') => self.choose(tasks, |_| usize::MAX),
            KeyCode::Enter | KeyCode::Char('i') => {
                if self.task(tasks).is_none() {
                    self.choose(tasks, |_| 0);
                }
                if self.task(tasks).is_some() {
                    self.mode = Mode::Details(0);
                }
            }
            KeyCode::Char('/') => self.mode = Mode::Filter,
            // Back to how it began: everything, nothing chosen.
            KeyCode::Esc => {
                self.filter.clear();
                self.chosen = None;
            }
            other => return self.press_anywhere(other, tasks),
        }
        None
    }

    fn press_in_details(&mut self, code: KeyCode, line: u16, tasks: &Tasks) -> Option<Deed> {
        let go = |line| Mode::Details(line);
        match code {
            KeyCode::Char('q' | 'i') | KeyCode::Enter | KeyCode::Esc => self.mode = Mode::List,
            KeyCode::Down | KeyCode::Char('j') => self.mode = go(line.saturating_add(1)),
            KeyCode::Up | KeyCode::Char('k') => self.mode = go(line.saturating_sub(1)),
            KeyCode::PageDown => self.mode = go(line.saturating_add(10)),
            KeyCode::PageUp => self.mode = go(line.saturating_sub(10)),
            other => return self.press_anywhere(other, tasks),
        }
        None
    }

    fn press_in_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.mode = Mode::List,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::List;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => {}
        }
    }

    /// Keys that mean the same in the list and in details.
    fn press_anywhere(&mut self, code: KeyCode, tasks: &Tasks) -> Option<Deed> {
        match code {
            KeyCode::Char('e') => Some(Deed::EnableEvents),
            KeyCode::Char('r' | 't') => {
                // What merely stands on top may be another one in a moment.
                let Some(task) = self.task(tasks) else {
                    "choose a task first".clone_into(&mut self.message);
                    return None;
                };
                if code == KeyCode::Char('r') {
                    return Some(Deed::Revoke(task.id.clone()));
                }
                let details = matches!(self.mode, Mode::Details(_));
                self.mode = Mode::Terminate { details };
                None
            }
            _ => None,
        }
    }

    /// The chosen task, as long as it is remembered.
    pub(super) fn task<'a>(&self, tasks: &'a Tasks) -> Option<&'a Task> {
        tasks.get(self.chosen.as_deref()?)
    }

    /// Moves the choice; the first move chooses the top one.
    fn choose(&mut self, tasks: &Tasks, go: impl Fn(usize) -> usize) {
        let listed = self.listed(tasks);
        let at = listed
            .iter()
            .position(|task| Some(&task.id) == self.chosen.as_ref());
        let to = at.map_or_else(|| if go(0) == usize::MAX { usize::MAX } else { 0 }, &go);
        let last = listed.len().saturating_sub(1);
        self.chosen = listed.get(to.min(last)).map(|task| task.id.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::events::tasks::tests::event;

    fn three() -> Tasks {
        let mut tasks = Tasks::new(10);
        for id in ["a", "b", "c"] {
            let more = format!(r#"{{"name": "t.{id}"}}"#);
            tasks.hear(&event(id, "received", 1.0, &more));
        }
        tasks
    }

    fn press(view: &mut View, tasks: &Tasks, codes: &[KeyCode]) -> Option<Deed> {
        let mut deed = None;
        for code in codes {
            deed = view.press(KeyEvent::from(*code), tasks);
        }
        deed
    }

    const DOWN: KeyCode = KeyCode::Down;
    const UP: KeyCode = KeyCode::Char('k');

    #[test]
    fn the_choice_stays_on_its_task_while_the_list_moves() {
        let (mut view, mut tasks) = (View::default(), three());
        let mut check = |tasks: &Tasks, codes: &[KeyCode], expected: Option<&str>| {
            press(&mut view, tasks, codes);
            assert_eq!(view.chosen.as_deref(), expected, "{codes:?}");
        };
        check(&tasks, &[], None);
        check(&tasks, &[DOWN], Some("c"));
        check(&tasks, &[DOWN], Some("b"));
        check(&tasks, &[DOWN, DOWN, DOWN], Some("a"));
        check(&tasks, &[UP], Some("b"));
        check(&tasks, &[KeyCode::PageUp], Some("c"));
        check(&tasks, &[KeyCode::End], Some("a"));
        check(&tasks, &[KeyCode::Home], Some("c"));
        tasks.hear(&event("d", "received", 2.0, "{}"));
        check(&tasks, &[], Some("c"));
        check(&tasks, &[UP], Some("d"));
        check(&tasks, &[KeyCode::Esc], None);
        check(&tasks, &[KeyCode::Char('G')], Some("a"));
        check(&Tasks::new(1), &[DOWN], None);
    }

    #[test]
    fn a_filter_is_written_kept_and_dropped() {
        let (mut view, tasks) = (View::default(), three());
        let listed = |view: &View| -> Vec<String> {
            let listed = view.listed(&tasks);
            listed.iter().map(|task| task.id.clone()).collect()
        };
        let word = [
            KeyCode::Char('/'),
            KeyCode::Char('T'),
            KeyCode::Char('.'),
            KeyCode::Char('x'),
        ];
        assert_eq!(press(&mut view, &tasks, &word), None);
        assert!(listed(&view).is_empty());
        // In a filter, letters are letters.
        press(&mut view, &tasks, &[KeyCode::Backspace, KeyCode::Char('b')]);
        assert_eq!(
            (view.mode, listed(&view)),
            (Mode::Filter, vec!["b".to_owned()])
        );
        press(&mut view, &tasks, &[KeyCode::Enter, DOWN]);
        assert_eq!((view.mode, view.chosen.as_deref()), (Mode::List, Some("b")));
        press(&mut view, &tasks, &[KeyCode::Esc]);
        assert_eq!(listed(&view).len(), 3);
    }

    #[test]
    fn deeds_need_a_choice_and_ending_a_task_a_yes() {
        let (mut view, tasks) = (View::default(), three());
        let key = KeyCode::Char;
        assert_eq!(press(&mut view, &tasks, &[key('r')]), None);
        assert_eq!(view.message, "choose a task first");
        assert_eq!(press(&mut view, &tasks, &[key('t'), key('y')]), None);
        let revoke = press(&mut view, &tasks, &[DOWN, key('r')]);
        assert_eq!(revoke, Some(Deed::Revoke("c".to_owned())));
        assert_eq!(press(&mut view, &tasks, &[key('t')]), None);
        assert_eq!(view.mode, Mode::Terminate { details: false });
        assert_eq!(press(&mut view, &tasks, &[key('n')]), None);
        assert_eq!(view.mode, Mode::List);
        let terminate = press(&mut view, &tasks, &[key('t'), key('y')]);
        assert_eq!(terminate, Some(Deed::Terminate("c".to_owned())));
        assert_eq!(
            press(&mut view, &tasks, &[key('e')]),
            Some(Deed::EnableEvents)
        );
        assert_eq!(press(&mut view, &tasks, &[key('q')]), Some(Deed::Quit));
    }

    #[test]
    fn details_open_scroll_and_close() {
        let (mut view, tasks) = (View::default(), three());
        press(&mut view, &tasks, &[KeyCode::Enter, DOWN, DOWN, UP]);
        assert_eq!(
            (view.mode, view.chosen.as_deref()),
            (Mode::Details(1), Some("c"))
        );
        let terminate = press(&mut view, &tasks, &[KeyCode::Char('t'), KeyCode::Char('y')]);
        assert_eq!(terminate, Some(Deed::Terminate("c".to_owned())));
        assert_eq!(view.mode, Mode::Details(0));
        assert_eq!(press(&mut view, &tasks, &[KeyCode::Char('q')]), None);
        assert_eq!(view.mode, Mode::List);
        let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(view.press(ctrl_c, &tasks), Some(Deed::Quit));
    }
}
