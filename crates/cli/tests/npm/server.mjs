// An MCP server of the TypeScript SDK with its own authorization server, on loopback HTTP.
//
//   node server.mjs [--token-seconds N]      with @modelcontextprotocol/sdk installed beside it
//
// Prints `MCP server URL`. The consent page agrees by itself. GET /counts tells how many requests were
// answered, as JSON: `POST /token refresh_token 200` and the like, and `resumed` for streams that were
// continued after an event.

import { randomUUID } from 'node:crypto';
import express from 'express';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { mcpAuthRouter } from '@modelcontextprotocol/sdk/server/auth/router.js';
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js';
import { InvalidGrantError, InvalidTokenError } from '@modelcontextprotocol/sdk/server/auth/errors.js';
import { InMemoryEventStore } from '@modelcontextprotocol/sdk/examples/shared/inMemoryEventStore.js';
import { z } from 'zod';

const at = process.argv.indexOf('--token-seconds');
const seconds = at < 0 ? 900 : Number(process.argv[at + 1]);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

class Provider {
  clients = new Map();
  codes = new Map();
  access = new Map();
  refresh = new Map();
  clientsStore = {
    getClient: (id) => this.clients.get(id),
    registerClient: (client) => { this.clients.set(client.client_id, client); return client; },
  };
  async authorize(client, params, response) {
    const code = randomUUID();
    this.codes.set(code, { client, params });
    const target = new URL(params.redirectUri);
    target.searchParams.set('code', code);
    if (params.state !== undefined) target.searchParams.set('state', params.state);
    response.redirect(target.href);
  }
  async challengeForAuthorizationCode(_client, code) {
    const known = this.codes.get(code);
    if (!known) throw new InvalidGrantError('unknown code');
    return known.params.codeChallenge;
  }
  issue(client, scopes, resource) {
    const [access, refresh] = [randomUUID(), randomUUID()];
    const expiresAt = Math.floor(Date.now() / 1000) + seconds;
    this.access.set(access, { token: access, clientId: client.client_id, scopes, expiresAt, resource });
    this.refresh.set(refresh, { scopes, resource });
    return { access_token: access, refresh_token: refresh, token_type: 'bearer', expires_in: seconds, scope: scopes.join(' ') };
  }
  async exchangeAuthorizationCode(client, code) {
    const { params } = this.codes.get(code);
    this.codes.delete(code);
    return this.issue(client, params.scopes?.length ? params.scopes : ['read'], params.resource);
  }
  async exchangeRefreshToken(client, token) {
    const known = this.refresh.get(token);
    if (!known) throw new InvalidGrantError('unknown refresh token');
    this.refresh.delete(token);
    return this.issue(client, known.scopes, known.resource);
  }
  async verifyAccessToken(token) {
    const known = this.access.get(token);
    if (!known || known.expiresAt <= Date.now() / 1000) throw new InvalidTokenError('expired or unknown');
    return known;
  }
  async revokeToken(_client, { token }) {
    this.access.delete(token);
    this.refresh.delete(token);
  }
}

function notes() {
  const server = new McpServer({ name: 'notes', version: '1.0.0' });
  const text = (value) => ({ content: [{ type: 'text', text: value }] });
  server.registerTool('echo', { inputSchema: { text: z.string() } }, async ({ text: said }) => text(said));
  server.registerTool('write', { inputSchema: {} }, async () => text('written'));
  server.registerTool('count', { inputSchema: {} }, async (_arguments, extra) => {
    await progress(extra, [1, 2, 3]);
    return text('counted');
  });
  // Closes the stream of its answer in the middle: the client continues it after the last event.
  server.registerTool('cut', { inputSchema: {} }, async (_arguments, extra) => {
    await progress(extra, [1]);
    extra.closeSSEStream?.();
    await pause(20);
    await progress(extra, [2]);
    await pause(600);
    await progress(extra, [3]);
    return text('whole');
  });
  // Ends when the client cancels it.
  server.registerTool('wait', { inputSchema: {} }, async (_arguments, extra) => {
    await new Promise((done) => {
      extra.signal.addEventListener('abort', () => { count('cancelled'); done(); });
      setTimeout(done, 20000).unref();
    });
    return text('waited');
  });
  // Requests from the server while a call is under way.
  server.registerTool('ask', { inputSchema: {} }, async (_arguments, extra) => {
    const asked = await extra.sendRequest(
      { method: 'elicitation/create', params: { message: 'Your name?', requestedSchema: { type: 'object', properties: { name: { type: 'string' } } } } },
      z.looseObject({ action: z.string(), content: z.any().optional() }));
    const sampled = await extra.sendRequest(
      { method: 'sampling/createMessage', params: { maxTokens: 5, messages: [{ role: 'user', content: { type: 'text', text: 'ping' } }] } },
      z.looseObject({ content: z.any() }));
    return text(`${asked.action} ${asked.content?.name} ${sampled.content.text}`);
  });
  return server;
}

async function progress(extra, steps) {
  const progressToken = extra._meta?.progressToken;
  if (progressToken === undefined) return;
  for (const step of steps) {
    await extra.sendNotification({ method: 'notifications/progress', params: { progressToken, progress: step, total: 3 } });
    // The client's SDK forgets the call with its answer, and what it has not looked at by then.
    await pause(50);
  }
}

const counts = {};
const count = (name) => { counts[name] = (counts[name] ?? 0) + 1; };
const app = express();
const provider = new Provider();
const listener = app.listen(0, '127.0.0.1', () => {
  const issuer = new URL(`http://127.0.0.1:${listener.address().port}`);
  const url = new URL('/mcp', issuer);
  app.use(express.json({ limit: '50mb' }));
  app.use(express.urlencoded({ extended: false }));
  app.use((request, response, next) => {
    response.on('finish', () => {
      const path = request.originalUrl.split('?')[0];
      const grant = path === '/token' ? ` ${request.body?.grant_type}` : '';
      count(`${request.method} ${path}${grant} ${response.statusCode}`);
    });
    if (request.headers['last-event-id']) count('resumed');
    next();
  });
  app.get('/counts', (_request, response) => { response.json(counts); });
  const rateLimit = false;
  app.use(mcpAuthRouter({
    provider,
    issuerUrl: issuer,
    resourceServerUrl: url,
    scopesSupported: ['read', 'write'],
    authorizationOptions: { rateLimit },
    tokenOptions: { rateLimit },
    revocationOptions: { rateLimit },
    clientRegistrationOptions: { rateLimit },
  }));
  const resourceMetadataUrl = new URL('/.well-known/oauth-protected-resource/mcp', issuer).href;
  const needs = (...requiredScopes) => requireBearerAuth({ verifier: provider, requiredScopes, resourceMetadataUrl });
  const [reading, writing] = [needs('read'), needs('read', 'write')];
  const isWrite = (message) => message?.method === 'tools/call' && message.params?.name === 'write';
  const sessions = new Map();
  const eventStore = new InMemoryEventStore();
  app.all('/mcp', (request, response, next) => {
    (isWrite(request.body) ? writing : reading)(request, response, next);
  }, async (request, response) => {
    const id = request.headers['mcp-session-id'];
    let transport = sessions.get(id);
    if (!transport && (id || request.body?.method !== 'initialize')) {
      response.status(404).json({ jsonrpc: '2.0', error: { code: -32001, message: 'Session not found' }, id: null });
      return;
    }
    if (!transport) {
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: () => randomUUID(),
        eventStore,
        retryInterval: 100,
        onsessioninitialized: (name) => { sessions.set(name, transport); },
      });
      transport.onclose = () => { sessions.delete(transport.sessionId); };
      await notes().connect(transport);
    }
    await transport.handleRequest(request, response, request.body);
  });
  console.log(`MCP server ${url.href}`);
});
