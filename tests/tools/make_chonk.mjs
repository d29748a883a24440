// usage: NODE_PATH=NODE_MODULES node make_chonk.mjs KIT OUT APP_SIZES [KERNEL_PADDING]
//
// Makes the input of one chonk proof, OUT.msgpack, and the verification key for its proof, OUT.vk.
// KIT is a directory made by scripts/test-prover; NODE_MODULES is what scripts/node-deps prints for tests/tools.
//
// Chonk proves a stack of circuits as a real transaction has it: application circuits, each followed by a kernel
// circuit that verifies what came before it, then a tail kernel and the hiding kernel:
//
//     app 0 -> init -> app 1 -> inner -> app 2 -> inner -> … -> tail -> hiding
//
// The applications here compute Poseidon2 permutations, as many as APP_SIZES says (comma-separated, one number for
// each application); every kernel but the hiding one computes KERNEL_PADDING more, to make it as large as a real one.
// A kernel verifies an earlier circuit by its verification key, so keys are made first (by bb, under the test
// reference string: the result is of use with bb-TEST-CRS only), then the witnesses in order.
// The output is deterministic.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';

const require = createRequire(import.meta.url);
const { compile, createFileManager } = require('@noir-lang/noir_wasm');
const { Noir } = require('@noir-lang/noir_js');

// Proof types of std::verify_proof_with_type.
const OINK = 1; // the first application: nothing has been accumulated before it
const HN = 2; // an accumulated circuit
const HN_FINAL = 7; // what the hiding kernel verifies
const HN_TAIL = 8; // what the tail kernel verifies

const FIELD_SIZE = 32;
const VK_FIELDS = 163; // length of a circuit's verification key, the hiding kernel's excepted

function usage() {
  console.error('usage: make_chonk.mjs KIT OUT APP_SIZES [KERNEL_PADDING]   e.g. make_chonk.mjs kit s1 100');
  process.exit(2);
}

if (process.argv.length < 5 || process.argv.length > 6) usage();
const kit = path.resolve(process.argv[2]);
const out = process.argv[3];
const appSizes = process.argv[4].split(',').map(Number);
const padding = Number(process.argv[5] ?? 0);
if (![...appSizes, padding + 1].every((n) => Number.isInteger(n) && n > 0)) usage();

if (!fs.existsSync(path.join(kit, 'bb-TEST-CRS'))) {
  console.error(`make_chonk: ${kit} has no bb-TEST-CRS; make it: scripts/test-prover ${process.argv[2]}`);
  process.exit(1);
}

// ---- the programs, in Noir ----

const permutations = (state, count) =>
  count > 0 ? `for _ in 0..${count} { ${state} = std::hash::poseidon2_permutation(${state}); }` : '';

const keyParameters = (key) => `${key}: [Field; ${VK_FIELDS}], ${key}_hash: Field`;
const verify = (key, type) => `std::verify_proof_with_type(${key}, [], [], ${key}_hash, ${type});`;
const pad = padding > 0 ? `let mut s = out; ${permutations('s', padding)} assert(s[0] != 0);` : '';

const appSource = (size) => `
  fn main(x: Field) -> return_data [Field; 4] {
    let mut s = [x, 1, 2, 3];
    ${permutations('s', size)}
    s
  }`;

const kernelSources = {
  init: `
    fn main(app_out: call_data(1) [Field; 4], ${keyParameters('a_vk')}) -> return_data [Field; 4] {
      ${verify('a_vk', OINK)}
      let out = app_out;
      ${pad}
      out
    }`,
  inner: `
    fn main(prev: call_data(0) [Field; 4], app_out: call_data(1) [Field; 4],
            ${keyParameters('k_vk')}, ${keyParameters('a_vk')}) -> return_data [Field; 4] {
      ${verify('k_vk', HN)}
      ${verify('a_vk', HN)}
      let mut out = prev;
      for i in 0..4 { out[i] = out[i] + app_out[i]; }
      ${pad}
      out
    }`,
  tail: `
    fn main(prev: call_data(0) [Field; 4], ${keyParameters('k_vk')}) -> return_data [Field; 4] {
      ${verify('k_vk', HN_TAIL)}
      let out = prev;
      ${pad}
      out
    }`,
  hiding: `
    fn main(prev: call_data(0) [Field; 4], ${keyParameters('k_vk')}) -> pub [Field; 4] {
      ${verify('k_vk', HN_FINAL)}
      prev
    }`,
};

// Poseidon2 sponge over n fields, rate 3, with n * 2^64 in the capacity: how bb hashes a verification key.
const keyHashSource = (n) => {
  const whole = Math.floor(n / 3);
  const rest = n % 3;
  return `
    fn main(x: [Field; ${n}]) -> pub Field {
      let mut s: [Field; 4] = [0, 0, 0, ${n} * 18446744073709551616];
      for i in 0..${whole} {
        for j in 0..3 { s[j] += x[3 * i + j]; }
        s = std::hash::poseidon2_permutation(s);
      }
      ${rest > 0 ? `for j in 0..${rest} { s[j] += x[${3 * whole} + j]; } s = std::hash::poseidon2_permutation(s);` : ''}
      s[0]
    }`;
};

// ---- compiling, keys ----

const ignoreLog = () => {}; // the compiler would name every file it reads

const work = fs.mkdtempSync(path.join(os.tmpdir(), 'make-chonk.'));
process.on('exit', () => fs.rmSync(work, { recursive: true, force: true }));

async function compileNoir(name, source) {
  const dir = path.join(work, name);
  fs.mkdirSync(path.join(dir, 'src'), { recursive: true });
  fs.writeFileSync(path.join(dir, 'Nargo.toml'), `[package]\nname = "${name}"\ntype = "bin"\n[dependencies]\n`);
  fs.writeFileSync(path.join(dir, 'src', 'main.nr'), source);
  const compiled = await compile(createFileManager(dir), dir, ignoreLog);
  if (!compiled.program) throw new Error(`cannot compile ${name}: ${JSON.stringify(compiled).slice(0, 2000)}`);
  fs.writeFileSync(path.join(dir, 'program.json'), JSON.stringify(compiled.program));
  return compiled.program;
}

function writeKey(name) {
  const dir = path.join(work, name);
  const args = ['write_vk', '--scheme', 'chonk', '-b', path.join(dir, 'program.json'), '-o', dir];
  if (name === 'hiding') args.push('--use_zk_flavor');
  execFileSync(path.join(kit, 'bb-TEST-CRS'), args, {
    env: { ...process.env, CRS_PATH: path.join(kit, 'crs-TEST') },
    stdio: 'pipe', // shown if it fails
  });
  return fs.readFileSync(path.join(dir, 'vk'));
}

function keyFields(key) {
  const fields = [];
  for (let i = 0; i < key.length; i += FIELD_SIZE) fields.push(`0x${key.toString('hex', i, i + FIELD_SIZE)}`);
  return fields;
}

let keyHasher; // all keys that are hashed have one length
async function hashKey(fields) {
  keyHasher ??= new Noir(await compileNoir('keyhash', keyHashSource(VK_FIELDS)));
  return (await keyHasher.execute({ x: fields })).returnValue;
}

/** {program, key, fields, hash} of one circuit; fields and hash are what a kernel takes to verify it. */
async function makeCircuit(name, source) {
  const program = await compileNoir(name, source);
  const key = writeKey(name);
  if (name === 'hiding') return { program, key };
  const fields = keyFields(key);
  return { program, key, fields, hash: await hashKey(fields) };
}

// ---- the stack ----

const steps = [];

async function runStep(circuit, functionName, inputs) {
  const { witness, returnValue } = await new Noir(circuit.program).execute(inputs);
  steps.push({
    bytecode: Buffer.from(circuit.program.bytecode, 'base64'),
    witness: Buffer.from(witness),
    vk: circuit.key,
    functionName,
  });
  return returnValue;
}

async function makeStack() {
  const kernel = {};
  for (const name of Object.keys(kernelSources)) kernel[name] = await makeCircuit(name, kernelSources[name]);
  const apps = new Map();
  for (const size of new Set(appSizes)) apps.set(size, await makeCircuit(`app${size}`, appSource(size)));

  const app = (circuit) => ({ a_vk: circuit.fields, a_vk_hash: circuit.hash });
  const previous = (circuit) => ({ k_vk: circuit.fields, k_vk_hash: circuit.hash });

  let accumulated;
  let last;
  for (const [i, size] of appSizes.entries()) {
    const circuit = apps.get(size);
    const appOut = await runStep(circuit, `MockApp:f${i}_${size}`, { x: String(i + 3) });
    if (i === 0) {
      accumulated = await runStep(kernel.init, 'private_kernel_init', { app_out: appOut, ...app(circuit) });
      last = kernel.init;
    } else {
      accumulated = await runStep(kernel.inner, 'private_kernel_inner', {
        prev: accumulated,
        app_out: appOut,
        ...previous(last),
        ...app(circuit),
      });
      last = kernel.inner;
    }
  }
  accumulated = await runStep(kernel.tail, 'private_kernel_tail', { prev: accumulated, ...previous(last) });
  await runStep(kernel.hiding, 'hiding_kernel', { prev: accumulated, ...previous(kernel.tail) });
  return kernel.hiding.key;
}

// ---- MessagePack: an array of {bytecode, witness, vk, functionName} ----

function packBytes(bytes) {
  const head = Buffer.from([0xc6, 0, 0, 0, 0]); // bin 32
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

function packString(text) {
  const bytes = Buffer.from(text);
  if (bytes.length > 255) throw new RangeError(`longer than a str 8: ${text}`);
  return Buffer.concat([Buffer.from([0xd9, bytes.length]), bytes]);
}

function packSteps() {
  const head = Buffer.from([0xdc, 0, 0]); // array 16
  head.writeUInt16BE(steps.length, 1);
  const parts = [head];
  for (const step of steps) {
    parts.push(Buffer.from([0x80 | Object.keys(step).length])); // fixmap
    for (const [name, value] of Object.entries(step))
      parts.push(packString(name), typeof value === 'string' ? packString(value) : packBytes(value));
  }
  return Buffer.concat(parts);
}

fs.writeFileSync(`${out}.vk`, await makeStack());
fs.writeFileSync(`${out}.msgpack`, packSteps());
process.exit(0); // the compiler's worker would keep us
