//! Whether a message that is there already is within a key's reach: its task, its queue, and every task that hangs on it.

use lovage_client::canvas;
use lovage_protocol::{DecodeOptions, Embed, Message, Signature};

use crate::{
    auth::Identity,
    problem::{Code, Problem},
};

/// Refuses a message that the caller's key is not for. What cannot be read is nobody's whose key is limited.
///
/// # Errors
/// What is out of reach.
pub(crate) fn require_message(caller: &Identity, queue: &str, raw: &[u8]) -> Result<(), Problem> {
    if !caller.is_limited() {
        return Ok(());
    }
    caller.require_queue(queue)?;
    let unreadable = || {
        Problem::new(
            Code::OutOfReach,
            "the message cannot be read, so it cannot be told whether the key is for it",
        )
    };
    let message = Message::parse(raw).map_err(|_| unreadable())?;
    let body = message
        .decode_body(&DecodeOptions::default())
        .map_err(|_| unreadable())?;
    caller.require_task(message.headers.task.as_str())?;
    for signature in hanging(&body.embed).map_err(|_| unreadable())? {
        require_signature(caller, &signature)?;
    }
    Ok(())
}

fn hanging(embed: &Embed) -> Result<Vec<Signature>, lovage_protocol::SignatureError> {
    let mut all = embed.callbacks()?;
    all.extend(embed.errbacks()?);
    all.extend(embed.chain()?);
    all.extend(embed.chord()?);
    Ok(all)
}

/// A signature and everything in it.
fn require_signature(caller: &Identity, signature: &Signature) -> Result<(), Problem> {
    let unreadable = |error: lovage_protocol::SignatureError| {
        Problem::new(
            Code::OutOfReach,
            format!("what hangs on it cannot be read: {error}"),
        )
    };
    match signature.subtask_type.as_deref() {
        Some("chain" | "group") => {
            for part in canvas::subtasks(signature).map_err(unreadable)? {
                require_signature(caller, &part)?;
            }
        }
        Some("chord") => {
            let (header, body) = canvas::chord_parts(signature).map_err(unreadable)?;
            for part in header.members.iter().chain([&body]) {
                require_signature(caller, part)?;
            }
        }
        _ => caller.require_task(signature.task.as_str())?,
    }
    if let Some(queue) = canvas::given(signature, "queue").and_then(|queue| queue.as_str()) {
        caller.require_queue(queue)?;
    }
    for option in ["link", "link_error", "chain", "chord"] {
        for part in canvas::listed(signature, option) {
            require_signature(caller, &part)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lovage_protocol::{Body, Headers, Map, Properties, TaskId, TaskName};
    use uuid::Uuid;

    use super::*;
    use crate::auth::{Key, Reach, Role};

    fn caller(tasks: &[&str]) -> Identity {
        let reach = |patterns: &[&str]| {
            Reach::new(patterns.iter().map(|one| (*one).to_owned()).collect()).unwrap()
        };
        Identity {
            user: Uuid::nil(),
            email: "ada@example.org".to_owned(),
            role: Role::Admin,
            session: None,
            key: Some(Key {
                id: Uuid::nil(),
                permissions: Vec::new(),
                tasks: reach(tasks),
                queues: reach(&["celery"]),
            }),
        }
    }

    fn message(link: Signature) -> Vec<u8> {
        let id = TaskId::new();
        let mut body = Body::new(Vec::new(), Map::new());
        body.embed = Embed::default().with_callbacks(&[link]);
        let headers = Headers::new(TaskName::from("mail.send"), id.clone());
        Message::new(headers, Properties::new(id.as_str(), "celery"), &body).to_json()
    }

    #[test]
    fn globs_hold_for_everything_that_hangs_on_a_message() {
        let task = |name: &str| Signature::new(name, Vec::new(), Map::new());
        let nested = canvas::chain([task("mail.note"), canvas::group([task("pay.now")])]);
        let raw = message(nested);
        let check = |tasks: &[&str], queue: &str| {
            let checked = require_message(&caller(tasks), queue, &raw);
            checked.map_err(|problem| problem.detail().to_owned())
        };
        assert_eq!(check(&["mail.*", "pay.*"], "celery"), Ok(()));
        assert!(
            check(&["mail.*"], "celery")
                .unwrap_err()
                .contains("pay.now")
        );
        assert!(
            check(&["pay.*"], "celery")
                .unwrap_err()
                .contains("mail.send")
        );
        assert!(check(&["*"], "other").unwrap_err().contains("other"));
        assert!(require_message(&caller(&["*"]), "celery", b"?").is_err());
    }
}
