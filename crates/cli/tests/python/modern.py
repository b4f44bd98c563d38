"""The client of the MCP SDK 2 at revision 2026-07-28: what it does with a server, as one JSON object.

    modern.py bridge URL PROGRAM            starts `PROGRAM proxy URL`
    modern.py direct URL AUTHORIZATION      with the value of the header
"""

import asyncio
import json
import os
import sys

import anyio
import httpx2 as httpx
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

way, url, third = sys.argv[1:]


def transport():
    if way == "bridge":
        return StdioServerParameters(command=third, args=["proxy", url], env=dict(os.environ))
    return streamable_http_client(url, http_client=httpx.AsyncClient(headers={"Authorization": third}))


async def cancellations():
    async with httpx.AsyncClient() as http:
        counts = (await http.get(url.replace("/mcp", "/counts"))).json()
    return counts.get("cancelled", 0)


async def main():
    seen = {}
    async with Client(transport(), mode="2026-07-28") as client:
        seen["revision"] = client.protocol_version
        seen["tools"] = sorted(tool.name for tool in (await client.list_tools()).tools)
        steps = []

        async def on_progress(done, total=None, message=None):
            steps.append(done)

        result = await client.call_tool("count", {}, progress_callback=on_progress)
        seen["count"] = {"text": result.content[0].text, "steps": steps}
        calls = [client.call_tool("echo", {"text": f"text {n}"}) for n in range(20)]
        texts = [answer.content[0].text for answer in await asyncio.gather(*calls)]
        seen["each_its_own"] = texts == [f"text {n}" for n in range(20)]
        # The end of the stream of the response cancels the call at the server.
        before = await cancellations()
        with anyio.move_on_after(0.5):
            await client.call_tool("wait", {})
        for _ in range(50):
            if await cancellations() > before:
                seen["wait"] = "cancelled"
                break
            await asyncio.sleep(0.1)
        result = await client.call_tool("echo", {"text": "later"})
        seen["later"] = result.content[0].text
    print(json.dumps(seen))


asyncio.run(main())
