// usage: NODE_PATH=… node genkey.mjs PRIVKEY.asc PUBKEY.asc
//
// Makes a key pair of the kind the prover publishes: version 4, Ed25519 (27) with an X25519 (25) subkey, SEIPDv2
// announced, AES-256 with GCM preferred. For messages in the other direction: our client encrypts, openpgp.js decrypts.
import fs from 'node:fs';
import { openpgp, parseArguments } from './openpgp.mjs';

const { positional: [privatePath, publicPath] } = parseArguments('genkey.mjs PRIVKEY.asc PUBKEY.asc', 2);

const { privateKey, publicKey } = await openpgp.generateKey({
  type: 'curve25519',
  userIDs: [{ name: 'TEE-Rex interop test' }],
  date: new Date(Date.now() - 86400e3),
  format: 'armored',
  config: {
    v6Keys: false,
    aeadProtect: true,
    preferredSymmetricAlgorithm: openpgp.enums.symmetric.aes256,
    preferredAEADAlgorithm: openpgp.enums.aead.gcm,
  },
});
fs.writeFileSync(privatePath, privateKey, { mode: 0o600 });
fs.writeFileSync(publicPath, publicKey);
