"""A client that was made from the OpenAPI document: sends tasks, typed and by name, and reads their results."""

import os

from lovage_http import AuthenticatedClient
from lovage_http.api.tasks import send_call, send_demo_add
from lovage_http.api.task_runs import task_result
from lovage_http.models import Call, SendDemoAddBody

client = AuthenticatedClient(base_url=os.environ["API_URL"], token=os.environ["API_TOKEN"])
typed = send_demo_add.sync(client=client, body=SendDemoAddBody(x=2, y=3), wait=20)
sent = send_call.sync(client=client, body=Call(task="demo.add", args=[20, 3]))
result = task_result.sync(sent.task_id, client=client, wait=20)
print(typed.result.value, result.value, result.state)
