"""The MCP SDK's own client: what it does with a server, as one JSON object, directly and through a bridge.

    client.py bridge URL PROGRAM            starts `PROGRAM proxy URL`
    client.py direct URL AUTHORIZATION      with the value of the header

Tools that the server lacks are left out.
"""

import asyncio
import contextlib
import json
import os
import sys

from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client

way, url, third = sys.argv[1:]


@contextlib.asynccontextmanager
async def streams():
    if way == "bridge":
        parameters = StdioServerParameters(command=third, args=["proxy", url], env=dict(os.environ))
        async with stdio_client(parameters) as (read, write):
            yield read, write
        return
    headers = {"Authorization": third}
    try:
        from mcp.client.streamable_http import streamablehttp_client

        client = streamablehttp_client(url, headers=headers)
    except ImportError:
        import httpx2 as httpx
        from mcp.client.streamable_http import streamable_http_client

        client = streamable_http_client(url, http_client=httpx.AsyncClient(headers=headers))
    async with client as opened:
        yield opened[0], opened[1]


async def asked(_context, _parameters):
    return types.ElicitResult(action="accept", content={"name": "Ada"})


async def main():
    seen = {}
    async with streams() as (read, write):
        async with ClientSession(read, write, elicitation_callback=asked) as session:
            answer = await session.initialize()
            seen["server"] = answer.model_dump(by_alias=True)["serverInfo"]["name"]
            tools = sorted(tool.name for tool in (await session.list_tools()).tools)
            seen["tools"] = tools

            async def call(name, arguments):
                steps = []

                async def on_progress(done, total=None, message=None):
                    steps.append(done)

                result = await session.call_tool(name, arguments, progress_callback=on_progress)
                return {"text": result.content[0].text, "steps": steps}

            calls = [call("echo", {"text": f"text {n}"}) for n in range(50)]
            texts = [answer["text"] for answer in await asyncio.gather(*calls)]
            seen["each_its_own"] = texts == [f"text {n}" for n in range(50)]
            large = "ü" * 200_000
            seen["large"] = (await call("echo", {"text": large}))["text"] == large
            for name in ("count", "cut", "ask"):
                # A server of the other SDK asks for a sample too, which this client does not offer.
                if name in tools and not (name == "ask" and "write" in tools):
                    seen[name] = await call(name, {})
    print(json.dumps(seen))


asyncio.run(main())
