//! Writing an envelope, keys in Python's order.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{BodyEncoding, DeliveryInfo, Headers, Message, Properties, TimeLimit};
use crate::json::writer::{write_float, write_int, write_string};
use crate::value::{Map, write_map};

/// Room for the fields other than the body.
const USUAL_HEAD: usize = 1200;

pub(super) fn to_json(message: &Message) -> Vec<u8> {
    let mut out = String::with_capacity(USUAL_HEAD + message.body.len() / 3 * 4);
    let plain = match message.properties.body_encoding {
        BodyEncoding::Plain => std::str::from_utf8(&message.body).ok(),
        BodyEncoding::Base64 => None,
    };
    out.push_str("{\"body\": ");
    match plain {
        Some(text) => write_string(&mut out, text),
        None => {
            out.push('"');
            STANDARD.encode_string(&message.body, &mut out);
            out.push('"');
        }
    }
    out.push_str(", \"content-encoding\": ");
    write_string(&mut out, &message.content_encoding);
    out.push_str(", \"content-type\": ");
    write_string(&mut out, &message.content_type);
    out.push_str(", \"headers\": {");
    write_headers(&mut out, &message.headers);
    out.push_str("}, \"properties\": {");
    write_properties(&mut out, &message.properties, plain.is_some());
    out.push('}');
    write_extra(&mut out, &message.extra);
    out.push('}');
    out.into_bytes()
}

fn write_optional(out: &mut String, key: &str, text: Option<&str>) {
    out.push_str(key);
    match text {
        Some(text) => write_string(out, text),
        None => out.push_str("null"),
    }
}

/// The members of `extra` after at least one other member.
fn write_extra(out: &mut String, extra: &Map) {
    for (key, value) in extra {
        out.push_str(", ");
        write_string(out, key);
        out.push_str(": ");
        value.write_json(out);
    }
}

fn write_headers(out: &mut String, headers: &Headers) {
    write_optional(out, "\"lang\": ", Some(&headers.lang));
    write_optional(out, ", \"task\": ", Some(headers.task.as_str()));
    write_optional(out, ", \"id\": ", Some(headers.id.as_str()));
    write_optional(out, ", \"shadow\": ", headers.shadow.as_deref());
    write_optional(out, ", \"eta\": ", headers.eta.as_deref());
    write_optional(out, ", \"expires\": ", headers.expires.as_deref());
    write_optional(out, ", \"group\": ", headers.group.as_deref());
    out.push_str(", \"group_index\": ");
    match headers.group_index {
        Some(index) => write_int(out, index),
        None => out.push_str("null"),
    }
    out.push_str(", \"retries\": ");
    write_int(out, headers.retries.into());
    out.push_str(", \"timelimit\": ");
    write_time_limit(out, headers.timelimit);
    write_optional(
        out,
        ", \"root_id\": ",
        headers.root_id.as_ref().map(|id| id.as_str()),
    );
    write_optional(
        out,
        ", \"parent_id\": ",
        headers.parent_id.as_ref().map(|id| id.as_str()),
    );
    write_optional(out, ", \"argsrepr\": ", headers.argsrepr.as_deref());
    write_optional(out, ", \"kwargsrepr\": ", headers.kwargsrepr.as_deref());
    write_optional(out, ", \"origin\": ", headers.origin.as_deref());
    out.push_str(", \"ignore_result\": ");
    out.push_str(match headers.ignore_result {
        Some(true) => "true",
        Some(false) => "false",
        None => "null",
    });
    out.push_str(", \"replaced_task_nesting\": ");
    write_int(out, headers.replaced_task_nesting);
    out.push_str(", \"stamped_headers\": ");
    write_names(out, headers.stamped_headers.as_deref());
    out.push_str(", \"stamps\": ");
    write_map(out, &headers.stamps);
    if let Some(method) = &headers.compression {
        write_optional(out, ", \"compression\": ", Some(method));
    }
    write_extra(out, &headers.extra);
}

pub(crate) fn write_names(out: &mut String, names: Option<&[String]>) {
    let Some(names) = names else {
        out.push_str("null");
        return;
    };
    out.push('[');
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_string(out, name);
    }
    out.push(']');
}

fn write_time_limit(out: &mut String, limit: TimeLimit) {
    out.push('[');
    write_seconds(out, limit.hard);
    out.push_str(", ");
    write_seconds(out, limit.soft);
    out.push(']');
}

/// Whole seconds are written as integers, as senders give them.
fn write_seconds(out: &mut String, seconds: Option<f64>) {
    match seconds {
        None => out.push_str("null"),
        Some(seconds) if seconds.fract() == 0.0 && seconds.abs() < 1e15 => {
            out.push_str(&format!("{seconds:.0}"))
        }
        // A limit that is no time must not reach another worker.
        Some(seconds) if !seconds.is_finite() => out.push_str("null"),
        Some(seconds) => write_float(out, seconds),
    }
}

fn write_properties(out: &mut String, properties: &Properties, plain: bool) {
    if let Some(id) = &properties.correlation_id {
        write_optional(out, "\"correlation_id\": ", Some(id));
        out.push_str(", ");
    }
    if let Some(queue) = &properties.reply_to {
        write_optional(out, "\"reply_to\": ", Some(queue));
        out.push_str(", ");
    }
    out.push_str("\"delivery_mode\": ");
    write_int(out, properties.delivery_mode);
    if let Some(time) = &properties.expiration {
        write_optional(out, ", \"expiration\": ", Some(time));
    }
    out.push_str(", \"delivery_info\": {");
    write_delivery_info(out, &properties.delivery_info);
    out.push_str("}, \"priority\": ");
    write_int(out, properties.priority);
    out.push_str(", \"body_encoding\": ");
    out.push_str(if plain { "\"utf-8\"" } else { "\"base64\"" });
    write_optional(out, ", \"delivery_tag\": ", Some(&properties.delivery_tag));
    write_extra(out, &properties.extra);
}

fn write_delivery_info(out: &mut String, info: &DeliveryInfo) {
    write_optional(out, "\"exchange\": ", Some(&info.exchange));
    write_optional(out, ", \"routing_key\": ", Some(&info.routing_key));
    write_extra(out, &info.extra);
}
