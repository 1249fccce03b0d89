// Reads a device's information by the real Improv SDK, as one line of JSON: improv-info.mjs SDK-FOLDER PORT
import { constants, openSync, writeSync } from "node:fs";
import { ReadStream } from "node:tty";
import { pathToFileURL } from "node:url";

setTimeout(() => process.exit(1), 40000);
globalThis.CustomEvent ??= class extends Event {
  constructor(kind, options) {
    super(kind);
    this.detail = options?.detail;
  }
};
const { ImprovSerial } = await import(pathToFileURL(`${process.argv[2]}/serial.js`));
// Reading from a file would block a thread for good, and with it the end of this program.
const descriptor = openSync(process.argv[3], constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
const tty = new ReadStream(descriptor);
tty.setRawMode(true);
const port = {
  readable: new ReadableStream({
    start: (controller) => tty.on("data", (chunk) => controller.enqueue(new Uint8Array(chunk))),
  }),
  writable: new WritableStream({ write: (chunk) => writeSync(descriptor, chunk) }),
};
const improv = new ImprovSerial(port, { log() {}, debug() {}, error() {} });
console.log(JSON.stringify(await improv.initialize(20000)));
process.exit(0);
