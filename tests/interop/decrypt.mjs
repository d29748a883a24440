// usage: NODE_PATH=… node decrypt.mjs PRIVKEY.asc IN OUT
//
// Decrypts the binary OpenPGP message IN with the armored private key and writes the plaintext OUT. Prints one line of
// JSON: {"bytes": length, "filename": the literal packet's file name}. Exit status 1 and nothing written if the library
// refuses the message.
import fs from 'node:fs';
import { fail, openpgp, parseArguments, readPrivateKey } from './openpgp.mjs';

const { positional: [keyPath, inPath, outPath] } = parseArguments('decrypt.mjs PRIVKEY.asc IN OUT', 3);

const decryptionKeys = await readPrivateKey(keyPath);
try {
  const message = await openpgp.readMessage({ binaryMessage: new Uint8Array(fs.readFileSync(inPath)) });
  const { data, filename } = await openpgp.decrypt({ message, decryptionKeys, format: 'binary' });
  fs.writeFileSync(outPath, data);
  console.log(JSON.stringify({ bytes: data.length, filename }));
} catch (error) {
  fail(`cannot decrypt ${inPath}: ${error.message}`);
}
