// What a client does with an MCP server, as one JSON object: the same directly and through a bridge.
//
//   node suite.mjs direct URL AUTHORIZATION             with the value of the header
//   node suite.mjs bridge URL PROGRAM [--wait SECONDS]  starts `PROGRAM proxy URL`
//
// With @modelcontextprotocol/sdk installed beside it. Tools that the server lacks are left out.
// --wait: expires the token before a last call. `write`, which needs more scopes, is called through a bridge
// alone: the direct client has no user.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CreateMessageRequestSchema, ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';

const [way, url, third, ...rest] = process.argv.slice(2);
const wait = rest[0] === '--wait' ? Number(rest[1]) : 0;
const transport = way === 'bridge'
  ? new StdioClientTransport({ command: third, args: ['proxy', url], env: process.env, stderr: 'inherit' })
  : new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { authorization: third } } });

const client = new Client({ name: 'suite', version: '1.0.0' }, { capabilities: { elicitation: {}, sampling: {} } });
client.setRequestHandler(ElicitRequestSchema, async () => ({ action: 'accept', content: { name: 'Ada' } }));
client.setRequestHandler(CreateMessageRequestSchema, async () => ({
  model: 'none', role: 'assistant', content: { type: 'text', text: 'pong' },
}));
await client.connect(transport);
const seen = { server: client.getServerVersion().name };
const { tools } = await client.listTools();
const names = tools.map((tool) => tool.name).sort();
seen.tools = names;

const call = async (name, args = {}) => {
  const steps = [];
  const answer = await client.callTool({ name, arguments: args }, undefined, {
    onprogress: ({ progress }) => steps.push(progress), timeout: 20000,
  });
  return { text: answer.content[0].text, steps };
};
const texts = await Promise.all([...Array(50).keys()].map((n) => call('echo', { text: `text ${n}` })));
seen.each_its_own = texts.every(({ text }, n) => text === `text ${n}`);
const large = 'ü'.repeat(200_000);
seen.large = (await call('echo', { text: large })).text === large;
for (const name of ['count', 'cut', 'ask']) {
  if (names.includes(name)) seen[name] = await call(name);
}
try {
  await call('unknown');
  seen.unknown = 'answered';
} catch (error) {
  seen.unknown = error.code;
}
// The server learns that a call is cancelled, and the client goes on.
if (names.includes('wait')) {
  const cancelled = async () => (await (await fetch(new URL('/counts', url))).json()).cancelled ?? 0;
  const before = await cancelled();
  const stop = new AbortController();
  setTimeout(() => stop.abort('enough'), 500);
  seen.wait = await client.callTool({ name: 'wait', arguments: {} }, undefined, { signal: stop.signal })
    .then(() => 'answered', () => 'went on');
  for (let tries = 0; tries < 50 && seen.wait === 'went on'; tries += 1) {
    if (await cancelled() > before) seen.wait = 'cancelled';
    else await new Promise((done) => setTimeout(done, 100));
  }
  seen.after = (await call('echo', { text: 'after' })).text;
}
if (way === 'bridge') {
  if (names.includes('write')) seen.write = (await call('write')).text;
  if (wait) {
    await new Promise((done) => setTimeout(done, wait * 1000));
    seen.later = (await call('echo', { text: 'later' })).text;
  }
}
await transport.terminateSession?.();
await client.close();
console.log(JSON.stringify(seen));
