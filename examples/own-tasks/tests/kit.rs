//! The tasks with everything around them, in this process: retries, delays, what is sent. No server, no sleeping.

use std::time::Duration;

use lovage::testing::Harness;
use own_tasks::{bill, company_invoice, greet, hotel};

#[tokio::test]
async fn a_guest_is_known_on_the_second_visit() {
    let harness = Harness::start(hotel()).await.unwrap();
    let greeting = |name: &str| greet::new(name.to_owned(), "Hello".to_owned());
    assert_eq!(harness.call(greeting("Ada")).await.unwrap(), "Hello, Ada!");
    assert_eq!(
        harness.call(greeting("Ada")).await.unwrap(),
        "Hello back, Ada! This is visit 2."
    );
}

#[tokio::test]
async fn nobody_is_billed_for_no_night() {
    let harness = Harness::start(hotel()).await.unwrap();
    let refused = harness.call(bill::new(0, 90.0)).await.unwrap_err();
    assert_eq!(
        refused.failure(),
        Some(("UnexpectedError", "nobody stays for no night"))
    );
}

#[tokio::test]
async fn the_bill_of_tomorrow_comes_tomorrow() {
    let harness = Harness::start(hotel()).await.unwrap();
    let day = Duration::from_secs(24 * 3600);
    let call = harness.client().send(bill::new(3, 90.0)).countdown(day);
    let tomorrow = call.await.unwrap();
    let sent = &harness.sent::<bill>()[0];
    assert_eq!(sent.argument("nights"), Some(3));
    assert_eq!(sent.eta, Some(harness.now() + day));

    harness.run_for(day / 2).await.unwrap();
    assert_eq!(harness.result(&tomorrow).await.unwrap(), None);
    harness.run_for(day / 2).await.unwrap();
    assert_eq!(harness.result(&tomorrow).await.unwrap(), Some(270.0));
}

#[tokio::test]
async fn a_company_gets_one_invoice_for_all_its_guests() {
    let harness = Harness::start(hotel()).await.unwrap();
    let sent = harness
        .client()
        .apply_async(company_invoice("Analytical", [3, 2, 2]))
        .await
        .unwrap();
    harness.run_until_idle().await.unwrap();
    assert_eq!(harness.sent::<bill>().len(), 3);
    let invoice = harness.result(&sent).await.unwrap();
    assert_eq!(invoice.as_deref(), Some("Analytical owes 630.00"));
}
