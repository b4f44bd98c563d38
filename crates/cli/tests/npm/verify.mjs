// Checks proofs that the example `sign` makes, with the cryptography of Node.
//
//   node verify.mjs <path to the example>

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, createPublicKey, generateKeyPairSync, verify, constants } from 'node:crypto';
import { mkdtempSync, writeFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folder = mkdtempSync(join(tmpdir(), 'keys-'));
const kinds = {
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  Ed25519: generateKeyPairSync('ed25519'),
  PS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
};
try {
  for (const [algorithm, { privateKey, publicKey }] of Object.entries(kinds)) {
    const file = join(folder, algorithm);
    writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    const proofs = execFileSync(process.argv[2], [file], { encoding: 'utf8' }).trim().split('\n');
    assert.equal(proofs.length, 2);
    proofs.forEach((proof, at) => {
      const [header, claims, signature] = proof.split('.');
      const read = (part) => JSON.parse(Buffer.from(part, 'base64url'));
      const { typ, alg, jwk } = read(header);
      assert.deepEqual([typ, alg], ['dpop+jwt', algorithm]);
      // The key in the proof is the public one of this pair, and nothing more.
      assert.ok(createPublicKey({ key: jwk, format: 'jwk' }).equals(publicKey));
      assert.ok(!('d' in jwk));
      const input = Buffer.from(`${header}.${claims}`);
      const options = {
        ES256: { key: publicKey, dsaEncoding: 'ieee-p1363' },
        Ed25519: { key: publicKey },
        PS256: { key: publicKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 },
      }[alg];
      const digest = alg === 'Ed25519' ? null : 'sha256';
      const bytes = Buffer.from(signature, 'base64url');
      assert.ok(verify(digest, input, options, bytes), `${alg} signature`);
      bytes[5] ^= 1;
      assert.ok(!verify(digest, input, options, bytes), 'an altered one is refused');
      const found = read(claims);
      assert.equal(found.htm, 'POST');
      if (at === 0) {
        assert.equal(found.htu, 'https://as.example/token');
        assert.equal(found.ath, undefined);
      } else {
        assert.equal(found.htu, 'https://mcp.example/mcp');
        assert.equal(found.ath, createHash('sha256').update('at').digest('base64url'));
      }
    });
  }
  console.log('signatures of P-256, Ed25519 and RSA keys verify');
} finally {
  rmSync(folder, { recursive: true });
}
