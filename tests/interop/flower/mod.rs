//! Flower 2.2.0 on fleets of either kind and of both: its API, its pages, and what it makes of workers that come and go.

mod browser;
mod comings;
mod control;
mod listing;
mod measures;
mod pages;
mod running;
mod workers;

use lovage_integration_tests::peer::PeerBuilder;
use lovage_integration_tests::{Cast, Fleet, Flower};
use serde_json::Value;

/// A fleet that Flower watches. The parts end in the order of the fields.
struct Watched {
    flower: Flower,
    cast: Cast,
}

impl Watched {
    /// A fleet with task events, once Flower knows every worker.
    fn of(fleet: Fleet) -> Self {
        Self::with(fleet, PeerBuilder::events)
    }

    /// A fleet as `configure` makes it, once Flower knows every worker.
    fn with(fleet: Fleet, configure: impl Fn(PeerBuilder) -> PeerBuilder) -> Self {
        let mut cast = Cast::with(fleet, configure);
        let flower = Flower::launch(&cast.redis.port_url());
        // Meanwhile.
        cast.python.run("app.set_current()");
        let mut watched = Self { flower, cast };
        watched.flower.wait_until_ready();
        for node in watched.cast.nodes() {
            watched.wait_for_row(&node, |row| row["status"] == true);
            watched.worker(&node);
        }
        watched
    }

    /// Node and queue of each worker.
    fn each(&self) -> Vec<(String, String)> {
        crate::control::each(&self.cast)
    }

    /// What Flower knows of one worker, asked anew.
    fn worker(&self, node: &str) -> Value {
        let path = format!("/api/workers?refresh=1&workername={node}");
        let all = self
            .flower
            .get_until(&path, |all| all[node]["stats"].is_object());
        all[node].clone()
    }

    /// The row of a worker on the first page, once it is as wanted.
    fn wait_for_row(&self, node: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let row = |page: &Value| {
            let rows = page["data"].as_array().cloned().unwrap_or_default();
            rows.into_iter().find(|row| row["hostname"] == node)
        };
        let page = self.flower.get_until("/workers?json=1", |page| {
            row(page).is_some_and(|row| wanted(&row))
        });
        row(&page).unwrap_or_default()
    }

    /// What Flower knows of a task, once it is in a state.
    fn task(&self, id: &str, state: &str) -> Value {
        self.flower
            .get_until(&format!("/api/task/info/{id}"), |task| {
                task["state"] == state
            })
    }
}
