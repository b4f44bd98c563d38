// The pages of this repository in a real browser: their headers and cookies, no script from data, no frame
// around them, and whole sign-ins through them.
//
//   node browser.mjs <mcp-auth> <example gateway> <example upstream_proxy>
//
// Needs puppeteer-core beside it, and Chromium, at $CHROMIUM or as `chromium`.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import puppeteer from 'puppeteer-core';

const [command, gatewayProgram, proxyProgram] = process.argv.slice(2);
const work = mkdtempSync(join(tmpdir(), 'mcp-browser-'));
const children = [];

// A program, and the lines that it writes.
function start(program, options, environment = {}) {
  const child = spawn(program, options, {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const lines = [];
  child.lines = lines;
  const waiting = new Set();
  const take = (line) => {
    lines.push(line);
    for (const look of waiting) look();
  };
  createInterface({ input: child.stdout }).on('line', take);
  createInterface({ input: child.stderr }).on('line', take);
  const ended = new Promise((resolve) => child.on('exit', (code) => {
    resolve(code);
    take(`(ended with ${code})`);
  }));
  const line = (pattern) => new Promise((resolve, reject) => {
    const look = () => {
      const found = lines.map((text) => pattern.exec(text)).find(Boolean);
      if (found) resolve(found[1] ?? found[0]);
      else if (lines.at(-1)?.startsWith('(ended')) reject(new Error(lines.join('\n')));
      else return;
      waiting.delete(look);
    };
    waiting.add(look);
    look();
  });
  return { child, lines, line, ended };
}

async function listening(handler) {
  const server = createServer(handler);
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  children.push({ kill: () => server.closeAllConnections() || server.close() });
  return `http://127.0.0.1:${server.address().port}`;
}

// Texts that become scripts where they are not escaped. The first characters end what they may stand in.
const EVIL = [
  '<script>hacked()</script>',
  '"><img src=x onerror=hacked()>',
  "'onmouseover='hacked()' autofocus onfocus='hacked()",
  '</textarea></title></style></script><svg onload=hacked()>',
  'javascript:hacked()',
  '&lt;script&gt;hacked()&lt;/script&gt;',
];

let browser;
let hacked = [];
// The browser's own words, for a step that fails.
const said = [];
// A page that notices whatever runs in it, and keeps the answers to its navigations.
async function newPage(context = browser) {
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  page.answers = [];
  await page.exposeFunction('hacked', () => hacked.push(page.url()));
  page.on('dialog', (dialog) => {
    hacked.push(`dialog at ${page.url()}`);
    dialog.dismiss();
  });
  page.on('pageerror', (error) => hacked.push(`script error at ${page.url()}: ${error}`));
  page.on('console', (message) => said.push(message.text()));
  page.on('response', (response) => {
    if (response.request().isNavigationRequest()) page.answers.push(response);
  });
  return page;
}

// The page as the browser understood it: no script but those named, no handler, nothing loaded.
async function looksHarmless(page, scripts = 0) {
  const found = await page.evaluate(() => ({
    scripts: document.scripts.length,
    loaded: performance.getEntriesByType('resource').length,
    handlers: [...document.querySelectorAll('*')].flatMap((element) =>
      element.getAttributeNames().filter((name) => name.startsWith('on'))),
    links: [...document.querySelectorAll('[href],[action],[src]')].map((element) =>
      element.getAttribute('href') ?? element.getAttribute('action') ?? element.getAttribute('src')),
  }));
  assert.equal(found.scripts, scripts, await page.content());
  assert.deepEqual(found.handlers, [], await page.content());
  assert.equal(found.loaded, 0, 'nothing is loaded');
  assert.ok(found.links.every((link) => !/^\s*javascript:/i.test(link)), found.links.join(' '));
  assert.deepEqual(hacked, [], 'nothing of the data was run');
}

function hasHeaders(response, { referrer = 'no-referrer', html = true } = {}) {
  const headers = response.headers();
  const where = `${response.status()} ${response.url()} ${JSON.stringify(headers)}`;
  assert.match(headers['cache-control'] ?? '', /no-store/, where);
  assert.equal(headers['referrer-policy'], referrer, where);
  assert.equal(headers['x-content-type-options'], 'nosniff', where);
  if (!html) return;
  const policy = headers['content-security-policy'] ?? '';
  assert.match(policy, /default-src 'none'/, where);
  assert.match(policy, /frame-ancestors 'none'/, where);
  assert.doesNotMatch(policy, /unsafe/, where);
}

// Another site that puts a page into a frame and looks whether it is shown.
let framer;
async function cannotBeFramed(url, context = browser) {
  const page = await newPage(context);
  await page.goto(`${framer}/?${encodeURIComponent(url)}`);
  await page.waitForFunction(() => document.title === 'loaded');
  const frame = page.frames().find((frame) => frame.parentFrame());
  assert.ok(frame.url().startsWith('chrome-error:'), `${url} is shown in a frame: ${frame.url()}`);
  await page.close();
}

// The callback of a client, which shows nothing and remembers what came.
function client() {
  const came = [];
  const started = listening((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      const url = new URL(request.url, 'http://client.example');
      const body = Buffer.concat(chunks).toString();
      const text = request.method === 'POST' ? body : url.search;
      if (url.pathname === '/callback') {
        came.push({ method: request.method, parameters: new URLSearchParams(text) });
      }
      response.setHeader('content-type', 'text/html');
      response.end('<!doctype html><title>client</title>back');
    });
  });
  return { came, started };
}

async function register(issuer, name, redirectUri) {
  const answer = await fetch(`${issuer}/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ redirect_uris: [redirectUri], client_name: name }),
  });
  assert.equal(answer.status, 201);
  return (await answer.json()).client_id;
}

const url = (base, parameters) => `${base}?${new URLSearchParams(parameters)}`;

// The consent page of a proxy, and the pages after it.
async function proxyPages() {
  // An upstream server whose user is signed in: it redirects at once.
  let upstreamError;
  const upstream = await listening((request, response) => {
    const at = new URL(request.url, 'http://up.example');
    if (at.pathname === '/token') {
      response.setHeader('content-type', 'application/json');
      return response.end(JSON.stringify({ access_token: 'up', token_type: 'Bearer', sub: 'ada' }));
    }
    const back = new URL(at.searchParams.get('redirect_uri'));
    back.searchParams.set('state', at.searchParams.get('state'));
    if (upstreamError) {
      back.searchParams.set('error', 'access_denied');
      back.searchParams.set('error_description', upstreamError);
    } else {
      back.searchParams.set('code', 'up-1');
    }
    response.writeHead(303, { location: back.href });
    return response.end();
  });
  const { came, started } = client();
  const redirectUri = `${await started}/callback`;
  const proxy = start(proxyProgram, [upstream, `${upstream}/authorize`, `${upstream}/token`, 'one']);
  const mcp = await proxy.line(/^MCP server (.*)$/);
  const issuer = new URL(mcp).origin;
  const verifier = randomBytes(32).toString('base64url');
  const challenge = createHash('sha256').update(verifier).digest('base64url');
  const authorization = (id, more) => url(`${issuer}/authorize`, {
    response_type: 'code', client_id: id, redirect_uri: redirectUri, scope: 'notes', state: 's',
    code_challenge: challenge, code_challenge_method: 'S256', resource: mcp, ...more,
  });

  for (const evil of EVIL) {
    const id = await register(issuer, evil, redirectUri);
    const page = await newPage();
    const shown = await page.goto(authorization(id, { scope: `notes ${evil}`, state: evil }));
    assert.equal(shown.status(), 200);
    hasHeaders(shown);
    await looksHarmless(page);
    // The name is shown as it was given.
    const text = await page.evaluate(() => document.body.innerText);
    assert.ok(text.includes(`${evil} wants access`), text);
    const cookies = await page.cookies();
    const cookie = cookies.find((known) => known.name === '__Host-consent');
    assert.ok(cookie?.httpOnly && cookie.secure && cookie.sameSite === 'Lax' && cookie.path === '/');
    assert.equal(cookie.session, true);
    // Declined: the client is told, and gets its state back as it was.
    await Promise.all([page.waitForNavigation(), page.click('button[value=decline]')]);
    const answer = came.pop();
    assert.equal(answer?.parameters.get('error'), 'access_denied', page.url());
    assert.equal(answer.parameters.get('state'), evil);
    assert.equal(answer.parameters.get('iss'), issuer);
    await page.close();
  }
  await cannotBeFramed(authorization(await register(issuer, 'framed', redirectUri)));

  // Approved: through the upstream server and back, in one go.
  for (const mode of ['query', 'form_post']) {
    for (const evil of mode === 'query' ? EVIL.slice(0, 1) : EVIL) {
      const id = await register(issuer, 'honest', redirectUri);
      const page = await newPage();
      await page.goto(authorization(id, { state: evil, response_mode: mode }));
      const arrived = page.waitForResponse((answer) => answer.url().startsWith(redirectUri));
      await page.click('button[value=approve]');
      await arrived;
      await page.waitForFunction(() => document.title === 'client');
      const answer = came.pop();
      assert.equal(answer.method, mode === 'query' ? 'GET' : 'POST');
      assert.equal(answer.parameters.get('state'), evil);
      assert.equal(answer.parameters.get('iss'), issuer);
      const callback = page.answers.find((known) => known.url().startsWith(`${issuer}/callback`));
      hasHeaders(callback, { html: mode === 'form_post' });
      assert.deepEqual(hacked, []);
      const body = new URLSearchParams({
        grant_type: 'authorization_code', code: answer.parameters.get('code'), client_id: id,
        code_verifier: verifier, redirect_uri: redirectUri, resource: mcp,
      });
      const granted = await fetch(`${issuer}/token`, { method: 'POST', body });
      assert.equal(granted.status, 200);
      const { access_token: token } = await granted.json();
      const call = await fetch(mcp, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({
          jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'hello', arguments: {} },
        }),
      });
      assert.equal(call.status, 200, await call.text());
      await page.close();
    }
  }

  // The words of the upstream server reach nobody's page.
  for (const evil of EVIL) {
    upstreamError = evil;
    const id = await register(issuer, 'honest', redirectUri);
    const page = await newPage();
    await page.goto(authorization(id));
    await Promise.all([page.waitForNavigation(), page.click('button[value=approve]')]);
    assert.deepEqual([...came.pop().parameters.keys()].sort(), ['error', 'iss', 'state']);
    // A callback that nobody waits for.
    hasHeaders(await page.goto(url(`${issuer}/callback`, { state: evil, error: evil, error_description: evil })));
    await looksHarmless(page);
    assert.ok(!(await page.content()).includes('hacked'));
    hasHeaders(await page.goto(url(`${issuer}/authorize`, { client_id: evil, redirect_uri: evil, state: evil })));
    await looksHarmless(page);
    assert.ok(!(await page.content()).includes('hacked'));
    await page.close();
  }
  // A form of another site is no consent: the browser leaves the cookie at home.
  upstreamError = undefined;
  const id = await register(issuer, 'honest', redirectUri);
  const page = await newPage();
  await page.goto(authorization(id));
  const sealed = await page.$eval('input[name=request]', (input) => input.value);
  const foreign = await newPage();
  await foreign.goto(framer.replace('127.0.0.1', 'localhost'));
  const answered = foreign.waitForResponse((answer) => answer.url() === `${issuer}/consent`);
  // Submitted after this call has returned: the page is gone then.
  const submitted = foreign.evaluate((action, value) => {
    const form = document.createElement('form');
    Object.assign(form, { method: 'post', action });
    for (const [name, text] of [['request', value], ['decision', 'approve']]) {
      form.append(Object.assign(document.createElement('input'), { name, value: text }));
    }
    document.body.append(form);
    setTimeout(() => form.submit(), 0);
  }, `${issuer}/consent`, sealed);
  const [refused] = await Promise.all([answered, submitted]);
  assert.equal(refused.status(), 400);
  console.log('consent and form_post pages: ok');
}

// The gateway: a session, a sign-in through both of its instances, a tool.
async function gatewayPages(mcp) {
  const port = async () => {
    const server = createServer();
    await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
    const { port } = server.address();
    await new Promise((ready) => server.close(ready));
    return `127.0.0.1:${port}`;
  };
  const [one, two] = [await port(), await port()];
  const gateway = start(gatewayProgram, [
    '--mcp', mcp, '--public', `http://${two}`, '--listen', one, '--listen', two,
  ], { REDIS_URL: undefined });
  await gateway.line(new RegExp(`listening on http://${two}`));
  const context = await browser.createBrowserContext();
  const page = await newPage(context);
  hasHeaders(await page.goto(`http://${one}/`), { referrer: 'same-origin' });
  await looksHarmless(page);
  await page.type('input[name=user]', '<script>hacked()</script>');
  await Promise.all([
    page.waitForNavigation(),
    page.$eval('form[action="/login"]', (form) => void setTimeout(() => form.submit(), 0)),
  ]);
  for (const answer of page.answers) {
    const referrer = new URL(answer.url()).pathname === '/' ? 'same-origin' : 'no-referrer';
    hasHeaders(answer, { referrer });
  }
  await Promise.all([page.waitForNavigation(), page.click('a[href="/connect"]')]);
  assert.ok(page.url().startsWith(`http://${two}/callback?`), page.url());
  const last = page.answers.at(-1);
  hasHeaders(last);
  await looksHarmless(page);
  assert.ok((await page.content()).includes('You can close this page.'));
  for (const cookie of await page.cookies(`http://${one}/`)) {
    assert.ok(cookie.httpOnly && cookie.sameSite === 'Lax' && cookie.path === '/', cookie.name);
    assert.ok(cookie.session, cookie.name);
  }
  // The tool needs more than the first sign-in asked for: the user is sent once more.
  await page.goto(`http://${two}/`);
  await Promise.all([
    page.waitForNavigation(),
    page.$eval('form[action="/call"]', (form) => void setTimeout(() => form.submit(), 0)),
  ]);
  assert.equal(page.answers.at(-1).status(), 403);
  hasHeaders(page.answers.at(-1));
  await Promise.all([page.waitForNavigation(), page.click('a[href="/"]')]);
  await Promise.all([page.waitForNavigation(), page.click('a[href="/connect"]')]);
  assert.ok(page.url().startsWith(`http://${two}/callback?`), page.url());
  // It answers with what it was given: as JSON, which the browser does not take for a page.
  for (const evil of EVIL) {
    await page.goto(`http://${two}/`);
    await page.$eval('input[name=text]', (input, text) => { input.value = text; }, evil);
    await Promise.all([
      page.waitForNavigation(),
      page.$eval('form[action="/call"]', (form) => void setTimeout(() => form.submit(), 0)),
    ]);
    const answer = page.answers.at(-1);
    assert.equal(answer.status(), 200, await page.content());
    assert.match(answer.headers()['content-type'], /^application\/json/);
    hasHeaders(answer);
    assert.equal(JSON.parse(await answer.text()).result.content[0].text, evil);
    assert.deepEqual(hacked, []);
    const callback = url(`http://${two}/callback`, { error: evil, error_description: evil, state: evil, iss: evil });
    hasHeaders(await page.goto(callback));
    await looksHarmless(page);
    assert.ok(!(await page.content()).includes('hacked'));
  }
  await cannotBeFramed(`http://${one}/`, context);
  // Another site can neither begin nor end anything.
  for (const [method, path] of [['post', '/disconnect'], ['post', '/login'], ['post', '/call'], ['get', '/connect']]) {
    // A page for each: the navigation of an earlier form may still be under way.
    const foreign = await newPage(context);
    await foreign.goto(framer.replace('127.0.0.1', 'localhost'));
    const answered = foreign.waitForResponse((answer) => answer.url().startsWith(`http://${one}${path}`));
    const submitted = foreign.evaluate((method, action) => {
      const form = Object.assign(document.createElement('form'), { method, action });
      document.body.append(form);
      setTimeout(() => form.submit(), 0);
    }, method, `http://${one}${path}`);
    const [refused] = await Promise.all([answered, submitted]);
    assert.equal(refused.status(), 403, path);
    await foreign.close();
  }
  // With HTTPS in front, the cookies are of this very host alone.
  const third = await port();
  const secure = start(gatewayProgram, [
    '--mcp', mcp, '--public', 'https://gateway.example', '--listen', third,
  ], { REDIS_URL: undefined });
  await secure.line(/listening on/);
  const safe = await newPage(await browser.createBrowserContext());
  await safe.goto(`http://${third}/`);
  await safe.type('input[name=user]', 'ada');
  await Promise.all([safe.waitForNavigation(), safe.$eval('form[action="/login"]', (form) => void setTimeout(() => form.submit(), 0))]);
  const kept = await safe.cookies();
  assert.deepEqual(kept.map((cookie) => cookie.name), ['__Host-session']);
  assert.ok(kept[0].secure && kept[0].httpOnly && kept[0].sameSite === 'Lax');
  await context.close();
  console.log('pages of the gateway: ok');
}

// The page to which the command's own sign-in comes back.
async function landingPage(mcp) {
  const login = start(command, ['login', mcp, '--no-browser', '--timeout', '50'], {
    MCP_AUTH_STORE: join(work, 'accounts'),
  });
  const target = new URL(await login.line(/^\s*(http:\/\/\S+\/authorize\?\S+)/));
  const callback = target.searchParams.get('redirect_uri');
  const page = await newPage();
  for (const evil of EVIL) {
    // Callbacks of somebody else change nothing, and nothing of them is shown.
    const shown = await page.goto(url(callback, { error: evil, error_description: evil, state: evil, iss: evil }));
    hasHeaders(shown);
    await looksHarmless(page);
    assert.ok(!(await page.content()).includes('hacked'));
  }
  await cannotBeFramed(callback);
  const head = await fetch(url(callback, { code: 'x', state: 'x' }), { method: 'HEAD' });
  assert.equal(head.status, 405);
  await page.goto(target.href);
  assert.ok(page.url().startsWith(callback), page.url());
  hasHeaders(page.answers.at(-1));
  await looksHarmless(page);
  assert.equal(await login.ended, 0, login.lines.join('\n'));
  console.log('landing page of the command: ok');
}

const started = Date.now();
let failed;
try {
  browser = await puppeteer.launch({
    protocolTimeout: 20_000,
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    userDataDir: join(work, 'profile'),
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  });
  framer = await listening((request, response) => {
    const inner = decodeURIComponent(new URL(request.url, 'http://x').search.slice(1));
    response.setHeader('content-type', 'text/html');
    const frame = inner ? `<iframe src="${inner.replaceAll('&', '&amp;').replaceAll('"', '&quot;')}"></iframe>` : '';
    response.end(`<!doctype html><title>another site</title>${frame}
      <script>addEventListener('load', () => { document.title = 'loaded'; });</script>`);
  });
  const demo = start(command, ['demo', '--serve']);
  const mcp = await demo.line(/^MCP server\s+(\S+)/);
  await demo.line(/^serving/);
  await proxyPages();
  await gatewayPages(mcp);
  await landingPage(mcp);
  console.log(`browser: ok in ${Math.round((Date.now() - started) / 1000)} s, ${await browser.version()}`);
} catch (error) {
  failed = error;
} finally {
  await browser?.close();
  for (const child of children) child.kill();
  rmSync(work, { recursive: true, force: true });
}
if (failed) {
  console.error(failed);
  console.error(said.slice(-10).join('\n'));
  for (const child of children) console.error(child.lines?.join('\n') ?? '');
  process.exit(1);
}
