//! What a panic said and where: the hook notes the place, the handler takes it into the task's failure.

use std::{any::Any, cell::RefCell, panic, sync::Once};

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs the hook once: inside a task a panic is noted instead of printed, elsewhere the former hook is called.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let former = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if crate::context::current().is_some() {
                PLACE.with_borrow_mut(|place| *place = info.location().map(ToString::to_string));
            } else {
                former(info);
            }
        }));
    });
}

/// One line for the task's failure. To be called on the thread that panicked.
pub(crate) fn describe(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".to_owned());
    match PLACE.with_borrow_mut(Option::take) {
        Some(place) => format!("panicked at {place}: {text}"),
        None => format!("panicked: {text}"),
    }
}
