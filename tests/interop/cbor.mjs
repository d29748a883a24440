// A reader for the CBOR of attestation documents (RFC 8949), independent of the project's own: definite lengths only,
// integers up to 2^53, byte strings as Buffer, maps as Map. Everything is checked against the end of the input;
// anything else that CBOR knows (tags, floats, indefinite lengths) is an error.

const DEPTH_MAX = 16;

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  take(count) {
    if (count > this.bytes.length - this.at) throw new RangeError(`CBOR ends early at byte ${this.at}`);
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }

  argument(info) {
    if (info < 24) return info;
    if (info === 24) return this.take(1).readUInt8();
    if (info === 25) return this.take(2).readUInt16BE();
    if (info === 26) return this.take(4).readUInt32BE();
    if (info !== 27) throw new TypeError(`CBOR length form ${info} at byte ${this.at - 1}`);
    const value = this.take(8).readBigUInt64BE();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError(`CBOR number ${value} is too large`);
    return Number(value);
  }

  item(depth) {
    if (depth > DEPTH_MAX) throw new RangeError('CBOR is nested too deeply');
    const initial = this.take(1)[0];
    const major = initial >> 5;
    if (major === 7) {
      const simple = new Map([[0xf4, false], [0xf5, true], [0xf6, null]]);
      if (!simple.has(initial)) throw new TypeError(`CBOR simple value or float 0x${initial.toString(16)}`);
      return simple.get(initial);
    }
    const argument = this.argument(initial & 31);
    switch (major) {
      case 0: return argument;
      case 1: return -1 - argument;
      case 2: return Buffer.from(this.take(argument));
      case 3: return new TextDecoder('utf-8', { fatal: true }).decode(this.take(argument));
      case 4: return this.array(argument, depth);
      case 5: return this.map(argument, depth);
      default: throw new TypeError(`CBOR tag at byte ${this.at}`);
    }
  }

  array(count, depth) {
    const items = [];
    while (items.length < count) items.push(this.item(depth + 1)); // each takes a byte at least: the input bounds it
    return items;
  }

  map(count, depth) {
    const items = new Map();
    for (let i = 0; i < count; i++) {
      const key = this.item(depth + 1);
      if (items.has(key)) throw new TypeError(`CBOR map has ${key} twice`);
      items.set(key, this.item(depth + 1));
    }
    return items;
  }
}

/** Decodes exactly one item that fills the buffer. */
export function cborDecode(bytes) {
  const reader = new Reader(bytes);
  const item = reader.item(0);
  if (reader.at !== bytes.length) throw new TypeError(`${bytes.length - reader.at} bytes after the CBOR item`);
  return item;
}

/** The payload map of an attestation document (COSE_Sign1, untagged). Its signature is not checked here. */
export function attestationPayload(document) {
  const sign1 = cborDecode(document);
  if (!Array.isArray(sign1) || sign1.length !== 4 || !Buffer.isBuffer(sign1[2]))
    throw new TypeError('the attestation document is not a COSE_Sign1 array');
  const payload = cborDecode(sign1[2]);
  if (!(payload instanceof Map)) throw new TypeError("the attestation document's payload is not a map");
  return payload;
}
