//! Flower's pages as a person sees them, in a real browser.

use lovage_integration_tests::{Fleet, eventually};
use serde_json::json;

use super::Watched;
use super::browser::Browser;
use crate::control::send_sleeps;

in_each_fleet!(a_person_sees_workers_and_tasks);

/// What every finished task shows, in the words of its page.
const FIELDS: [&str; 12] = [
    "Name",
    "UUID",
    "Status",
    "Arguments",
    "Keyword arguments",
    "Result",
    "Received",
    "Started",
    "Succeeded",
    "Runtime",
    "Worker",
    "Timestamp",
];

struct Tour {
    fleet: &'static str,
    browser: Browser,
    watched: Watched,
}

fn a_person_sees_workers_and_tasks(fleet: Fleet) {
    let watched = Watched::with(fleet, |peer| peer.events().flag("--heartbeat-interval=1"));
    let fleet = match fleet {
        Fleet::Lovage => "lovage-prefork",
        Fleet::LovageAsync => "lovage-async",
        Fleet::Python => "python",
        Fleet::Both => "both",
    };
    let mut tour = Tour {
        fleet,
        browser: Browser::start(),
        watched,
    };
    let workers = tour.watched.each();
    let mut done = Vec::new();
    for (node, queue) in &workers {
        let options = json!({"kwargs": {"x": 2, "y": 3}});
        done.push(
            tour.watched
                .cast
                .send(queue, "demo.add", &json!([]), &options),
        );
        let failed = tour
            .watched
            .cast
            .send(queue, "demo.fail", &json!(["it broke"]), &json!({}));
        tour.watched.task(&failed, "FAILURE");
        tour.watched.task(&done[done.len() - 1], "SUCCESS");
        tour.worker_page(node, queue);
    }
    tour.workers_page();
    tour.tasks_page();
    for ((node, _), id) in workers.iter().zip(&done) {
        tour.task_page(node, id);
    }
    tour.broker_page();
}

impl Tour {
    fn open(&self, path: &str) {
        self.browser.open(&self.watched.flower.page(path));
    }

    fn picture(&self, name: &str) {
        self.browser.picture(&format!("{}-{name}", self.fleet));
    }

    fn workers_page(&self) {
        self.open("/");
        for (node, _) in self.watched.each() {
            // Rows come by script, with the name as a link.
            self.browser
                .wait_for("#workers-table tbody", &node, |table| {
                    table.lines().any(|line| line.contains(&node)) && table.contains("Online")
                });
        }
        let workers = self.watched.each().len();
        self.browser
            .wait_for_text("#workers-online", &workers.to_string());
        self.browser
            .wait_for_text("#workers-succeeded", &workers.to_string());
        self.browser
            .wait_for_text("#workers-failed", &workers.to_string());
        // Two sleeps each.
        self.browser
            .wait_for_text("#workers-active", &(2 * workers).to_string());
        self.picture("workers");
    }

    fn worker_page(&mut self, node: &str, queue: &str) {
        let options = json!({"countdown": 3600});
        let cast = &mut self.watched.cast;
        let late = cast.send(queue, "demo.add", &json!([2, 3]), &options);
        cast.ask_until(node, "scheduled", |held| held != &json!([]));
        let running = send_sleeps(cast, queue, 60.0, 3);
        cast.wait_for_active(node, 2);
        self.watched
            .cast
            .ask(node, "revoke", &json!({"task_id": ["one-revoked"]}));
        self.watched.worker(node);
        self.open(&format!("/worker/{node}"));
        let port = self.watched.cast.redis.port().to_string();
        let short = &late[..8];
        let tabs: [(&str, Vec<&str>); 8] = [
            (
                "pool",
                vec![
                    "Worker pool options",
                    "Max concurrency",
                    "Implementation",
                    "Prefetch count",
                    "Pool controls",
                ],
            ),
            ("broker", vec!["127.0.0.1", &port, "redis", "Virtual host"]),
            ("queues", vec![queue, "False", "True"]),
            (
                "tasks",
                vec!["demo.sleep", "demo.add", "one-revoked", short, "60"],
            ),
            ("limits", vec!["demo.add", "demo.sleep", "Rate limit"]),
            ("config", vec!["broker_url", "result_backend"]),
            ("system", vec!["utime", "maxrss", "nvcsw"]),
            ("other", vec!["uptime"]),
        ];
        let name = node.split('@').next().unwrap_or(node);
        for (tab, parts) in &tabs {
            self.browser.click(&format!("#worker-tab-{tab}"));
            let pane = format!("#tab-{tab}");
            self.browser.wait_until_shown(&pane);
            for part in parts {
                let part = part.to_lowercase();
                self.browser
                    .wait_for(&pane, &part, |text| text.to_lowercase().contains(&part));
            }
            self.picture(&format!("{name}-{tab}"));
        }
        assert_eq!(self.browser.text("#workername"), node);
        // A button answers in words.
        self.browser.click("#worker-tab-pool");
        self.browser.wait_for_text("#tab-pool", "Grow");
        self.browser.click("#worker-pool-grow");
        self.browser
            .wait_for_text("body", &format!("Growing '{node}' worker's pool by 1"));
        self.watched.cast.wait_for_active(node, 3);
        self.watched.cast.ask(
            node,
            "terminate",
            &json!({"signal": "KILL", "task_id": [running[0]]}),
        );
        self.watched.cast.wait_for_active(node, 2);
    }

    fn tasks_page(&self) {
        self.open("/tasks");
        let rows = "#tasks-table tbody tr";
        let count = |wanted: usize| {
            self.browser
                .wait_for("#tasks-table tbody", "the rows", |_| {
                    self.browser.texts(rows).len() == wanted
                });
        };
        let workers = self.watched.each().len();
        // One that succeeded, one that failed, three that sleep or are over, one that waits.
        count(6 * workers);
        self.picture("tasks");
        self.browser.click("th[data-column=name]");
        let names = |wanted: &[&str]| {
            self.browser
                .wait_for("#tasks-table tbody", "the order", |_| {
                    let names: Vec<String> =
                        self.browser.texts("#tasks-table tbody tr td:first-child");
                    names.first().is_some_and(|name| name.contains(wanted[0]))
                        && names.last().is_some_and(|name| name.contains(wanted[1]))
                });
        };
        names(&["demo.add", "demo.sleep"]);
        self.browser.click("th[data-column=name]");
        names(&["demo.sleep", "demo.add"]);
        self.browser.click("button[data-task-state=FAILURE]");
        count(workers);
        self.browser
            .wait_for_text("#tasks-table tbody", "demo.fail");
        self.browser.click("button[data-task-state='']");
        count(6 * workers);
        self.browser.enter("input[type=search]", "kwargs:x=2");
        count(workers);
        self.browser.wait_for_text("#tasks-table tbody", "demo.add");
        self.picture("tasks-found");
    }

    fn task_page(&self, node: &str, id: &str) {
        self.open(&format!("/task/{id}"));
        let shown = self.browser.texts(".detail-row dt");
        for field in FIELDS {
            assert!(
                shown.iter().any(|name| name.eq_ignore_ascii_case(field)),
                "{field} is missing: {shown:?}"
            );
        }
        let page = self.browser.text("#task-page");
        for part in [
            id,
            "demo.add",
            "SUCCESS",
            "()",
            "{'x': 2, 'y': 3}",
            "5",
            node,
        ] {
            assert!(page.contains(part), "{part} is missing:\n{page}");
        }
        let name = node.split('@').next().unwrap_or(node);
        self.picture(&format!("{name}-task"));
    }

    fn broker_page(&mut self) {
        let workers = self.watched.each();
        for (_, queue) in &workers {
            // More than a busy worker takes up, of two priorities.
            for priority in [0, 9] {
                for _ in 0..20 {
                    let options = json!({"priority": priority});
                    self.watched
                        .cast
                        .send(queue, "demo.sleep", &json!([60]), &options);
                }
            }
        }
        let depth = |queue: &str| {
            let lists = ["", "\u{6}\u{16}3", "\u{6}\u{16}6", "\u{6}\u{16}9"];
            let depth = |list: &&str| self.watched.cast.redis.depth(&format!("{queue}{list}"));
            lists.iter().map(depth).sum::<usize>()
        };
        for (_, queue) in &workers {
            eventually("the worker to have taken up what it may", || {
                depth(queue) < 40
            });
        }
        let row = |queue: &str| format!("#queue-table tr[id='{queue}'] td");
        for (_, queue) in &workers {
            eventually("the depth of the queue", || {
                self.open("/broker");
                let wanted = depth(queue);
                let cells = self.browser.texts(&row(queue));
                wanted > 0
                    && cells.first() == Some(queue)
                    && cells.get(1) == Some(&wanted.to_string())
            });
        }
        self.picture("broker");
    }
}
