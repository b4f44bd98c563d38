"""The MCP SDK's own client, with its own authorization: signs in, calls a tool that needs more, steps up.

    oauth_client.py URL

Prints what it saw as one JSON object.
"""

import asyncio
import json
import sys
import urllib.error
import urllib.parse
import urllib.request

from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import OAuthClientMetadata

REDIRECT = "http://127.0.0.1:9/callback"


class Storage:
    """What the client keeps, in memory."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Stop(urllib.request.HTTPRedirectHandler):
    """Follows no redirect."""

    def redirect_request(self, *_):
        return None


class User:
    """Agrees to everything: the authorization server redirects at once."""

    asked = []
    back = None

    async def go(self, url):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
        self.asked.append(query.get("scope", [""])[0])
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stop())
        try:
            await asyncio.to_thread(opener.open, url, timeout=30)
            raise AssertionError("no redirect")
        except urllib.error.HTTPError as answer:
            location = answer.headers["location"]
        assert location.startswith(REDIRECT), location
        self.back = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query))

    async def come_back(self):
        try:
            from mcp.shared.auth import AuthorizationCodeResult
        except ImportError:
            return self.back["code"], self.back.get("state")
        return AuthorizationCodeResult(**{k: self.back.get(k) for k in ("code", "state", "iss")})


def connected(url, auth):
    """The transport of either generation of the SDK."""
    try:
        from mcp.client.streamable_http import streamablehttp_client

        return streamablehttp_client(url, auth=auth)
    except ImportError:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        return streamable_http_client(url, http_client=httpx2.AsyncClient(auth=auth, timeout=30))


async def main():
    url, user, storage = sys.argv[1], User(), Storage()
    metadata = OAuthClientMetadata(
        client_name="interop",
        redirect_uris=[REDIRECT],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        token_endpoint_auth_method="none",
    )
    auth = OAuthClientProvider(url, metadata, storage, user.go, user.come_back)
    async with connected(url, auth) as streams:
        async with ClientSession(streams[0], streams[1]) as session:
            await session.initialize()
            tools = [tool.name for tool in (await session.list_tools()).tools]
            first = list(user.asked)
            texts = [
                (await session.call_tool("echo", {"text": text})).content[0].text for text in "ab"
            ]
    print(json.dumps({"tools": tools, "first": first, "asked": user.asked, "texts": texts}))


asyncio.run(main())
