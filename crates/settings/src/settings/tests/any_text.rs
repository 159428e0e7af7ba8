//! Whatever is set, it is read or told.

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use crate::{BrokerUrl, Settings, documented};

/// Text that is likely to get somewhere: whole values, pieces of them, and anything at all.
fn value() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("redis://"),
        Just("redis+socket:///"),
        Just("sentinel://"),
        Just("@"),
        Just(":"),
        Just("/"),
        Just(";"),
        Just("?db="),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just("\""),
        Just("%"),
        Just("%ff"),
        Just("re:("),
        Just("10"),
        Just("ms"),
        Just("MiB"),
        Just("1e308"),
        Just("-"),
        Just("."),
        Just("é"),
        Just(","),
        Just("="),
        Just(r#"{"a.*":{"queue":"q","priority":1}}"#),
        Just(r#"{"visibility_timeout":1e400}"#),
        Just("info,x=debug"),
    ];
    prop_oneof![
        any::<String>(),
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat()),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
    ]
}

proptest! {
    #[test]
    fn no_text_of_any_variable_panics(values in prop::collection::vec(value(), documented().len()), name in any::<String>()) {
        let names = documented().into_iter().map(|variable| variable.name.to_owned());
        let unknown = [("CELERY_".to_owned() + &name, String::from("x")), (name, String::from("x"))];
        let outcome = Settings::from_lookup(names.zip(values.clone()).chain(unknown));
        if let Err(faults) = outcome {
            assert!(!faults.0.is_empty());
            let _printed = faults.to_string();
        }
        // One at a time too, so that one fault does not hide what comes after it.
        for (variable, value) in documented().into_iter().zip(values) {
            if let Ok((settings, _)) = Settings::from_lookup([(variable.name.to_owned(), value)]) {
                let _printed = format!("{settings:?}");
            }
        }
    }

    #[test]
    fn a_printed_url_reads_back_as_the_same_place(user in "[^\u{0}]{0,8}", host in "[a-z][a-z0-9.-]{0,8}", port in any::<u16>(), database in 0_i64..100_000) {
        let user = percent_encoding::utf8_percent_encode(&user, percent_encoding::NON_ALPHANUMERIC);
        let url = BrokerUrl::parse(&format!("redis://{user}@{host}:{port}/{database}")).unwrap();
        assert_eq!(BrokerUrl::parse(&url.to_string()).unwrap(), url);
    }
}
