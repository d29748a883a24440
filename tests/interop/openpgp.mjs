// The openpgp package, found through NODE_PATH (scripts/node-deps prints what to put there): ES module resolution
// ignores NODE_PATH, require does not. And what the programs beside this file share.
import fs from 'node:fs';
import { createRequire } from 'node:module';

function load() {
  try {
    return createRequire(import.meta.url)('openpgp');
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error;
    fail('cannot find npm package openpgp; run: export NODE_PATH=$(scripts/node-deps DIR)');
  }
}

export function fail(message, status = 1) {
  console.error(message);
  process.exit(status);
}

/**
 * Splits the command line into positional arguments and --name value pairs.
 * @param usage  printed, with exit status 2, unless the line has `count` positionals and only `allowed` options
 */
export function parseArguments(usage, count, allowed = []) {
  const positional = [];
  const options = {};
  const rest = process.argv.slice(2);
  while (rest.length > 0) {
    const word = rest.shift();
    if (!word.startsWith('--')) positional.push(word);
    else if (allowed.includes(word.slice(2)) && rest.length > 0) options[word.slice(2)] = rest.shift();
    else fail(`usage: ${usage}`, 2);
  }
  if (positional.length !== count) fail(`usage: ${usage}`, 2);
  return { positional, options };
}

export const readPublicKey = (path) => openpgp.readKey({ armoredKey: fs.readFileSync(path, 'utf8') });
export const readPrivateKey = (path) => openpgp.readPrivateKey({ armoredKey: fs.readFileSync(path, 'utf8') });

/** Encrypts bytes (or a stream of them) as the TypeScript SDK does: binary message and output, library defaults. */
export async function encryptBinary(binary, encryptionKeys, more = {}) {
  const message = await openpgp.createMessage({ binary });
  const encrypted = await openpgp.encrypt({ message, encryptionKeys, format: 'binary', ...more });
  if (encrypted instanceof Uint8Array) return Buffer.from(encrypted);
  const parts = [];
  for await (const part of encrypted) parts.push(part);
  return Buffer.concat(parts);
}

export const openpgp = load();
