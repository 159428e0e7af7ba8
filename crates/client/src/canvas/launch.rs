//! The messages that begin a frozen canvas.

use lovage_broker::{ResultPlace, ResultWrite};
use lovage_protocol::{
    Map, Signature, SignatureError, TaskId, Value,
    composed::{chord_parts, given, leaves, link, listed, set_listed, set_subtasks, subtasks},
};

use super::{
    Plan,
    freeze::{Freezer, SEAT, Seat, flat, is_group, reference, upgrade},
    unlock,
};
use crate::{
    Client, Error,
    signature::{self, Follow},
};

/// What whoever begins a canvas adds to it.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// The task that it follows.
    pub parent_id: Option<TaskId>,
    /// The first task of the whole.
    pub root_id: Option<TaskId>,
    /// Goes before the arguments of each task that begins, unless it is immutable.
    pub prepend: Option<Value>,
    /// What comes after the whole, reversed as on the wire.
    pub chain: Vec<Signature>,
    /// The priority of the task that it follows, when it is to be inherited: it stands above those of the parts
    /// (`celery/app/trace.py`).
    pub priority: Option<i64>,
    /// The priority of the task that sends it, when it is to be inherited: for parts that have none (`celery/app/base.py`,
    /// `send_task`).
    pub default_priority: Option<i64>,
}

pub(super) fn plan(client: &Client, canvas: &Signature, start: &Start) -> Result<Plan, Error> {
    let mut canvas = canvas.clone();
    let freezer = Freezer {
        reply_to: client.composer().reply_to(),
    };
    let reference = freezer
        .freeze(&mut canvas, &Seat::default(), Value::Null)
        .map_err(|error| Error::invalid(&canvas.task, error.to_string()))?;
    let mut launch = Launch {
        client,
        freezer,
        start,
        plan: Plan {
            messages: Vec::new(),
            results: Vec::new(),
            reference: Value::Null,
            child: None,
        },
    };
    launch.send(&canvas, start.prepend.as_ref(), start.chain.clone())?;
    let mut plan = launch.plan;
    if !plan.messages.is_empty() {
        plan.reference = reference;
    }
    Ok(plan)
}

struct Launch<'a> {
    client: &'a Client,
    freezer: Freezer<'a>,
    start: &'a Start,
    plan: Plan,
}

impl Launch<'_> {
    /// Writes what begins one signature; `rest` comes after it, reversed.
    fn send(
        &mut self,
        of: &Signature,
        prepend: Option<&Value>,
        rest: Vec<Signature>,
    ) -> Result<(), Error> {
        match of.subtask_type.as_deref() {
            Some("chain") => self.send_chain(of, prepend, rest),
            Some("group") => self.send_group(of, prepend, rest),
            Some("chord") => self.send_chord(of, prepend, rest),
            _ => self.send_task(of, prepend, rest),
        }
    }

    fn send_task(
        &mut self,
        of: &Signature,
        prepend: Option<&Value>,
        mut rest: Vec<Signature>,
    ) -> Result<(), Error> {
        if !rest.is_empty() {
            // What the signature brings along itself comes first, that is, last in the list.
            rest.extend(listed(of, "chain"));
        }
        let follow = Follow {
            parent_id: self.start.parent_id.clone(),
            root_id: self.start.root_id.clone(),
            prepend: prepend.cloned(),
            chain: rest,
            group: None,
            priority: self.start.priority,
            default_priority: self.start.default_priority,
        };
        let call = signature::outgoing(of, follow)?;
        let prepared = self.client.prepare(&call)?;
        if self.plan.child.is_none() {
            self.plan.child = Some(reference(prepared.id.as_str(), Value::Null, Value::Null));
        }
        self.plan.messages.push(prepared);
        Ok(())
    }

    fn send_chain(
        &mut self,
        of: &Signature,
        prepend: Option<&Value>,
        mut rest: Vec<Signature>,
    ) -> Result<(), Error> {
        let damaged = |error: SignatureError| Error::invalid(&of.task, error.to_string());
        let mut steps = subtasks(of).map_err(damaged)?.into_iter();
        rest.extend(listed(of, "chain"));
        let Some(mut first) = steps.next() else {
            return match rest.pop() {
                Some(next) => self.send(&next, prepend, rest),
                None => Ok(()),
            };
        };
        rest.extend(steps.rev());
        hand_on(&mut first, &of.options);
        self.send(&first, prepend, rest)
    }

    fn send_group(
        &mut self,
        of: &Signature,
        prepend: Option<&Value>,
        mut rest: Vec<Signature>,
    ) -> Result<(), Error> {
        let damaged = |error: SignatureError| Error::invalid(&of.task, error.to_string());
        rest.extend(listed(of, "chain"));
        if let Some(mut chord) = upgrade(of, &mut rest).map_err(damaged)? {
            self.freezer
                .freeze(&mut chord, &Seat::default(), Value::Null)
                .map_err(damaged)?;
            return self.send(&chord, prepend, rest);
        }
        if self.plan.child.is_none() {
            let whole = self
                .freezer
                .freeze(&mut of.clone(), &Seat::default(), Value::Null);
            self.plan.child = Some(whole.map_err(damaged)?);
        }
        for mut member in subtasks(of).map_err(damaged)? {
            hand_on(&mut member, &of.options);
            for option in ["link", "link_error"] {
                let own = listed(of, option);
                // A group's own links stand in the place of those of its tasks.
                if member.subtask_type.is_none() && given(of, option).is_some() {
                    set_listed(&mut member, option, &own);
                } else {
                    link(&mut member, option, &own).map_err(damaged)?;
                }
            }
            not_a_child(&mut member);
            self.send(&member, prepend, Vec::new())?;
        }
        Ok(())
    }

    /// A chord: its header is sent, its body goes along in each of the messages, and what follows the chord in the body's
    /// options (`_chord.run`).
    fn send_chord(
        &mut self,
        of: &Signature,
        prepend: Option<&Value>,
        rest: Vec<Signature>,
    ) -> Result<(), Error> {
        let invalid = |problem: String| Error::invalid(&of.task, problem);
        let damaged = |error: SignatureError| invalid(error.to_string());
        let (header, mut body) = chord_parts(of).map_err(damaged)?;
        let group = header
            .id
            .unwrap_or_else(|| TaskId::new().as_str().to_owned());
        let delay = ["countdown", "eta"];
        for (name, value) in &of.options {
            let own = [
                "task_id",
                "parent_id",
                "chain",
                "link",
                "link_error",
                "group_id",
            ];
            let kept = own.contains(&name.as_str()) || delay.contains(&name.as_str());
            if !kept && !value.is_null() {
                body.options.insert(name.clone(), value.clone());
            }
        }
        if let Some(outer) = given(of, "group_id")
            && given(&body, "group_id").is_none()
        {
            body.options.insert("group_id".to_owned(), outer.clone());
        }
        for option in ["link", "link_error"] {
            link(&mut body, option, &listed(of, option)).map_err(damaged)?;
        }
        let mut after = rest;
        after.extend(listed(of, "chain"));
        after.extend(listed(&body, "chain"));
        if !after.is_empty() {
            set_listed(&mut body, "chain", &after);
        }
        let seat = Seat {
            id: given(of, "task_id")
                .and_then(Value::as_str)
                .map(str::to_owned),
            // What is left over of the header, as in Celery: it means nothing in a body that belongs to no other group.
            group: Some(group.clone()),
            ..Seat::default()
        };
        self.freezer
            .freeze(&mut body, &seat, Value::Null)
            .map_err(damaged)?;
        if body.subtask_type.as_deref() == Some("group") {
            // Celery's producer names the header's group in a group that is the body, and in its tasks.
            let mut members = subtasks(&body).map_err(damaged)?;
            for member in members.iter_mut().filter(|one| one.subtask_type.is_none()) {
                member
                    .options
                    .insert("group_id".to_owned(), group.as_str().into());
            }
            set_subtasks(&mut body, &members);
            body.options
                .insert("group_id".to_owned(), group.as_str().into());
        }
        let mut members = flat(header.members).map_err(damaged)?;
        if members.is_empty() {
            let nothing = Value::List(Vec::new());
            return self.send(&body, Some(&nothing), Vec::new());
        }
        let prepend = prepend.filter(|_| !of.immutable);
        let (waiting, mut size) = (body.to_value(), 0);
        let mut references = Vec::with_capacity(members.len());
        for (index, member) in (0_i64..).zip(&mut members) {
            let seat = Seat {
                id: None,
                group: Some(group.clone()),
                index: Some(index),
                chord: Some(waiting.clone()),
            };
            references.push(
                self.freezer
                    .freeze(member, &seat, Value::Null)
                    .map_err(damaged)?,
            );
            size += leaves(member).map_err(damaged)?;
            hand_on(member, &of.options);
        }
        if size == 0 {
            return Err(invalid(
                "nothing in its header would ever end it".to_owned(),
            ));
        }
        if self.plan.child.is_none() {
            self.plan.child = Some(reference(
                &group,
                Value::Null,
                Value::List(references.clone()),
            ));
        }
        self.wait_for(&group, size, references, &body)?;
        for mut member in members {
            not_a_child(&mut member);
            self.send(&member, prepend, Vec::new())?;
        }
        Ok(())
    }

    /// What will see that a header has ended: the broker that counts its parts, or a task that asks for them.
    fn wait_for(
        &mut self,
        group: &str,
        size: usize,
        members: Vec<Value>,
        body: &Signature,
    ) -> Result<(), Error> {
        match self.client.results().place() {
            Some(place) if self.client.broker().shares_server_with(&place) => {
                self.count(group, size, members, place);
                Ok(())
            }
            Some(ResultPlace::Tables) => {
                let unlock = unlock::unlock(self.client, self.start, group, members, body)?;
                self.plan.messages.push(unlock);
                Ok(())
            }
            _ => {
                let problem = "a chord needs results on the broker's server, or in a database";
                Err(Error::invalid(&body.task, problem.to_owned()))
            }
        }
    }

    /// What is stored of a chord before its header is sent: how many parts end it, and how its results are nested when they are.
    fn count(&mut self, group: &str, size: usize, members: Vec<Value>, place: ResultPlace) {
        let results = self.client.results();
        let key = results.group_key(group);
        let expires = self.client.chord_expires();
        if members.iter().any(is_group) {
            let own = Value::List(vec![group.into(), Value::Null]);
            let tuple = Value::List(vec![own, Value::List(members)]);
            let saved = Value::Map(Map::from_iter([("result".to_owned(), tuple)]));
            self.plan.results.push(ResultWrite {
                key: key.clone(),
                value: results.encode_value(&saved),
                expires,
                place: place.clone(),
            });
        }
        self.plan.results.push(ResultWrite {
            key: format!("{key}.s"),
            value: size.to_string().into(),
            expires,
            place,
        });
    }
}

/// The children of who sends a group are its members, and not in turn what a chord among them ends with (`group._apply_tasks`); a
/// chord's options are its body's.
fn not_a_child(member: &mut Signature) {
    if member.subtask_type.as_deref() == Some("chord") {
        member
            .options
            .insert("add_to_parent".to_owned(), false.into());
    }
}

/// Options of a composed signature that say how its tasks are sent; they win over the tasks' own, but for stamps and groups
/// (`Signature._merge`).
fn hand_on(to: &mut Signature, options: &Map) {
    let stamped: Vec<String> = match given(to, "stamped_headers").and_then(Value::as_list) {
        Some(names) => names
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect(),
        None => Vec::new(),
    };
    for (name, value) in options {
        let fixed = SEAT.contains(&name.as_str()) || name == "chain" || value.is_null();
        let kept = name == "stamped_headers" && given(to, name).is_some() || stamped.contains(name);
        if !fixed && !kept {
            to.options.insert(name.clone(), value.clone());
        }
    }
}
