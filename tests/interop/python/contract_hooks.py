"""What schemathesis is told of the API beyond its document: how a body of lines is written, and whom it must not lock out."""

import os
import uuid

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.hook
def before_call(context, case, **kwargs):
    # Whoever asks may well change or delete itself; all that comes after would be refused.
    if case.path_parameters and case.path_parameters.get("id") == os.environ["CONTRACT_OWN_ID"]:
        case.path_parameters["id"] = str(uuid.UUID(int=0))


@schemathesis.hook
def filter_case(context, case):
    # A batch is text, whatever it says: each line that is wrong is refused in the answer.
    is_batch = case.operation.definition.raw.get("operationId") == "send_batch"
    return not (is_batch and case.meta is not None and case.meta.generation.mode.is_negative)
