// A certified OpenID provider, and an MCP server that trusts it, on loopback HTTP.
//
//   node provider.mjs [options]      with oidc-provider installed beside it
//
// --token-seconds   how long access tokens live (300)
// --tokens          what they look like: opaque and introspected, or JWTs (opaque)
// --iss             what authorization responses claim to come from, instead of the issuer
// --client-key      a private key (PEM), for a client `key` that authenticates with it
// --pushed          authorization requests must be pushed
// --nonce           proofs of possession need a nonce of the provider
// --resource        the URL of a further MCP server that trusts it
// --port            the port of the provider
// --own-key         a new key for its signatures, instead of that of every start
//
// Signs everybody in and agrees to everything, as long as the browser keeps its cookies. Prints its
// URLs as one line of JSON when it is ready: `issuer`, `mcp`, `counts` (how many requests were granted
// or refused, by grant type), `inspector`, the credentials for introspection, and `secret`, that of the
// client `secret`.

import { createHash, createPublicKey, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import {
  EmbeddedJWK, calculateJwkThumbprint, createRemoteJWKSet, exportJWK, generateKeyPair, jwtVerify,
} from 'jose';
import { Provider, errors } from 'oidc-provider';

const { values: options } = parseArgs({
  options: {
    'token-seconds': { type: 'string', default: '300' },
    tokens: { type: 'string', default: 'opaque' },
    iss: { type: 'string' },
    'client-key': { type: 'string' },
    pushed: { type: 'boolean' },
    nonce: { type: 'boolean' },
    resource: { type: 'string' },
    port: { type: 'string', default: '0' },
    'own-key': { type: 'boolean' },
  },
});
const lifetime = Number(options['token-seconds']);
const READ = 'notes:read';
const WRITE = 'notes:write';

async function listening(server, port = 0) {
  await new Promise((ready) => server.listen(port, '127.0.0.1', ready));
  return `http://127.0.0.1:${server.address().port}`;
}
const providerServer = createServer();
const resourceServer = createServer();
const issuer = await listening(providerServer, Number(options.port));
const origin = await listening(resourceServer);
const mcp = `${origin}/mcp`;
const metadata = '/.well-known/oauth-protected-resource/mcp';
const random = () => randomBytes(24).toString('base64url');
const inspector = { id: 'inspector', secret: random() };

// Clients that are registered already. The port of a native client's redirect URI is free.
const registered = {
  application_type: 'native',
  redirect_uris: ['http://127.0.0.1/callback'],
  grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
};
const secret = random();
const clients = [
  {
    client_id: inspector.id,
    client_secret: inspector.secret,
    redirect_uris: [],
    response_types: [],
    grant_types: [],
  },
  { ...registered, client_id: 'secret', client_secret: secret },
];
if (options['client-key']) {
  const key = createPublicKey(readFileSync(options['client-key'])).export({ format: 'jwk' });
  clients.push({
    ...registered,
    client_id: 'key',
    token_endpoint_auth_method: 'private_key_jwt',
    jwks: { keys: [key] },
  });
}

// An identifier of its own, as after a rotation.
async function ownKey() {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  return { ...await exportJWK(privateKey), kid: random(), alg: 'RS256', use: 'sig' };
}

const provider = new Provider(issuer, {
  ...(options['own-key'] ? { jwks: { keys: [await ownKey()] } } : {}),
  clients,
  cookies: { keys: [random()] },
  features: {
    clientCredentials: { enabled: true },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => options.nonce === true },
    pushedAuthorizationRequests: {
      enabled: true,
      requirePushedAuthorizationRequests: options.pushed === true,
    },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    registration: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(_ctx, resource) {
        if (![mcp, options.resource].includes(resource)) throw new errors.InvalidTarget();
        return {
          scope: `${READ} ${WRITE}`,
          audience: resource,
          accessTokenTTL: lifetime,
          accessTokenFormat: options.tokens,
          jwt: { sign: { alg: 'RS256' } },
        };
      },
    },
  },
  findAccount: (_ctx, sub) => ({ accountId: sub, claims: async () => ({ sub }) }),
  issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  pkce: { required: () => true },
  rotateRefreshToken: true,
});

const counts = { granted: {}, refused: {}, revoked: 0 };
const count = (kind) => (ctx) => {
  const grant = ctx.oidc.params?.grant_type;
  counts[kind][grant] = (counts[kind][grant] ?? 0) + 1;
};
provider.on('grant.success', count('granted'));
provider.on('grant.error', count('refused'));
provider.on('server_error', (_ctx, error) => console.error(error));

// The person: signs in, then agrees to whatever is missing.
async function interact(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    const login = { accountId: 'ada' };
    return provider.interactionFinished(request, response, { login });
  }
  const grant = (grantId && await provider.Grant.find(grantId))
    || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const { missingOIDCScope, missingResourceScopes } = prompt.details;
  if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(' '));
  for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '));
  }
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

provider.use(async (ctx, next) => {
  if (ctx.path.startsWith('/interaction/')) {
    ctx.respond = false;
    return interact(ctx.req, ctx.res);
  }
  await next();
  if (ctx.path === '/token/revocation' && ctx.status === 200) counts.revoked += 1;
  const location = ctx.response.get('location');
  if (options.iss && location && URL.canParse(location)) {
    const target = new URL(location);
    if (target.searchParams.has('iss')) {
      target.searchParams.set('iss', options.iss);
      ctx.set('location', target.href);
    }
  }
});
providerServer.on('request', provider.callback());

// What a token that is good here stands for, or nothing.
const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));
async function lookUp(token) {
  if (options.tokens === 'jwt') {
    const checks = { issuer, audience: mcp, typ: 'at+jwt', algorithms: ['RS256'] };
    const verified = await jwtVerify(token, keys, checks).catch(() => undefined);
    return verified?.payload;
  }
  const answer = await fetch(`${issuer}/token/introspection`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${inspector.id}:${inspector.secret}`)}` },
    body: new URLSearchParams({ token }),
  });
  const found = await answer.json();
  return found.active && found.aud === mcp && found.iss === issuer ? found : undefined;
}

// Whether a proof belongs to this token, this key and this request.
async function proves(proof, token, key) {
  const checks = { typ: 'dpop+jwt', algorithms: ['ES256'], maxTokenAge: 60 };
  const verified = await jwtVerify(proof, EmbeddedJWK, checks).catch(() => undefined);
  if (!verified) return false;
  const { payload, protectedHeader } = verified;
  return payload.htm === 'POST' && payload.htu === mcp
    && payload.ath === createHash('sha256').update(token).digest('base64url')
    && await calculateJwkThumbprint(protectedHeader.jwk) === key;
}

// The scopes that the request may use, or nothing.
async function scopesOf({ authorization, dpop }) {
  const [, scheme, token] = /^(Bearer|DPoP) ([^ ]+)$/i.exec(authorization ?? '') ?? [];
  const found = token && await lookUp(token);
  const key = found?.cnf?.jkt;
  const presented = key
    ? scheme.toLowerCase() === 'dpop' && await proves(dpop ?? '', token, key)
    : scheme?.toLowerCase() === 'bearer';
  return found && presented ? found.scope.split(' ') : undefined;
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString());
}

async function serve(request, response) {
  const answer = (status, headers, value) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(value === undefined ? '' : JSON.stringify(value));
  };
  const challenge = (status, more) => answer(status, {
    'www-authenticate': `Bearer ${more}resource_metadata="${origin}${metadata}"`,
  });
  if (request.url === metadata) {
    return answer(200, {}, {
      resource: mcp,
      authorization_servers: [issuer],
      scopes_supported: [READ],
      bearer_methods_supported: ['header'],
    });
  }
  if (request.url === '/counts') return answer(200, {}, counts);
  if (request.url !== '/mcp') return answer(404, {});
  if (!request.headers.authorization) return challenge(401, `scope="${READ}", `);
  const scopes = await scopesOf(request.headers);
  if (!scopes) return challenge(401, 'error="invalid_token", ');
  const { id, method, params } = await body(request);
  const needed = method === 'tools/call' && params.name === 'add' ? [READ, WRITE] : [READ];
  if (!needed.every((scope) => scopes.includes(scope))) {
    return challenge(403, `error="insufficient_scope", scope="${needed.join(' ')}", `);
  }
  const result = method === 'tools/call' ? { content: [{ type: 'text', text: 'done' }] } : {};
  return answer(200, {}, { jsonrpc: '2.0', id, result });
}
resourceServer.on('request', (request, response) => {
  serve(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
});

console.log(JSON.stringify({ issuer, mcp, counts: `${origin}/counts`, inspector, secret }));
