//! `shop.price`, moved from `shop/tasks.py` to Rust. Who sends it need not know: the same arguments give the same results and
//! raise the same exceptions.

use celery::task::TaskResult;
use lovage::protocol::{ExceptionInfo, Value};
use lovage::schemars::{self, JsonSchema};
use lovage::{Module, State, signal};
use serde::{Deserialize, Serialize};

/// What an article costs, in cents. A database pool would stand here in earnest.
#[derive(Debug)]
pub struct Prices(pub Vec<(&'static str, u32)>);

impl Prices {
    fn of(&self, article: &str) -> Option<u32> {
        let mut known = self.0.iter();
        known.find_map(|(name, cents)| (*name == article).then_some(*cents))
    }
}

/// One line of an order; in Python a dictionary.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Which article.
    pub article: String,
    /// How many of it.
    pub quantity: u32,
}

/// Adds up an order, in cents.
#[lovage::task(name = "shop.price", queue = "rust")]
pub async fn price(
    prices: State<Prices>,
    lines: Vec<Line>,
    /// A part of the whole, such as 0.1.
    #[default = 0.0]
    discount: f64,
) -> TaskResult<i64> {
    if lines.is_empty() {
        return Err(signal::raise("ValueError", "an order has a line or more"));
    }
    let mut total = 0.0;
    for line in &lines {
        let Some(cents) = prices.of(&line.article) else {
            // The class is Python's own: whoever catches it there goes on doing so.
            let arguments = vec![Value::from(line.article.as_str())];
            let unknown = ExceptionInfo::new("shop.errors", "UnknownArticle", arguments);
            return Err(signal::raise_exception(unknown));
        };
        total += f64::from(line.quantity) * f64::from(cents);
    }
    // As Python's round: half a cent goes to the even side.
    let cents = (total * (1.0 - discount)).round_ties_even();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a whole number of cents, and far from the end of i64"
    )]
    let cents = cents as i64;
    Ok(cents)
}

/// Everything that a worker needs to run them.
pub fn shop() -> Module {
    let prices = Prices(vec![("mug", 1250), ("tea", 695)]);
    Module::new("shop").state(prices).task::<price>()
}
