"""A mail server on loopback for tests: aiosmtpd, with TLS and a password, that can be slow or refuse.

    smtpd.py PORT SECURITY CERT KEY INBOX BEHAVIOUR     (PORT 0: any; it is printed when the server is ready)

Each mail becomes a file of JSON in INBOX, numbered, as a mail program would read it.
"""
import asyncio
import email
import email.policy
import json
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    def __init__(self, inbox, behaviour):
        self.inbox, self.behaviour, self.count = inbox, behaviour, 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.behaviour == "refuse":
            return "550 5.1.1 no such person"
        if self.behaviour == "busy":
            return "451 4.3.2 come again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.behaviour == "slow":
            await asyncio.sleep(3)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        mail = {
            "tls": session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None,
            "authenticated": session.authenticated,
            "to": envelope.rcpt_tos,
            "sender": envelope.mail_from,
            "subject": message["Subject"],
            "id": message["Message-ID"],
            "automatic": message["Auto-Submitted"],
            "text": message.get_body(("plain",)).get_content(),
            "html": message.get_body(("html",)).get_content(),
        }
        self.count += 1
        path = os.path.join(self.inbox, "%06d" % self.count)
        with open(path + ".new", "w") as file:
            json.dump(mail, file)
        os.rename(path + ".new", path + ".json")
        return "250 2.0.0 queued as %d" % self.count


def authenticate(server, session, envelope, mechanism, data):
    good = data.login == b"sekisho" and data.password == b"pass word"
    return AuthResult(success=good, handled=good)


async def main():
    port, security, cert, key, inbox, behaviour = sys.argv[1:]
    context = None
    if security != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert, key)
    handler = Handler(inbox, behaviour)
    starttls = context if security == "starttls" else None

    def session():
        guarded = security != "none"
        return SMTP(
            handler,
            hostname="localhost",
            tls_context=starttls,
            require_starttls=starttls is not None,
            authenticator=authenticate,
            auth_required=guarded,
            auth_require_tls=security == "starttls",
        )

    loop = asyncio.get_running_loop()
    wrapped = context if security == "tls" else None
    server = await loop.create_server(session, "127.0.0.1", int(port), ssl=wrapped)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
