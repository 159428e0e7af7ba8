//! A body that comes as JSON, held to the schema that the document has for it.

use std::sync::Arc;

use poem::{FromRequest, Request, RequestBody, Result};
use poem_openapi::{
    error::ParseRequestPayloadError,
    payload::{Json, ParsePayload, Payload},
    registry::{MetaSchemaRef, Registry},
    types::{ParseFromJSON, Type},
};
use serde_json::Value;

use super::bodies::Bodies;

/// What is wrong with a body, where nobody finds the field.
pub(crate) const OTHERWISE: &str = "the document says otherwise";

/// As poem-openapi's own [`Json`], which takes a number or a truth value for a text: here only what the document says is taken.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: Type> Payload for Body<T> {
    const CONTENT_TYPE: &'static str = Json::<T>::CONTENT_TYPE;

    fn check_content_type(content_type: &str) -> bool {
        Json::<T>::check_content_type(content_type)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: ParseFromJSON> ParsePayload for Body<T> {
    const IS_REQUIRED: bool = T::IS_REQUIRED;

    async fn from_request(request: &Request, body: &mut RequestBody) -> Result<Self> {
        let data = Vec::<u8>::from_request(request, body).await?;
        let refusal = |reason: String| ParseRequestPayloadError { reason };
        let value = match data.as_slice() {
            [] => Value::Null,
            some => serde_json::from_slice(some).map_err(|error| refusal(error.to_string()))?,
        };
        if let MetaSchemaRef::Reference(name) = T::schema_ref()
            && let Some(bodies) = request.data::<Arc<Bodies>>()
            && !bodies.takes(&name, &value)
        {
            // Whoever writes the answer looks for the field.
            return Err(refusal(OTHERWISE.to_owned()).into());
        }
        let parsed = T::parse_from_json(Some(value));
        let parsed = parsed.map_err(|error| refusal(error.into_message()))?;
        Ok(Self(parsed))
    }
}

poem_openapi::impl_apirequest_for_payload!(Body<T>, T: ParseFromJSON);
