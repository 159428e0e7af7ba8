"""A mail server that answers as the recipient's name says: one JSON line for its port, then one for each mail taken.

    451@x              the mail is refused for now, after all of it was said
    once-451@x         the same, the first time
    550@x              the recipient is refused for good
    once-gone@x        the connection ends after all of the mail was said, without an answer, the first time; gone@x always
    hang@x             there is no answer at all
"""
import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import AuthResult, LoginPassword, SMTP

options = json.loads(sys.argv[1])


def tell(what):
    print(json.dumps(what), flush=True)


def authenticate(server, session, envelope, mechanism, data):
    known = isinstance(data, LoginPassword) and (data.login, data.password) == (b"app", b"sesame, open")
    return AuthResult(success=known, auth_data=data)


class Handler:
    def __init__(self):
        self.seen = set()

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        return responses

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address.startswith("550"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        to = envelope.rcpt_tos[0]
        name = to.split("@")[0]
        if name == "451" or name == "once-451" and to not in self.seen:
            self.seen.add(to)
            tell({"refused": to})
            return "451 come back later"
        if name == "hang":
            tell({"hangs": to})
            await asyncio.Event().wait()
        if name == "gone" or name == "once-gone" and to not in self.seen:
            self.seen.add(to)
            tell({"dropped": to})
            server.transport.abort()
            return "250 never heard"
        # By itself a session knows of STARTTLS alone.
        encrypted = session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None
        tell({
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "data": envelope.content.decode(), "peer": session.peer[1],
            "encrypted": encrypted, "user": str(session.auth_data.login, "utf-8") if session.auth_data else None,
        })
        return "250 taken as 42"


def certificate():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options["certificate"], options["key"])
    return context


async def main():
    starttls = options["encryption"] == "starttls"
    wrapped = certificate() if options["encryption"] == "tls" else None
    handler, context = Handler(), certificate() if starttls else None
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(
            handler, tls_context=context, require_starttls=starttls, authenticator=authenticate,
            auth_required=options["auth"], auth_require_tls=starttls, hostname="mail.invalid",
        ),
        "127.0.0.1", 0, ssl=wrapped,
    )
    tell({"port": server.sockets[0].getsockname()[1]})
    await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
