"""An MCP server of the Python world with its own authorization server, on loopback HTTP.

    server.py KIND PORT [--token-seconds N] [--upstream URL]

KIND is one of
    sdk       the MCP SDK (`mcp` 1 or 2, whichever is installed) with a provider written for it
    memory    FastMCP (2 or 4) with its in-memory provider
    proxy     FastMCP (2 or 4) with its OAuth proxy in front of the provider at --upstream

GET /counts tells how many requests were answered, as JSON: `POST /token refresh_token 200` and the like.
"""

import argparse
import asyncio
import json
import secrets
import time
from urllib.parse import parse_qs

import uvicorn
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

arguments = argparse.ArgumentParser()
arguments.add_argument("kind", choices=["sdk", "memory", "proxy"])
arguments.add_argument("port", type=int)
arguments.add_argument("--token-seconds", type=int, default=900)
arguments.add_argument("--upstream")
options = arguments.parse_args()
base = f"http://127.0.0.1:{options.port}"


class Counting:
    """Counts the answers of an application, by method, path, grant type and status."""

    def __init__(self, app):
        self.app, self.counts = app, {}

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if scope["path"] == "/counts":
            body = json.dumps(self.counts).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            return await send({"type": "http.response.body", "body": body})
        name = f"{scope['method']} {scope['path']}"
        if name == "POST /token":
            messages, body = [], b""
            while True:
                message = await receive()
                messages.append(message)
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            grant = parse_qs(body.decode()).get("grant_type", ["none"])[0]
            name = f"{name} {grant}"
            waiting, receive_more = iter(messages), receive

            async def receive():
                message = next(waiting, None)
                return message if message is not None else await receive_more()

        async def counted(message):
            if message["type"] == "http.response.start":
                key = f"{name} {message['status']}"
                self.counts[key] = self.counts.get(key, 0) + 1
            await send(message)

        await self.app(scope, receive, counted)


async def counted(context):
    """A tool that reports its progress on the stream of its answer."""
    for step in (1, 2, 3):
        await context.report_progress(step, 3)
        # Clients forget a call with its answer, and what they have not looked at by then.
        await asyncio.sleep(0.05)
    return "counted"


def sdk():
    """The SDK's own handlers, with a provider as its users write them: a page where the user agrees,
    codes that are spent once, rotation of refresh tokens, revocation."""
    from mcp.server.auth.provider import (
        AccessToken,
        AuthorizationCode,
        RefreshToken,
        construct_redirect_uri,
    )
    from mcp.server.auth.settings import (
        AuthSettings,
        ClientRegistrationOptions,
        RevocationOptions,
    )
    from mcp.shared.auth import OAuthToken

    class Provider:
        def __init__(self):
            self.clients, self.codes, self.waiting = {}, {}, {}
            self.access, self.refresh = {}, {}

        async def get_client(self, client_id):
            return self.clients.get(client_id)

        async def register_client(self, info):
            self.clients[info.client_id] = info

        async def authorize(self, client, params):
            key = secrets.token_hex(8)
            self.waiting[key] = (client, params)
            return f"{base}/agree?key={key}"

        async def agree(self, request: Request):
            key = request.query_params["key"]
            if request.method == "GET":
                buttons = "".join(
                    f'<form method="post" action="/agree?key={key}&amp;decision={decision}">'
                    f"<button>{decision}</button></form>"
                    for decision in ("allow", "deny")
                )
                return HTMLResponse(f"<title>Sign in</title>{buttons}")
            client, params = self.waiting.pop(key)
            back, state = str(params.redirect_uri), params.state
            if request.query_params["decision"] == "deny":
                return RedirectResponse(
                    construct_redirect_uri(back, error="access_denied", state=state), 302
                )
            code = secrets.token_hex(16)
            self.codes[code] = AuthorizationCode(
                code=code,
                client_id=client.client_id,
                redirect_uri=params.redirect_uri,
                redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
                scopes=params.scopes or [],
                expires_at=time.time() + 300,
                code_challenge=params.code_challenge,
                resource=params.resource,
            )
            return RedirectResponse(construct_redirect_uri(back, code=code, state=state), 302)

        def issue(self, client, scopes, resource):
            access, refresh = secrets.token_hex(24), secrets.token_hex(24)
            self.access[access] = AccessToken(
                token=access,
                client_id=client.client_id,
                scopes=scopes,
                expires_at=int(time.time()) + options.token_seconds,
                resource=resource,
            )
            issued = RefreshToken(token=refresh, client_id=client.client_id, scopes=scopes)
            self.refresh[refresh] = (issued, access, resource)
            return OAuthToken(
                access_token=access,
                token_type="Bearer",
                expires_in=options.token_seconds,
                refresh_token=refresh,
                scope=" ".join(scopes),
            )

        async def load_authorization_code(self, client, code):
            return self.codes.get(code)

        async def exchange_authorization_code(self, client, code):
            del self.codes[code.code]
            return self.issue(client, code.scopes, code.resource)

        async def load_refresh_token(self, client, token):
            held = self.refresh.get(token)
            return held[0] if held else None

        async def exchange_refresh_token(self, client, token, scopes):
            _, access, resource = self.refresh.pop(token.token)
            self.access.pop(access, None)
            return self.issue(client, scopes, resource)

        async def load_access_token(self, token):
            held = self.access.get(token)
            return held if held and held.expires_at > time.time() else None

        async def revoke_token(self, token):
            self.access.pop(token.token, None)
            held = self.refresh.pop(token.token, None)
            if held:
                self.access.pop(held[1], None)

    from mcp.server.streamable_http import EventMessage, EventStore
    from pydantic import BaseModel

    class Events(EventStore):
        """The events of all streams, so that a client continues one after the last event it received."""

        def __init__(self):
            self.events = []

        async def store_event(self, stream_id, message):
            self.events.append((stream_id, message))
            return str(len(self.events))

        async def replay_events_after(self, last_event_id, send_callback):
            counting.counts["resumed"] = counting.counts.get("resumed", 0) + 1
            last = int(last_event_id)
            stream = self.events[last - 1][0]
            for number, (of, message) in enumerate(self.events[last:], last + 1):
                if of == stream and message is not None:
                    await send_callback(EventMessage(message, str(number)))
            return stream

    class Person(BaseModel):
        name: str

    resumable = {"event_store": Events(), "retry_interval": 100}
    provider = Provider()
    settings = AuthSettings(
        issuer_url=base,
        resource_server_url=f"{base}/mcp",
        required_scopes=["read"],
        revocation_options=RevocationOptions(enabled=True),
        client_registration_options=ClientRegistrationOptions(
            enabled=True, valid_scopes=["read", "write"], default_scopes=["read"]
        ),
    )
    try:
        from mcp.server.mcpserver import Context, MCPServer

        server = MCPServer("notes", auth_server_provider=provider, auth=settings)
        parameters = resumable
    except ImportError:
        from mcp.server.fastmcp import Context, FastMCP

        server = FastMCP(
            "notes",
            auth_server_provider=provider,
            auth=settings,
            host="127.0.0.1",
            port=options.port,
            **resumable,
        )
        parameters = {}

    @server.tool()
    def echo(text: str) -> str:
        return text

    async def count(context) -> str:
        return await counted(context)

    async def cut(context) -> str:
        await context.report_progress(1, 3)
        await asyncio.sleep(0.05)
        await context.close_sse_stream()
        await asyncio.sleep(0.02)
        await context.report_progress(2, 3)
        await asyncio.sleep(0.6)
        await context.report_progress(3, 3)
        await asyncio.sleep(0.05)
        return "whole"

    async def wait(context) -> str:
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            counting.counts["cancelled"] = counting.counts.get("cancelled", 0) + 1
            raise
        return "waited"

    async def ask(context) -> str:
        answer = await context.elicit("Your name?", Person)
        return f"{answer.action} {answer.data.name}"

    for tool in (count, cut, wait, ask):
        tool.__annotations__["context"] = Context
        server.tool()(tool)
    server.custom_route("/agree", methods=["GET", "POST"])(provider.agree)
    return server.streamable_http_app(**parameters)


def memory():
    import fastmcp.server.auth.providers.in_memory as module
    from fastmcp import FastMCP
    from mcp.server.auth.settings import ClientRegistrationOptions, RevocationOptions

    module.DEFAULT_ACCESS_TOKEN_EXPIRY_SECONDS = options.token_seconds
    auth = module.InMemoryOAuthProvider(
        base_url=base,
        required_scopes=["read"],
        client_registration_options=ClientRegistrationOptions(
            enabled=True, valid_scopes=["read", "write"], default_scopes=["read"]
        ),
        revocation_options=RevocationOptions(enabled=True),
    )
    return fast(FastMCP("notes", auth=auth))


def proxy():
    from fastmcp import FastMCP
    from fastmcp.server.auth import OAuthProxy
    from fastmcp.server.auth.providers.jwt import JWTVerifier
    from key_value.aio.stores.memory import MemoryStore

    auth = OAuthProxy(
        upstream_authorization_endpoint=f"{options.upstream}/authorize",
        upstream_token_endpoint=f"{options.upstream}/token",
        upstream_revocation_endpoint=f"{options.upstream}/revoke",
        upstream_client_id="upstream",
        upstream_client_secret="a secret between the proxy and its upstream",
        token_verifier=JWTVerifier(jwks_uri=f"{options.upstream}/jwks", required_scopes=["dummy"]),
        base_url=base,
        valid_scopes=["dummy", "extra"],
        client_storage=MemoryStore(),
        jwt_signing_key=secrets.token_hex(32),
    )
    return fast(FastMCP("notes", auth=auth))


def fast(server):
    from fastmcp import Context

    @server.tool
    def echo(text: str) -> str:
        return text

    async def count(context) -> str:
        return await counted(context)

    count.__annotations__["context"] = Context
    server.tool(count)
    return server.http_app()


counting = Counting(None)
counting.app = {"sdk": sdk, "memory": memory, "proxy": proxy}[options.kind]()
uvicorn.run(counting, host="127.0.0.1", port=options.port, log_level="warning")
