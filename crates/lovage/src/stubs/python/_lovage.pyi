from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from typing_extensions import TypedDict

_R_co = TypeVar("_R_co", covariant=True)

app: Any

def task(name: str, **options: Any) -> Callable[[Callable[..., Any]], Any]: ...

class RunsInRust(NotImplementedError):
    def __init__(self, name: str) -> None: ...

class Options(TypedDict, total=False):
    """What `apply_async` takes besides the arguments."""

    countdown: float | None
    eta: datetime | str | None
    expires: float | datetime | str | None
    queue: Any
    exchange: Any
    routing_key: str | None
    priority: int | None
    task_id: str | None
    ignore_result: bool
    time_limit: float | None
    soft_time_limit: float | None
    serializer: str | None
    compression: str | None
    headers: Mapping[str, Any] | None
    shadow: str | None
    link: Any
    link_error: Any
    retry: bool
    retry_policy: Mapping[str, Any] | None
    add_to_parent: bool
    root_id: str | None
    parent_id: str | None
    group_id: str | None
    group_index: int | None
    chain: Any
    chord: Any
    connection: Any
    producer: Any
    router: Any
    publisher: Any
    result_cls: Any
    reply_to: str | None
    delivery_mode: int | str | None
    expiration: float | None
    stamped_headers: Sequence[str]
    argsrepr: str
    kwargsrepr: str

class Nothing(TypedDict):
    """No arguments by name."""

class AsyncResult(Generic[_R_co]):
    """The handle to a result that Celery returns."""

    id: str
    task_id: str
    @property
    def state(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def result(self) -> Any: ...
    @property
    def info(self) -> Any: ...
    @property
    def traceback(self) -> str | None: ...
    def get(self, timeout: float | None = None, propagate: bool = True, **options: Any) -> _R_co: ...
    def wait(self, timeout: float | None = None, propagate: bool = True, **options: Any) -> _R_co: ...
    def ready(self) -> bool: ...
    def successful(self) -> bool: ...
    def failed(self) -> bool: ...
    def revoke(self, terminate: bool = False, signal: str | None = None, **options: Any) -> None: ...
    def forget(self) -> None: ...
    def __getattr__(self, name: str) -> Any: ...

class Signature(Generic[_R_co]):
    """A call to be sent later, or a part of a chain, a group or a chord."""

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[_R_co]: ...
    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[_R_co]: ...
    def set(self, immutable: bool | None = None, **options: Any) -> Signature[_R_co]: ...
    def clone(self, args: Any = None, kwargs: Any = None, **options: Any) -> Signature[_R_co]: ...
    def __or__(self, other: Any) -> Any: ...
    def __getattr__(self, name: str) -> Any: ...

class Task(Generic[_R_co]):
    """What every task has. A stub cannot be called: its task runs elsewhere."""

    name: str
    app: Any
    def s(self, *args: Any, **kwargs: Any) -> Signature[_R_co]: ...
    def si(self, *args: Any, **kwargs: Any) -> Signature[_R_co]: ...
    def signature(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature[_R_co]: ...
    def AsyncResult(self, task_id: str, **options: Any) -> AsyncResult[_R_co]: ...

class UntypedTask(Task[_R_co]):
    """A task whose parameters are not known."""

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[_R_co]: ...
    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[_R_co]: ...
