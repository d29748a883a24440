// usage: NODE_PATH=… node sdk_prove.mjs URL INPUT OUT [--version NAME]
//
// Does what the TypeScript SDK does with a TEE-Rex host at URL: asks for the attestation, takes the encryption key,
// encrypts the file INPUT, posts it and writes the proof to OUT (as bb wrote it: the field count in front is checked
// and dropped, so that bb verify can read OUT). --version goes into the header x-aztec-version.
//
// In mode nitro the attestation document must name the very key beside it, and its user_data must list versions as the
// SDK reads them. The document's signature is NOT verified here: that is what tee-rex verify and tee-rex prove are for.
// Prints one line of JSON about the exchange. Any refusal: exit status 1, with status and body on stderr.
import fs from 'node:fs';
import { attestationPayload } from './cbor.mjs';
import { encryptBinary, fail, openpgp, parseArguments } from './openpgp.mjs';

const PROVE_TIMEOUT_MS = 5 * 60 * 1000;
const FIELD_SIZE = 32;

const usage = 'sdk_prove.mjs URL INPUT OUT [--version NAME]';
const { positional: [url, inputPath, outPath], options } = parseArguments(usage, 3, ['version']);
const base = url.replace(/\/+$/, '');

async function call(path, init) {
  let response;
  let body;
  try {
    response = await fetch(base + path, init);
    body = await response.text();
  } catch (error) {
    fail(`${base}${path}: ${error.cause?.message ?? error.message}`);
  }
  if (response.status !== 200) fail(`${path}: HTTP ${response.status}: ${body}`);
  return { headers: response.headers, json: parse(path, () => JSON.parse(body)) };
}

function parse(what, parser) {
  try {
    return parser();
  } catch (error) {
    return fail(`${what}: ${error.message}`);
  }
}

/** What a base64 member of a reply holds; Buffer.from alone would skip whatever is not base64. */
function decodeBase64(text, what) {
  if (typeof text !== 'string') fail(`${what} is ${typeof text}, not a base64 string`);
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) fail(`${what} is not base64`);
  return bytes;
}

/** Returns the versions listed in the document after checking that it names armoredKey. */
function checkDocument(document, armoredKey) {
  const payload = parse('/attestation: attestationDocument', () => attestationPayload(document));
  const attestedKey = payload.get('public_key');
  if (!Buffer.isBuffer(attestedKey) || attestedKey.toString() !== armoredKey)
    fail('/attestation: the document attests another key than publicKey');
  const userData = payload.get('user_data');
  if (!Buffer.isBuffer(userData)) fail('/attestation: the document has no user_data');
  const { versions } = parse('/attestation: user_data', () => JSON.parse(userData.toString()));
  const isVersion = (v) => typeof v?.version === 'string' && /^[0-9a-f]{64}$/.test(v?.sha256);
  if (!Array.isArray(versions) || !versions.every(isVersion))
    fail(`/attestation: user_data lists no versions with sha256: ${userData}`);
  return versions;
}

async function attestedKey() {
  const { json } = await call('/attestation');
  if (typeof json.publicKey !== 'string') fail('/attestation: no publicKey');
  if (json.mode === 'standard') return { mode: json.mode, armoredKey: json.publicKey, versions: null };
  if (json.mode !== 'nitro') fail(`/attestation: unknown mode ${json.mode}`);
  const document = decodeBase64(json.attestationDocument, '/attestation: attestationDocument');
  return { mode: json.mode, armoredKey: json.publicKey, versions: checkDocument(document, json.publicKey) };
}

/** bb's proof file from u32be(number of fields) ‖ fields. */
function proofFile(reply) {
  const bytes = decodeBase64(reply.proof, '/prove: proof');
  if (bytes.length < 4 || bytes.length !== 4 + FIELD_SIZE * bytes.readUInt32BE(0))
    fail(`/prove: ${bytes.length} bytes do not fit the number of fields that they begin with`);
  return bytes.subarray(4);
}

const { mode, armoredKey, versions } = await attestedKey();
const encrypted = await encryptBinary(fs.readFileSync(inputPath), await openpgp.readKey({ armoredKey }));
const { headers, json } = await call('/prove', {
  method: 'POST',
  headers: {
    'content-type': 'application/json',
    ...(options.version === undefined ? {} : { 'x-aztec-version': options.version }),
  },
  body: JSON.stringify({ data: encrypted.toString('base64') }),
  signal: AbortSignal.timeout(PROVE_TIMEOUT_MS),
});
const proof = proofFile(json);
fs.writeFileSync(outPath, proof);
console.log(JSON.stringify({
  mode,
  versions,
  sent_bytes: encrypted.length,
  proof_bytes: proof.length,
  prove_ms: headers.get('x-prove-duration-ms'),
  decrypt_ms: headers.get('x-decrypt-duration-ms'),
  request_id: headers.get('x-request-id'),
}));
