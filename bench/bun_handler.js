// The comparison of bench/run: an HTTP server of ten lines that answers every GET with the same bytes. It attests nothing.
import { readFileSync } from "node:fs";
const [port, file] = process.argv.slice(2);
const body = readFileSync(file);
const headers = { "Content-Type": "application/json", "Cache-Control": "no-store", "Access-Control-Allow-Origin": "*" };
Bun.serve({
  hostname: "127.0.0.1",
  port: Number(port),
  fetch: () => new Response(body, { headers }),
});
