// usage: NODE_PATH=… node encrypt.mjs KEY.asc IN OUT [--suite SUITE] [--chunk OCTET] [--stream SIZE]
//
// Encrypts the file IN to the armored public key KEY.asc as the TypeScript SDK does (the library's defaults: the key's
// preferences choose the suite; chunks of 2^(12+6) bytes) and writes the binary OpenPGP message OUT.
// --suite aes256-gcm|aes256-ocb|aes128-gcm|aes128-ocb  uses that suite whatever the key prefers
// --chunk 0…16                                         chunks of 2^(OCTET+6) bytes (RFC 9580 section 5.13.2)
// --stream SIZE                                        hands the library a stream of SIZE-byte pieces, so that it does
//                                                      not know the length: the literal packet has partial lengths, too
import crypto from 'node:crypto';
import fs from 'node:fs';
import { encryptBinary, fail, parseArguments, readPublicKey } from './openpgp.mjs';

const usage = 'encrypt.mjs KEY.asc IN OUT [--suite aes{256,128}-{gcm,ocb}] [--chunk 0…16] [--stream SIZE]';
const { positional: [keyPath, inPath, outPath], options } = parseArguments(usage, 3, ['suite', 'chunk', 'stream']);

const more = {};
if (options.suite !== undefined) {
  const [, bits, aeadAlgorithm] = /^aes(256|128)-(gcm|ocb)$/.exec(options.suite) ?? fail(`usage: ${usage}`, 2);
  more.sessionKey = { data: crypto.randomBytes(Number(bits) / 8), algorithm: `aes${bits}`, aeadAlgorithm };
}
if (options.chunk !== undefined) {
  if (!/^([0-9]|1[0-6])$/.test(options.chunk)) fail(`usage: ${usage}`, 2);
  more.config = { aeadChunkSizeByte: Number(options.chunk) };
}
let binary = fs.readFileSync(inPath);
if (options.stream !== undefined) {
  if (!/^[1-9][0-9]*$/.test(options.stream)) fail(`usage: ${usage}`, 2);
  binary = inPieces(binary, Number(options.stream));
}
fs.writeFileSync(outPath, await encryptBinary(binary, await readPublicKey(keyPath), more));

function inPieces(bytes, size) {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at < bytes.length) controller.enqueue(new Uint8Array(bytes.subarray(at, (at += size))));
      else controller.close();
    },
  });
}
