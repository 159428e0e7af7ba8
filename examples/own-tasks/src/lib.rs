//! Tasks of one's own, with state of their own. The binary beside it runs them, `reception` sends them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use celery::error::TaskError;
use celery::task::TaskResult;
use lovage::canvas::{Canvas, Complete, One, group_of};
use lovage::{Module, State, chain};

/// What the tasks share: how often each guest was here. A database pool or a mailer would stand here in earnest.
#[derive(Debug, Default)]
pub struct GuestBook(Mutex<HashMap<String, u32>>);

impl GuestBook {
    fn sign(&self, name: &str) -> u32 {
        let mut visits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = visits.entry(name.to_owned()).or_default();
        *count += 1;
        *count
    }
}

/// Greets a guest, and knows who has been here before.
#[lovage::task(name = "hotel.greet")]
pub async fn greet(
    book: State<GuestBook>,
    name: String,
    #[default = "Welcome"] greeting: String,
) -> TaskResult<String> {
    Ok(match book.sign(&name) {
        1 => format!("{greeting}, {name}!"),
        visit => format!("{greeting} back, {name}! This is visit {visit}."),
    })
}

/// Sums up a stay. A plain `fn` may block: it runs on a thread of its own kind.
#[lovage::task(name = "hotel.bill")]
pub fn bill(
    nights: u32,
    /// Price of a night.
    #[default = 90.0]
    price: f64,
) -> TaskResult<f64> {
    if nights == 0 {
        return Err(TaskError::UnexpectedError(
            "nobody stays for no night".to_owned(),
        ));
    }
    Ok(f64::from(nights) * price)
}

/// Adds up bills.
#[lovage::task(name = "hotel.total")]
pub fn total(bills: Vec<f64>) -> TaskResult<f64> {
    Ok(bills.iter().sum())
}

/// Writes an invoice.
#[lovage::task(name = "hotel.invoice")]
pub fn invoice(amount: f64, company: String) -> TaskResult<String> {
    Ok(format!("{company} owes {amount:.2}"))
}

/// Lays the tables. Beat sends it every morning by the hotel's clocks; after eight nobody needs it any more.
#[lovage::task(
    name = "hotel.breakfast",
    schedule(
        crontab = "30 6 * * *",
        timezone = "Europe/Zurich",
        args(40),
        expires = "90m"
    )
)]
pub fn breakfast(guests: u32, #[default = 4] seats: u32) -> TaskResult<String> {
    let tables = guests.div_ceil(seats.max(1));
    Ok(format!("{tables} tables are laid"))
}

/// What a company owes for its guests: their stays are billed side by side, the bills added up, the sum invoiced.
pub fn company_invoice(
    company: &str,
    nights: impl IntoIterator<Item = u32>,
) -> Canvas<Complete, One<String>> {
    let stays = group_of(nights.into_iter().map(|nights| bill::s(nights, 90.0)));
    chain![
        stays,
        total::partial(),
        invoice::partial(company.to_owned())
    ]
}

/// Everything that a worker needs to run them.
pub fn hotel() -> Module {
    Module::new("hotel")
        .state(GuestBook::default())
        .task::<greet>()
        .task::<bill>()
        .task::<total>()
        .task::<invoice>()
        .task::<breakfast>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_are_tested_by_calling_them() {
        let book = State::new(GuestBook::default());
        let greeted = |book| greet(book, "Ada".to_owned(), "Hello".to_owned());
        assert_eq!(greeted(book.clone()).await.unwrap(), "Hello, Ada!");
        assert_eq!(
            greeted(book).await.unwrap(),
            "Hello back, Ada! This is visit 2."
        );
        assert!(bill(0, 90.0).is_err());
        assert_eq!(breakfast(41, 4).unwrap(), "11 tables are laid");
    }

    #[test]
    fn breakfast_has_its_time() {
        let hotel = hotel();
        let fields = hotel.schedules()[0].fields();
        assert_eq!(fields["name"], "hotel.breakfast");
        assert_eq!(fields["task"], "hotel.breakfast");
        assert_eq!(fields["crontab"], "30 6 * * *");
        assert_eq!(fields["args"][0], 40);
    }
}
