"""The MCP SDK's own client on standard input and output, with a bridge as its server.

    client.py BRIDGE URL

Starts `BRIDGE proxy URL`, and prints what it saw as one JSON object.
"""

import asyncio
import json
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def main():
    bridge, url = sys.argv[1:]
    parameters = StdioServerParameters(command=bridge, args=["proxy", url], env=dict(os.environ))
    progress = []

    async def on_progress(done, total=None, message=None):
        progress.append(done)

    async with stdio_client(parameters) as (read, write):
        async with ClientSession(read, write) as session:
            answer = await session.initialize()
            tools = await session.list_tools()
            calls = [session.call_tool("echo", {"text": f"text {n}"}) for n in range(50)]
            texts = [(await call).content[0].text for call in calls]
            large = "ü" * 500_000
            echoed = await session.call_tool("echo", {"text": large})
            counted = await session.call_tool("count", {}, progress_callback=on_progress)
    print(
        json.dumps(
            {
                "server": answer.model_dump(by_alias=True)["serverInfo"]["name"],
                "tools": sorted(tool.name for tool in tools.tools),
                "in_order": texts == [f"text {n}" for n in range(50)],
                "large": echoed.content[0].text == large,
                "counted": counted.content[0].text,
                "progress": progress,
            }
        )
    )


asyncio.run(main())
