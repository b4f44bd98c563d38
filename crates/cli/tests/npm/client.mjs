// The official TypeScript client against the built-in servers: signs in, calls a tool that needs more,
// steps up, calls it again.
//
//   node client.mjs <MCP URL>      with @modelcontextprotocol/client installed beside it

import assert from 'node:assert/strict';
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';

const url = new URL(process.argv[2]);
const redirectUrl = 'http://127.0.0.1:9/callback';

// Keeps what it is given, and a user who agrees to everything.
class Provider {
  asked = [];
  issuers = [];
  get redirectUrl() { return redirectUrl; }
  get clientMetadata() {
    return {
      client_name: 'interop',
      redirect_uris: [redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
      application_type: 'native',
    };
  }
  clientInformation() { return this.client; }
  saveClientInformation(client) { this.client = client; }
  tokens() { return this.kept; }
  saveTokens(tokens) { this.kept = tokens; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  codeVerifier() { return this.verifier; }
  saveDiscoveryState(state) { this.discovered = state; }
  discoveryState() { return this.discovered; }
  state() { return (this.sent = crypto.randomUUID()); }
  async redirectToAuthorization(target) {
    this.asked.push(target.searchParams.get('scope'));
    const answer = await fetch(target, { redirect: 'manual' });
    assert.equal(answer.status, 303);
    const callback = new URL(answer.headers.get('location'));
    assert.equal(callback.searchParams.get('state'), this.sent);
    this.issuers.push(callback.searchParams.get('iss'));
    this.callback = callback.searchParams;
    assert.ok(this.callback.get('code'), callback.href);
  }
}

const provider = new Provider();
let transport;
async function connected() {
  transport = new StreamableHTTPClientTransport(url, { authProvider: provider });
  const client = new Client({ name: 'interop', version: '1.0.0' });
  await client.connect(transport);
  return client;
}

// Runs a step; when it is refused, brings the code in and runs it again.
async function authorized(step) {
  try {
    return await step();
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    // The client checks `iss` itself.
    await transport.finishAuth(provider.callback);
    return await step();
  }
}

const client = await authorized(connected);
assert.equal(provider.asked.length, 1);
const { tools } = await client.listTools();
assert.deepEqual(tools.map((tool) => tool.name), ['echo']);

const call = () => client.callTool({ name: 'echo', arguments: { text: 'hello' } });
const answer = await authorized(call);
assert.equal(answer.content[0].text, 'hello');
assert.equal(provider.asked.length, 2, 'one step-up');
assert.match(provider.asked[1], /mcp:echo/);
assert.ok(provider.issuers.every((iss) => iss === provider.issuers[0] && iss.startsWith('http://127.0.0.1:')));

// The refresh token works, and is rotated.
const before = provider.kept.refresh_token;
assert.ok(before, 'a refresh token');
provider.kept = { ...provider.kept, access_token: 'no-longer-good' };
const again = await authorized(call);
assert.equal(again.content[0].text, 'hello');
assert.notEqual(provider.kept.refresh_token, before);
assert.equal(provider.asked.length, 2, 'no third authorization');
await client.close();
console.log('signed in, stepped up and refreshed with the TypeScript client');
